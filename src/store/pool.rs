//! A connection pool that answers within a deadline or not at all.
//!
//! A PostgreSQL server that froze, or whose network went silent, leaves its connections neither alive nor closed. So a
//! statement that misses the deadline while the database answers no others costs the whole pool: a fresh one replaces
//! it, and no restart is needed. A statement that is only slow costs nobody else anything: PostgreSQL cancels it by
//! itself before the deadline, and its connection goes on. A connection that breaks costs all pools theirs, since
//! whatever broke it has most likely broken those too that lie idle; otherwise each would cost a request.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock};
use sea_orm::{ConnectOptions, Database, DatabaseConnection, DbErr};

use super::error::{StoreError, is_answer, is_broken};

/// How long the database may take to answer before it counts as unavailable.
pub const DEADLINE: Duration = Duration::from_millis(2_500);
/// A pool is not replaced again within this time.
const REPLACE_PAUSE: Duration = Duration::from_millis(500);
/// A pool that has answered nothing for this long is silent. Longer than PostgreSQL lets a statement wait for a lock.
const SILENCE: Duration = Duration::from_millis(1_500);

/// One of the store's pools; cheap to clone.
#[derive(Clone)]
pub(crate) struct Pool {
    shared: Arc<Shared>,
}

/// When a connection to the database broke last, as any of its pools saw it.
#[derive(Clone, Default)]
pub(super) struct Breaks(Arc<Mutex<Option<Instant>>>);

struct Shared {
    breaks: Breaks,
    current: RwLock<DatabaseConnection>,
    /// How to open a new pool; none for SQLite, which lives in this process.
    options: Option<ConnectOptions>,
    replaced_at: Mutex<Instant>,
    /// When the database answered last.
    answered: Mutex<Option<Instant>>,
}

impl Pool {
    pub(super) fn new(current: DatabaseConnection, options: Option<ConnectOptions>, breaks: Breaks) -> Self {
        let (replaced_at, answered) = (Mutex::new(Instant::now()), Mutex::new(None));
        Self { shared: Arc::new(Shared { breaks, current: RwLock::new(current), options, replaced_at, answered }) }
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
        self.replace_if_broken().await;
        let db = self.db();
        match tokio::time::timeout(DEADLINE, query(&db)).await {
            Ok(answer) => {
                self.note(answer.as_ref().err());
                answer.map_err(StoreError::from)
            }
            Err(_) => {
                self.replace(begun).await;
                Err(StoreError::Unavailable(None))
            }
        }
    }

    /// Notes what the end of a query says about the connections.
    fn note(&self, error: Option<&DbErr>) {
        if error.is_none_or(is_answer) {
            *self.shared.answered.lock() = Some(Instant::now());
        } else if error.is_some_and(is_broken) {
            *self.shared.breaks.0.lock() = Some(Instant::now());
        }
    }

    /// Replaces a pool whose connections are older than the last break.
    async fn replace_if_broken(&self) {
        let Some(broken_at) = *self.shared.breaks.0.lock() else { return };
        let is_old = |replaced_at: Instant| replaced_at < broken_at && replaced_at.elapsed() >= REPLACE_PAUSE;
        {
            let mut replaced_at = self.shared.replaced_at.lock();
            if !is_old(*replaced_at) {
                return;
            }
            *replaced_at = Instant::now();
        }
        self.open_anew("a connection to the database broke: those of a pool are replaced").await;
    }

    /// Replaces a pool that did not answer a query begun at this time; once, however many queries missed the deadline,
    /// and not at all while the pool answers others.
    pub(super) async fn replace(&self, begun: Instant) {
        {
            let mut replaced_at = self.shared.replaced_at.lock();
            let answered = *self.shared.answered.lock();
            let is_answering = answered.is_some_and(|answered| answered > begun && answered.elapsed() < SILENCE);
            if is_answering || *replaced_at > begun || replaced_at.elapsed() < REPLACE_PAUSE {
                return;
            }
            *replaced_at = Instant::now();
        }
        self.open_anew("the database stopped answering: its connections are replaced").await;
    }

    async fn open_anew(&self, why: &'static str) {
        let Some(options) = &self.shared.options else { return };
        // The options are lazy: this opens no connection, so it neither waits nor fails.
        if let Ok(fresh) = Database::connect(options.clone()).await {
            tracing::warn!("{why}");
            *self.shared.current.write() = fresh;
        }
    }
}
