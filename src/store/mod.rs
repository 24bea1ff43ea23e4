//! All SQL: what is stored, and the one writer that stores chats. Speaks `domain` types.
//!
//! `http` and the room actors call it. Reads go to a pool of their own; chats, changes and watermarks go
//! through [`writer`]; everything else that writes is a short transaction on the write pool. Nothing here
//! waits longer than [`DEADLINE`]: a database that does not answer is an error, not a wait.

pub mod change_feed;
pub mod chatrooms;
pub mod chats;
pub mod chatters;
mod connect;
pub mod outbox;
mod pool;
pub mod presence;
mod schema;
pub mod sign_ins;
pub mod unread;
pub mod writer;

use std::time::Duration;

use sea_orm::{
    AccessMode, ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr, EntityTrait, IdenStatic,
    IsolationLevel, Iterable, QueryResult, RuntimeErr, Statement, TransactionTrait, Value,
};

pub use connect::{OpenError, Options, is_postgres, sqlite_path};
use pool::Pool;
pub use pool::StoreError;
use writer::WriterHandle;

use crate::domain::clock::Micros;

/// How long any question to the database may take before it counts as unavailable.
pub const DEADLINE: Duration = Duration::from_millis(2_500);

/// The database of one server: a read pool, a write pool and the writer.
pub struct Store {
    backend: DbBackend,
    reads: Pool,
    writes: Pool,
    writer: WriterHandle,
    /// Held while the process lives, so that no second server opens the same SQLite file.
    _lock: Option<std::fs::File>,
}

impl Store {
    /// Opens the database, checks that commits are durable, migrates if asked to.
    ///
    /// `writer_on` takes the writer's loop, to run it on a thread of rooms, which saves a wake-up per chat. Called once,
    /// by `app`.
    pub async fn open(options: &Options, writer_on: impl FnOnce(writer::WriterTask)) -> Result<Self, OpenError> {
        let opened = connect::open(options).await?;
        let (writer, run) = writer::new(&opened, options.push_grace);
        writer_on(run);
        Ok(Self { backend: opened.backend, reads: opened.reads, writes: opened.writes, writer, _lock: opened.lock })
    }

    /// Runs the migrations that are missing and closes the database again.
    pub async fn migrate(options: &Options) -> Result<(), OpenError> {
        connect::migrate_only(options).await
    }

    /// Where rooms hand in chats, changes and watermarks.
    #[must_use]
    pub fn writer(&self) -> &WriterHandle {
        &self.writer
    }

    /// Whether the database answers; for `/readyz`.
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.reads.run(async |db| db.execute_unprepared("SELECT 1").await.map(drop)).await
    }

    /// Takes away what has expired: sign-ins past their end, and notes of what has ended long ago. Returns how many of the
    /// former. Called by the clean-up timer.
    pub async fn clean_up(&self) -> Result<u64, StoreError> {
        let sql = format!("DELETE FROM sign_ins WHERE expire_time < {}", self.now_sql());
        self.writes
            .run(async move |db| {
                db.execute_raw(self.old_endings()).await?;
                Ok(db.execute_raw(self.sql(&sql, [])).await?.rows_affected())
            })
            .await
    }

    /// The database's clock in microseconds, as SQL; SQLite's is this machine's.
    fn now_sql(&self) -> String {
        match self.backend {
            DbBackend::Postgres => "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint".to_owned(),
            _ => Micros::now().0.to_string(),
        }
    }

    /// A transaction that reads what was committed when it began, and nothing later.
    async fn snapshot(&self, db: &DatabaseConnection) -> Result<DatabaseTransaction, DbErr> {
        match self.backend {
            DbBackend::Postgres => {
                let db = db.clone();
                let (level, mode) = (Some(IsolationLevel::RepeatableRead), Some(AccessMode::ReadOnly));
                to_its_end(async move { db.begin_with_config(level, mode).await }).await
            }
            // On SQLite any transaction reads one snapshot.
            _ => begin(db).await,
        }
    }

    /// The rows that this question gives.
    async fn rows(&self, question: Statement) -> Result<Vec<QueryResult>, StoreError> {
        self.reads.run(async |db| db.query_all_raw(question).await).await
    }

    /// A statement with `$1`-style parameters, which both databases read.
    fn sql(&self, text: &str, values: impl IntoIterator<Item = Value>) -> Statement {
        Statement::from_sql_and_values(self.backend, text, values)
    }

    /// The pushes that are owed, for the notifier.
    #[must_use]
    pub fn outbox(&self) -> outbox::Outbox {
        outbox::Outbox::new(self.reads.clone(), self.writes.clone(), self.backend)
    }
}

/// Begins a transaction; nothing else in `store` may.
async fn begin(db: &DatabaseConnection) -> Result<DatabaseTransaction, DbErr> {
    let db = db.clone();
    to_its_end(async move { db.begin().await }).await
}

/// Begins on a task of its own. Of a BEGIN whose asker goes away before the answer (a socket that ends, a request that is
/// dropped) sqlx forgets that it was sent, and the connection would go back into its pool inside a transaction.
async fn to_its_end(
    begin: impl Future<Output = Result<DatabaseTransaction, DbErr>> + Send + 'static,
) -> Result<DatabaseTransaction, DbErr> {
    let gone = |error: tokio::task::JoinError| DbErr::Conn(RuntimeErr::Internal(error.to_string()));
    tokio::spawn(begin).await.map_err(gone)?
}

/// All columns of a table by name. Whoever asks for `*` is refused by PostgreSQL (0A000) once a later release's migration adds a
/// column under statements that are prepared.
fn columns<E: EntityTrait>(table: &str) -> String {
    E::Column::iter().map(|column| format!("{table}.{}", column.as_str())).collect::<Vec<_>>().join(", ")
}

/// The most ids that one statement names.
const IDS_MAX: usize = 500;

/// `$1, $2, …` for these ids after the first `taken` parameters, and their values. Filled up with 0, which is nobody's id, to a
/// power of two, so that a few prepared texts serve lists of any length.
fn id_list<Id: Copy + Into<Value>>(ids: &[Id], taken: usize) -> (String, Vec<Value>) {
    let size = ids.len().next_power_of_two();
    let places = (taken + 1..=taken + size).map(|n| format!("${n}")).collect::<Vec<_>>().join(", ");
    let filler = std::iter::repeat_n(Value::from(0_i64), size - ids.len());
    (places, ids.iter().map(|id| (*id).into()).chain(filler).collect())
}
