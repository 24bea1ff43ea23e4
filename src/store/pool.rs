//! A connection pool that answers within a deadline or not at all.
//!
//! A PostgreSQL server that froze, or whose network went silent, leaves its connections neither alive nor closed. So a
//! statement that misses the deadline while the database answers no others costs the whole pool: a fresh one replaces
//! it, and no restart is needed. A statement that is only slow costs no other one: PostgreSQL cancels it by
//! itself before the deadline, and its connection goes on. A connection that breaks costs all pools theirs, since
//! whatever broke it has most likely broken those too that lie idle; otherwise each would cost a request. The same
//! happens when another server takes the writes.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock};
use sea_orm::sqlx::postgres::{PgConnection, PgPool, PgPoolOptions};
use sea_orm::sqlx::{self, query_scalar};
use sea_orm::{DatabaseConnection, DbErr};

use super::epoch;
use super::error::{StoreError, is_answer, is_broken};
use super::failover::Failover;
use super::health::Health;
use super::in_runtime::InRuntime;
use super::servers::IS_READ_ONLY;

/// How long the database may take to answer before it counts as unavailable.
pub const DEADLINE: Duration = Duration::from_millis(2_500);
/// How long a connection may take to open, so that a refusal still fits within three seconds.
pub(super) const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(2);
/// A pool is not replaced again within this time.
const REPLACE_PAUSE: Duration = Duration::from_millis(500);
/// A pool that has answered nothing for this long is silent. Longer than PostgreSQL lets a statement wait for a lock.
const SILENCE: Duration = Duration::from_millis(1_500);

/// What a pool is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// Statements that only read.
    Reads,
    /// Statements that may write: all are refused once the database has been found damaged.
    Writes,
}

/// One of the store's pools; cheap to clone.
#[derive(Clone)]
pub(crate) struct Pool {
    shared: Arc<Shared>,
    of: Use,
}

/// A pool that does not keep its connections open.
pub(super) struct WeakPool(Weak<Shared>, Use);

struct Shared {
    current: RwLock<DatabaseConnection>,
    /// How many times the connections were replaced.
    generation: AtomicU64,
    /// How to open a new pool; none for SQLite, which lives in this process.
    postgres: Option<Postgres>,
    replaced_at: Mutex<Instant>,
    /// When the database answered last.
    answered: Mutex<Option<Instant>>,
    health: Arc<Health>,
}

/// Where a pool of PostgreSQL connects, and how many connections it has.
struct Postgres {
    failover: Arc<Failover>,
    connections: u32,
    /// After this time PostgreSQL cancels a statement by itself.
    statement_timeout: &'static str,
}

/// When a connection to the database broke last, as any of its pools saw it.
#[derive(Default)]
pub(super) struct Breaks(Mutex<Option<Instant>>);

impl Pool {
    /// A pool on SQLite.
    pub(super) fn sqlite(current: DatabaseConnection, of: Use, health: &Arc<Health>) -> Self {
        Self::new(current, None, of, health)
    }

    /// A pool on PostgreSQL that connects when it is first used. Called inside a runtime.
    pub(super) fn postgres(
        failover: &Arc<Failover>,
        connections: u32,
        statement_timeout: &'static str,
        of: Use,
        health: &Arc<Health>,
    ) -> Self {
        let postgres = Postgres { failover: failover.clone(), connections, statement_timeout };
        let pool = Self::new(postgres.open(), Some(postgres), of, health);
        failover.follow(&pool);
        pool
    }

    fn new(current: DatabaseConnection, postgres: Option<Postgres>, of: Use, health: &Arc<Health>) -> Self {
        let shared = Shared {
            current: RwLock::new(current),
            generation: AtomicU64::new(0),
            postgres,
            replaced_at: Mutex::new(Instant::now()),
            answered: Mutex::default(),
            health: health.clone(),
        };
        Self { shared: Arc::new(shared), of }
    }

    /// The same connections for another use.
    pub(super) fn shared_for(&self, of: Use) -> Self {
        Self { of, ..self.clone() }
    }

    /// The current connections.
    #[must_use]
    pub(crate) fn db(&self) -> DatabaseConnection {
        self.shared.current.read().clone()
    }

    /// Grows when the connections are replaced: one that was taken out before may lead to another server.
    pub(super) fn generation(&self) -> u64 {
        self.shared.generation.load(Ordering::Acquire)
    }

    /// What is known of the database's writes.
    pub(super) fn health(&self) -> &Arc<Health> {
        &self.shared.health
    }

    /// Runs a query, or a whole transaction, within [`DEADLINE`].
    pub(crate) async fn run<T>(
        &self,
        query: impl AsyncFnOnce(&DatabaseConnection) -> Result<T, DbErr>,
    ) -> Result<T, StoreError> {
        if self.of == Use::Writes && self.shared.health.is_corrupt() {
            return Err(StoreError::Unavailable(None));
        }
        let begun = Instant::now();
        self.renew_if_broken();
        let db = self.db();
        let error = match tokio::time::timeout(DEADLINE, InRuntime::new(query(&db))).await {
            Ok(answer) => {
                self.note(answer.as_ref().err());
                match answer {
                    Ok(answer) => return Ok(answer),
                    Err(error) => StoreError::from(error),
                }
            }
            Err(_) => {
                self.replace(begun);
                StoreError::Unavailable(None)
            }
        };
        self.report(&error);
        Err(error)
    }

    /// Draws the conclusions of an error that one of the connections met.
    pub(super) fn report(&self, error: &StoreError) {
        self.shared.health.note(error);
        if let Some(postgres) = &self.shared.postgres {
            postgres.failover.report(error);
        }
    }

    /// Looks for a server that takes writes: the one in use has said that it takes none.
    pub(super) fn search_writable(&self) {
        if let Some(postgres) = &self.shared.postgres {
            postgres.failover.start(true);
        }
    }

    /// Notes what the end of a query says about the connections.
    fn note(&self, error: Option<&DbErr>) {
        if error.is_none_or(is_answer) {
            *self.shared.answered.lock() = Some(Instant::now());
        } else if let (Some(postgres), true) = (&self.shared.postgres, error.is_some_and(is_broken)) {
            *postgres.failover.breaks().0.lock() = Some(Instant::now());
        }
    }

    /// Replaces a pool whose connections are older than the last break.
    fn renew_if_broken(&self) {
        let Some(postgres) = &self.shared.postgres else { return };
        let Some(broken_at) = *postgres.failover.breaks().0.lock() else { return };
        {
            let mut replaced_at = self.shared.replaced_at.lock();
            if *replaced_at >= broken_at || replaced_at.elapsed() < REPLACE_PAUSE {
                return;
            }
            *replaced_at = Instant::now();
        }
        tracing::warn!("a connection to the database broke: those of a pool are replaced");
        self.renew();
    }

    /// Replaces a pool that did not answer a query begun at this time; once, however many queries missed the deadline,
    /// and not at all while the pool answers others.
    pub(super) fn replace(&self, begun: Instant) {
        if self.shared.postgres.is_none() {
            return;
        }
        {
            let mut replaced_at = self.shared.replaced_at.lock();
            let answered = *self.shared.answered.lock();
            let is_answering = answered.is_some_and(|answered| answered > begun && answered.elapsed() < SILENCE);
            if is_answering || *replaced_at > begun || replaced_at.elapsed() < REPLACE_PAUSE {
                return;
            }
            *replaced_at = Instant::now();
        }
        tracing::warn!("the database stopped answering: its connections are replaced");
        self.renew();
    }

    /// Replaces the connections by ones to the server in use; false on SQLite. It opens none, so it neither waits nor
    /// fails.
    pub(super) fn renew(&self) -> bool {
        let Some(postgres) = &self.shared.postgres else { return false };
        *self.shared.current.write() = postgres.open();
        self.shared.generation.fetch_add(1, Ordering::Release);
        true
    }

    pub(super) fn downgrade(&self) -> WeakPool {
        WeakPool(Arc::downgrade(&self.shared), self.of)
    }
}

impl WeakPool {
    pub(super) fn upgrade(&self) -> Option<Pool> {
        self.0.upgrade().map(|shared| Pool { shared, of: self.1 })
    }
}

impl Postgres {
    fn open(&self) -> DatabaseConnection {
        guarded(&self.failover, self.connections, self.statement_timeout).into()
    }
}

/// Connections that open when they are first used, whatever the epoch of the database.
pub(super) fn lazy(failover: &Arc<Failover>, connections: u32, statement_timeout: &'static str) -> PgPool {
    let connect = failover.servers().options().options([("statement_timeout", statement_timeout)]);
    let failover = Arc::downgrade(failover);
    let options = options(connections).after_connect(move |connection, _| {
        let failover = failover.clone();
        Box::pin(async move { search_if_read_only(connection, &failover).await })
    });
    options.connect_lazy_with(connect)
}

/// The same, but to the current epoch only.
fn guarded(failover: &Arc<Failover>, connections: u32, statement_timeout: &'static str) -> PgPool {
    let connect = failover.servers().options().options([("statement_timeout", statement_timeout)]);
    let (epochs, failover) = (failover.epochs().clone(), Arc::downgrade(failover));
    let known = epochs.clone();
    let options = options(connections).after_connect(move |connection, _| {
        let (failover, epochs) = (failover.clone(), epochs.clone());
        Box::pin(async move {
            search_if_read_only(connection, &failover).await?;
            epoch::check(connection, &epochs).await
        })
    });
    epoch::refuse_older(options, known).connect_lazy_with(connect)
}

fn options(connections: u32) -> PgPoolOptions {
    PgPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        // A test before each use would cost a round trip a query; a dead connection shows at once anyway.
        .test_before_acquire(false)
}

/// A new connection to a server that takes no writes starts the search for one that does.
async fn search_if_read_only(connection: &mut PgConnection, failover: &Weak<Failover>) -> Result<(), sqlx::Error> {
    let read_only = query_scalar::<_, bool>(IS_READ_ONLY).fetch_one(connection).await?;
    if let Some(failover) = failover.upgrade().filter(|_| read_only) {
        failover.start(true);
    }
    Ok(())
}
