//! Pieces of SQL that several files use: columns by name, lists of ids, the database's clock.

use sea_orm::{DbBackend, EntityTrait, IdenStatic, Iterable, Value};

use crate::domain::clock::Micros;

/// PostgreSQL's clock in microseconds since 1970; it advances within a transaction. A macro, so that `concat!` takes
/// it.
macro_rules! postgres_clock {
    () => {
        "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint"
    };
}
pub(in crate::store) use postgres_clock;

/// The database's clock in microseconds, as SQL; SQLite's clock is this machine's.
pub(super) fn clock(backend: DbBackend) -> String {
    match backend {
        DbBackend::Postgres => postgres_clock!().to_owned(),
        _ => Micros::now().0.to_string(),
    }
}

/// All columns of a table by name. PostgreSQL refuses a prepared `SELECT *` (0A000) once the migration of a later
/// release adds a column.
pub(super) fn columns<E: EntityTrait>(table: &str) -> String {
    E::Column::iter().map(|column| format!("{table}.{}", column.as_str())).collect::<Vec<_>>().join(", ")
}

/// Selects whole chats by this condition.
pub(super) fn select_chats(condition: &str) -> String {
    format!("SELECT {} FROM chats WHERE {condition}", columns::<::entity::chat::Entity>("chats"))
}

/// Whether the room of $1 was not deleted. A deleted room leaves its chats behind for a while, and no reader may see them.
pub(super) const ROOM_EXISTS: &str = "EXISTS (SELECT 1 FROM chatrooms WHERE id = $1)";

/// The most ids in one statement.
pub(super) const IDS_MAX: usize = 500;

/// `$1, $2, …` for these ids behind the first `taken` parameters, and the values. The list is padded with 0, which is
/// no row's id, to a power of two, so that a few prepared statements serve lists of any length.
pub(super) fn id_list<Id: Copy + Into<Value>>(ids: &[Id], taken: usize) -> (String, Vec<Value>) {
    let size = ids.len().next_power_of_two();
    let places = (taken + 1..=taken + size).map(|n| format!("${n}")).collect::<Vec<_>>().join(", ");
    let padding = std::iter::repeat_n(Value::from(0_i64), size - ids.len());
    (places, ids.iter().map(|id| (*id).into()).chain(padding).collect())
}
