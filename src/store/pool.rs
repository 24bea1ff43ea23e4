//! A connection pool that answers in time or not at all.
//!
//! A PostgreSQL that froze, or whose network went silent, leaves its connections neither alive nor closed. So a
//! question that passes the deadline costs the whole pool: it is replaced by a fresh one, and healing needs
//! no restart.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::RwLock;
use sea_orm::{ConnectOptions, Database, DatabaseConnection, DbErr, RuntimeErr, sqlx};

use super::DEADLINE;

/// Why the database could not answer.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It does not answer, is full, read-only or restarting: the same question may be asked again.
    #[error("the database does not answer")]
    Unavailable(#[source] Option<DbErr>),
    /// It refused: a fault of this program or of the schema.
    #[error("the database refused")]
    Failed(#[source] DbErr),
}

impl From<DbErr> for StoreError {
    fn from(error: DbErr) -> Self {
        if is_outage(&error) { Self::Unavailable(Some(error)) } else { Self::Failed(error) }
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        Self::from(DbErr::Query(RuntimeErr::SqlxError(Arc::new(error))))
    }
}

/// One of the store's pools; cheap to clone.
#[derive(Clone)]
pub struct Pool {
    shared: Arc<Shared>,
}

struct Shared {
    current: RwLock<DatabaseConnection>,
    /// How to make a new pool; none for SQLite, which lives in this process.
    renew: Option<ConnectOptions>,
    renewed: RwLock<Instant>,
}

impl Pool {
    pub(super) fn new(current: DatabaseConnection, renew: Option<ConnectOptions>) -> Self {
        let renewed = RwLock::new(Instant::now());
        Self { shared: Arc::new(Shared { current: RwLock::new(current), renew, renewed }) }
    }

    /// The connections as they are now.
    #[must_use]
    pub fn db(&self) -> DatabaseConnection {
        self.shared.current.read().clone()
    }

    /// Asks one question, within [`DEADLINE`].
    pub async fn run<T>(
        &self,
        ask: impl AsyncFnOnce(&DatabaseConnection) -> Result<T, DbErr>,
    ) -> Result<T, StoreError> {
        let asked = Instant::now();
        let db = self.db();
        match tokio::time::timeout(DEADLINE, ask(&db)).await {
            Ok(answer) => answer.map_err(StoreError::from),
            Err(_) => {
                self.replace(asked).await;
                Err(StoreError::Unavailable(None))
            }
        }
    }

    /// Puts a fresh pool in the place of one that stopped answering; once for all who noticed.
    pub(super) async fn replace(&self, asked: Instant) {
        let Some(options) = &self.shared.renew else { return };
        {
            let mut renewed = self.shared.renewed.write();
            if *renewed > asked || renewed.elapsed() < Duration::from_millis(500) {
                return;
            }
            *renewed = Instant::now();
        }
        // Lazy: makes no connection, so it neither waits nor fails.
        if let Ok(fresh) = Database::connect(options.clone()).await {
            tracing::warn!("the database stopped answering: its connections are being replaced");
            *self.shared.current.write() = fresh;
        }
    }
}

/// Whether an error says "not now" rather than "never".
pub(super) fn is_outage(error: &DbErr) -> bool {
    match error {
        DbErr::Conn(RuntimeErr::SqlxError(e))
        | DbErr::Exec(RuntimeErr::SqlxError(e))
        | DbErr::Query(RuntimeErr::SqlxError(e)) => is_outage_sqlx(e),
        DbErr::Conn(_) | DbErr::ConnectionAcquire(_) => true,
        _ => false,
    }
}

/// The same for the errors of sqlx itself, which the writer meets.
pub(super) fn is_outage_sqlx(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Database(e) => e.code().is_some_and(|code| is_outage_code(&code)),
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => true,
        _ => false,
    }
}

/// SQLSTATE classes of PostgreSQL (appendix A of its manual): connection, transaction rollback and state,
/// resources, operator intervention, system, locks, and what has no class of its own, such as a file that may not grow
/// (EFBIG, where ENOSPC would be 53); and SQLite's result codes BUSY, LOCKED, NOMEM, READONLY,
/// IOERR, FULL, CANTOPEN, PROTOCOL, which come as decimal numbers with the detail in the higher bits.
fn is_outage_code(code: &str) -> bool {
    if code.len() == 5 {
        return ["08", "25", "40", "53", "55", "57", "58", "XX000"].iter().any(|class| code.starts_with(class));
    }
    code.parse::<u32>().is_ok_and(|n| matches!(n & 0xff, 5 | 6 | 7 | 8 | 10 | 13 | 14 | 15))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outages_are_told_from_faults() {
        for outage in ["57P01", "53300", "40P01", "55P03", "25006", "XX000", "5", "13", "517", "8"] {
            assert!(is_outage_code(outage), "{outage}");
        }
        for fault in ["23505", "42P01", "22021", "XX001", "1", "19", "2067"] {
            assert!(!is_outage_code(fault), "{fault}");
        }
    }
}
