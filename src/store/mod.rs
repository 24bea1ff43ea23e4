//! All SQL, and the one writer that stores chats. The rest of the program sees `domain` types only.
//!
//! Chats, edits and watermarks go through [`writer`]; every other write is a short transaction on the write pool. What
//! clients read, rows by their key, and searches have pools of their own. A query that misses [`DEADLINE`] is an error.

mod account_deletion;
mod backup;
mod bytes;
pub mod change_feed;
pub mod chatrooms;
pub mod chats;
pub mod chatters;
mod check;
mod connect;
mod deletion_jobs;
pub mod deletions;
mod devices;
mod durability;
pub mod epoch;
mod error;
mod expiry;
pub mod external;
mod failover;
mod file_identity;
mod file_lock;
mod health;
mod in_runtime;
mod options;
pub mod outbox;
pub mod passwords;
mod pool;
pub mod presence;
mod probe;
pub mod refresh;
pub mod restore;
mod room_deletion;
pub mod room_views;
mod rows;
mod schema;
pub mod search;
mod sequences;
mod servers;
pub mod sign_ins;
mod sql;
mod transaction;
pub mod unread;
pub mod writer;

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use sea_orm::{ConnectionTrait, DbBackend, QueryResult, Statement, Value};

pub use account_deletion::DeletedAccount;
pub use backup::BackupError;
pub use check::{Mend, Report};
use connect::Pools;
use deletions::Deletions;
use epoch::Epochs;
pub use error::{OpenError, StoreError};
pub use health::Trouble;
pub use options::{Options, Shares};
use outbox::Outbox;
pub use pool::DEADLINE;
use pool::Pool;
use probe::Probe;
pub use servers::ServerFailure;
use writer::{WriterHandle, WriterTask};

/// The database of one server: its pools, one for each use, and the writer.
pub struct Store {
    backend: DbBackend,
    /// What clients read.
    reads: Pool,
    /// Rows by their key.
    lookups: Pool,
    /// Pages of a room that a search examines.
    search: Pool,
    writes: Pool,
    /// New and refreshed sign-ins.
    sign_ins: Pool,
    writer: WriterHandle,
    deletions: Deletions,
    probe: Probe,
    epochs: Arc<Epochs>,
}

impl Store {
    /// Opens the database, checks that commits are durable, and migrates if the options say so.
    ///
    /// `start_writer` gets the writer's task, to run it on a thread of the rooms, which saves a wake-up per chat.
    pub async fn open(options: &Options, start_writer: impl FnOnce(WriterTask)) -> Result<Self, OpenError> {
        let opened = connect::open(options).await?;
        let connect::Opened { backend, pools, file, lock, epochs } = opened;
        let Pools { reads, lookups, search, writes, sign_ins, probe } = pools;
        if let Some(lock) = lock {
            lock.keep();
        }
        let (writer, task) = writer::new(backend, &writes, options.push_grace, &epochs);
        let (deletions, probe) = (Deletions::default(), Probe::new(backend, probe, file.as_deref()));
        let store = Self { backend, reads, lookups, search, writes, sign_ins, writer, deletions, probe, epochs };
        store.check_epoch().await.map_err(OpenError::from)?;
        start_writer(task);
        Ok(store)
    }

    /// Runs the missing migrations and closes the database again.
    pub async fn migrate(options: &Options) -> Result<(), OpenError> {
        connect::migrate(options).await
    }

    /// Looks for what is wrong with the database; a server may run on it meanwhile.
    pub async fn check(options: &Options, mend: Mend) -> Result<Report, OpenError> {
        connect::check(options, mend).await
    }

    /// Copies a SQLite database into a new file, beside a server that runs on it; returns the size of the copy.
    pub async fn back_up(options: &Options, to: &Path) -> Result<u64, BackupError> {
        backup::back_up(&options.url, to).await
    }

    /// The database's epoch, and who takes notice of a new one.
    #[must_use]
    pub fn epochs(&self) -> &Arc<Epochs> {
        &self.epochs
    }

    /// Reads the epoch from the database. Each new connection to PostgreSQL does the same; this is for a row that was
    /// changed under a running server, and for the start.
    pub async fn check_epoch(&self) -> Result<(), StoreError> {
        let questioned = Instant::now();
        if self.backend == DbBackend::Postgres {
            let mut connection = self.reads.db().get_postgres_connection_pool().acquire().await?;
            return Ok(epoch::check(&mut connection, &self.epochs).await?);
        }
        let found = self.reads.run(async |db| epoch::read(db).await).await?;
        // A single database has no connection that is older than the question.
        let _ = self.epochs.found(found, questioned);
        Ok(())
    }

    /// Where rooms submit chats, edits and watermarks.
    #[must_use]
    pub fn writer(&self) -> &WriterHandle {
        &self.writer
    }

    /// The pending pushes, for the notifier.
    #[must_use]
    pub fn outbox(&self) -> Outbox {
        Outbox::new(self.reads.clone(), self.writes.clone(), self.backend)
    }

    /// Whether a chat can be stored, or why not; for `/readyz` and `/metrics`. It waits for no statement of a client.
    pub async fn readiness(&self) -> Result<(), Trouble> {
        self.probe.readiness().await
    }

    /// The database's clock in microseconds, as SQL.
    fn clock_sql(&self) -> String {
        sql::clock(self.backend)
    }

    /// The rows that a statement reads.
    async fn rows(&self, statement: Statement) -> Result<Vec<QueryResult>, StoreError> {
        self.reads.run(async |db| db.query_all_raw(statement).await).await
    }

    /// The row that a statement finds by its key.
    async fn row(&self, statement: Statement) -> Result<Option<QueryResult>, StoreError> {
        self.lookups.run(async |db| db.query_one_raw(statement).await).await
    }

    /// A statement with `$1`-style parameters, which both databases read.
    fn sql(&self, text: &str, values: impl IntoIterator<Item = Value>) -> Statement {
        Statement::from_sql_and_values(self.backend, text, values)
    }
}
