//! The sequences of ids on PostgreSQL. Rows that were copied with their ids leave them behind, and then new rows collide
//! with old ones until the sequence has passed them.

use std::fmt;

use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend, DbErr, Statement};

/// The columns of this schema that draw from a sequence: table, column and sequence, ready for SQL.
const COLUMNS: &str = "SELECT quote_ident(c.relname), quote_ident(a.attname),
    pg_get_serial_sequence(quote_ident(n.nspname) || '.' || quote_ident(c.relname), a.attname)
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_attribute a ON a.attrelid = c.oid
  WHERE n.nspname = current_schema() AND c.relkind IN ('r', 'p') AND a.attidentity <> '' AND NOT a.attisdropped
    AND has_table_privilege(c.oid, 'SELECT') ORDER BY 1";

/// A sequence whose next number is in its table already, or will be soon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SequenceBehind {
    table: String,
    column: String,
    sequence: String,
    next: i64,
    greatest: i64,
}

impl fmt::Display for SequenceBehind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { table, next, greatest, .. } = self;
        write!(f, "the next id of {table} would be {next}, and there is {greatest} already")
    }
}

/// The sequences that are behind their tables; none on SQLite, which looks at the table itself.
pub(super) async fn behind(db: &DatabaseConnection) -> Result<Vec<SequenceBehind>, DbErr> {
    if db.get_database_backend() != DbBackend::Postgres {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    for row in db.query_all_raw(Statement::from_string(DbBackend::Postgres, COLUMNS)).await? {
        let (table, column, sequence): (String, String, String) =
            (row.try_get_by_index(0)?, row.try_get_by_index(1)?, row.try_get_by_index(2)?);
        let numbers = format!(
            "SELECT coalesce((SELECT max({column}) FROM {table}), 0),
               CASE WHEN s.is_called THEN s.last_value + q.seqincrement ELSE s.last_value END
             FROM {sequence} s, pg_sequence q WHERE q.seqrelid = '{sequence}'::regclass"
        );
        let Some(row) = db.query_one_raw(Statement::from_string(DbBackend::Postgres, numbers)).await? else { continue };
        let (greatest, next): (i64, i64) = (row.try_get_by_index(0)?, row.try_get_by_index(1)?);
        if next <= greatest {
            found.push(SequenceBehind { table, column, sequence, next, greatest });
        }
    }
    Ok(found)
}

/// Moves a sequence beyond its table, while no row is added to that.
pub(super) async fn mend(db: &DatabaseConnection, behind: &SequenceBehind) -> Result<(), DbErr> {
    let SequenceBehind { table, column, sequence, .. } = behind;
    let statements = format!(
        "BEGIN; LOCK TABLE {table} IN SHARE ROW EXCLUSIVE MODE;
         SELECT setval('{sequence}', (SELECT max({column}) FROM {table})); COMMIT"
    );
    db.execute_unprepared(&statements).await.map(|_| ())
}
