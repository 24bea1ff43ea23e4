//! A connection pool that answers within a deadline or not at all.
//!
//! A PostgreSQL server that froze, or whose network went silent, leaves its connections neither alive nor closed. So a
//! statement that misses the deadline while the database answers no younger one costs the whole pool: a fresh one
//! replaces it, and no restart is needed. A statement that is only slow costs nobody else anything: PostgreSQL cancels
//! it by itself before the deadline, and its connection goes on.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock};
use sea_orm::{ConnectOptions, Database, DatabaseConnection, DbErr};

use super::error::{StoreError, is_answer};

/// How long the database may take to answer before it counts as unavailable.
pub const DEADLINE: Duration = Duration::from_millis(2_500);
/// A pool is not replaced again within this time.
const REPLACE_PAUSE: Duration = Duration::from_millis(500);

/// One of the store's pools; cheap to clone.
#[derive(Clone)]
pub(crate) struct Pool {
    shared: Arc<Shared>,
}

struct Shared {
    current: RwLock<DatabaseConnection>,
    /// How to open a new pool; none for SQLite, which lives in this process.
    options: Option<ConnectOptions>,
    replaced_at: Mutex<Instant>,
    /// When the youngest query began that the database has answered.
    answered: Mutex<Option<Instant>>,
}

impl Pool {
    pub(super) fn new(current: DatabaseConnection, options: Option<ConnectOptions>) -> Self {
        let (replaced_at, answered) = (Mutex::new(Instant::now()), Mutex::new(None));
        Self { shared: Arc::new(Shared { current: RwLock::new(current), options, replaced_at, answered }) }
    }

    /// The current connections.
    #[must_use]
    pub(crate) fn db(&self) -> DatabaseConnection {
        self.shared.current.read().clone()
    }

    /// Runs a query, or a whole transaction, within [`DEADLINE`].
    pub(crate) async fn run<T>(
        &self,
        query: impl AsyncFnOnce(&DatabaseConnection) -> Result<T, DbErr>,
    ) -> Result<T, StoreError> {
        let begun = Instant::now();
        let db = self.db();
        match tokio::time::timeout(DEADLINE, query(&db)).await {
            Ok(answer) => {
                if answer.as_ref().err().is_none_or(is_answer) {
                    let mut answered = self.shared.answered.lock();
                    *answered = (*answered).max(Some(begun));
                }
                answer.map_err(StoreError::from)
            }
            Err(_) => {
                self.replace(begun).await;
                Err(StoreError::Unavailable(None))
            }
        }
    }

    /// Replaces a pool that did not answer a query begun at this time; once, however many queries missed the deadline,
    /// and not at all while the pool answers younger queries.
    pub(super) async fn replace(&self, begun: Instant) {
        let Some(options) = &self.shared.options else { return };
        {
            let mut replaced_at = self.shared.replaced_at.lock();
            let is_answering = self.shared.answered.lock().is_some_and(|answered| answered > begun);
            if is_answering || *replaced_at > begun || replaced_at.elapsed() < REPLACE_PAUSE {
                return;
            }
            *replaced_at = Instant::now();
        }
        // The options are lazy: this opens no connection, so it neither waits nor fails.
        if let Ok(fresh) = Database::connect(options.clone()).await {
            tracing::warn!("the database stopped answering: its connections are replaced");
            *self.shared.current.write() = fresh;
        }
    }
}
