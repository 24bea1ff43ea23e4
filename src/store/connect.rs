//! Opening the database: connection options, the lock of a SQLite file, the check that commits are durable.

use std::path::{Path, PathBuf};
use std::time::Duration;

use sea_orm::sqlx::sqlite::{SqliteJournalMode, SqliteSynchronous};
use sea_orm::{
    ConnectOptions, ConnectionTrait, Database, DatabaseConnection, DbBackend, DbErr, RuntimeErr, Statement, sqlx,
};

use super::pool::{Pool, is_outage};
use super::schema;

/// Connections that read, on SQLite; more would only queue for the same two cores.
const SQLITE_READERS: u32 = 4;
/// How long a connection may take to come, so that a refusal still fits within three seconds.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(2);

/// What `app` knows about the database.
#[derive(Clone, Debug)]
pub struct Options {
    /// `sqlite://…` or `postgres://…`.
    pub url: String,
    /// Bring the schema up to date; otherwise one that is not is refused.
    pub migrate: bool,
    /// How long to wait for another instance that is doing so.
    pub migration_wait: Duration,
    /// The most connections to PostgreSQL.
    pub connections_max: u32,
    /// Whether other instances would be heard (REDIS_URL is set).
    pub hears_others: bool,
    /// Start although a crash of the database's machine could lose acknowledged chats.
    pub unsafe_durability: bool,
    /// How long a push waits for the receiver's socket to confirm.
    pub push_grace: Duration,
}

/// Why the database could not be opened; the text says what to do.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("DATABASE_URL must begin with sqlite:// or postgres://")]
    Scheme,
    #[error(
        "another hyper-chat serves this SQLite file (its lock is {0}); stop it first, or use PostgreSQL to run several"
    )]
    Locked(PathBuf),
    #[error("cannot make or lock {0}: is the folder there and writable?")]
    Lock(PathBuf, #[source] std::io::Error),
    #[error("the database cannot be opened; is DATABASE_URL right and the server running?")]
    Connect(#[source] DbErr),
    #[error("the schema cannot be brought up to date; `hyper-chat migrate` shows the same error")]
    Migrate(#[source] DbErr),
    #[error(
        "another instance has been bringing the schema up to date for {} s; see what it is doing (in PostgreSQL's pg_stat_activity), or wait longer with HYPER_CHAT__DATABASE__MIGRATION_WAIT_S", .0.as_secs()
    )]
    Migrating(Duration),
    #[error(
        "the schema lacks {}; run `hyper-chat migrate` first, or set HYPER_CHAT__DATABASE__MIGRATE_ON_START=true", .0.join(", ")
    )]
    Behind(Vec<String>),
    #[error(
        "the schema is that of a later release: it needs a program that knows {needs}, and this one (hyper-chat {}) knows nothing after {newest}; start a newer hyper-chat, or put back a backup from before the upgrade", env!("CARGO_PKG_VERSION")
    )]
    Incompatible { needs: String, newest: String },
    #[error(
        "{0} is off, so a crash could lose acknowledged chats; turn it on, or set HYPER_CHAT__DATABASE__UNSAFE_DURABILITY=true to accept that"
    )]
    NotDurable(&'static str),
}

impl OpenError {
    /// Whether it says "not now" rather than "never": PostgreSQL is not there yet, is starting, or has no connection to
    /// spare.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Connect(error) | Self::Migrate(error) => is_outage(error) && !is_refused_tls(error),
            _ => false,
        }
    }
}

pub(super) struct Opened {
    pub(super) backend: DbBackend,
    pub(super) reads: Pool,
    pub(super) writes: Pool,
    pub(super) lock: Option<std::fs::File>,
}

/// Whether the URL names PostgreSQL.
#[must_use]
pub fn is_postgres(url: &str) -> bool {
    url.starts_with("postgres://") || url.starts_with("postgresql://")
}

/// The file of a SQLite URL; none for PostgreSQL and for databases in memory.
#[must_use]
pub fn sqlite_path(url: &str) -> Option<PathBuf> {
    let rest = url.strip_prefix("sqlite:")?;
    let rest = rest.strip_prefix("//").unwrap_or(rest);
    let path = rest.split('?').next().unwrap_or_default();
    (!path.is_empty() && path != ":memory:").then(|| PathBuf::from(path))
}

pub(super) async fn open(options: &Options) -> Result<Opened, OpenError> {
    if is_postgres(&options.url) {
        return open_postgres(options).await;
    }
    if options.url.starts_with("sqlite:") {
        return open_sqlite(options).await;
    }
    Err(OpenError::Scheme)
}

pub(super) async fn migrate_only(options: &Options) -> Result<(), OpenError> {
    let options = &Options { migrate: true, ..options.clone() };
    let connect = if is_postgres(&options.url) {
        postgres_options(options, 1, false)
    } else if options.url.starts_with("sqlite:") {
        sqlite_options(options, 1)
    } else {
        return Err(OpenError::Scheme);
    };
    let db = Database::connect(connect).await.map_err(OpenError::Connect)?;
    let path = sqlite_path(&options.url);
    // Where nothing is to be done, a server may be running.
    let _lock = match path {
        Some(path) if !schema::is_current(&db).await? => Some(lock_file(&path)?),
        _ => None,
    };
    schema::prepare(&db, options).await?;
    db.close().await.map_err(OpenError::Connect)
}

async fn open_sqlite(options: &Options) -> Result<Opened, OpenError> {
    let path = sqlite_path(&options.url);
    let lock = path.as_deref().map(lock_file).transpose()?;
    let db = Database::connect(sqlite_options(options, 1)).await.map_err(OpenError::Connect)?;
    schema::prepare(&db, options).await?;
    check_sqlite(&db, options, path.is_some()).await?;
    let writes = Pool::new(db, None);
    let reads = match path {
        Some(_) => {
            let readers =
                Database::connect(sqlite_options(options, SQLITE_READERS)).await.map_err(OpenError::Connect)?;
            Pool::new(readers, None)
        }
        // A database in memory exists once per connection.
        None => writes.clone(),
    };
    Ok(Opened { backend: DbBackend::Sqlite, reads, writes, lock })
}

async fn open_postgres(options: &Options) -> Result<Opened, OpenError> {
    // One connection: what it locks is free when it is closed or dies.
    let first = Database::connect(postgres_options(options, 1, false)).await.map_err(OpenError::Connect)?;
    check_postgres(&first, options).await?;
    schema::prepare(&first, options).await?;
    if !options.hears_others && has_others(&first).await? {
        tracing::warn!(
            "somebody else named hyper-chat is connected to this database, and REDIS_URL is not set: instances that are to go on \
             side by side need the same one, or what is said on one is not shown on the others"
        );
    }
    first.close().await.map_err(OpenError::Connect)?;
    let lazily = |max| async move {
        let connect = postgres_options(options, max, true);
        Database::connect(connect.clone()).await.map(|db| Pool::new(db, Some(connect))).map_err(OpenError::Connect)
    };
    let writers = (options.connections_max / 2).max(2);
    let readers = options.connections_max.saturating_sub(writers).max(1);
    Ok(Opened {
        backend: DbBackend::Postgres,
        reads: lazily(readers).await?,
        writes: lazily(writers).await?,
        lock: None,
    })
}

/// A server that speaks no TLS, or shows a certificate that is not trusted, will not do otherwise by being waited for.
fn is_refused_tls(error: &DbErr) -> bool {
    matches!(error, DbErr::Conn(RuntimeErr::SqlxError(e)) if matches!(**e, sqlx::Error::Tls(_)))
}

/// The lock is the operating system's, so a killed server leaves none behind.
fn lock_file(database: &Path) -> Result<std::fs::File, OpenError> {
    let mut path = database.as_os_str().to_owned();
    path.push(".lock");
    let path = PathBuf::from(path);
    let failed = |e| OpenError::Lock(path.clone(), e);
    let file = std::fs::File::options().create(true).truncate(false).write(true).open(&path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(OpenError::Locked(path)),
        Err(std::fs::TryLockError::Error(e)) => Err(OpenError::Lock(path, e)),
    }
}

fn sqlite_options(options: &Options, connections: u32) -> ConnectOptions {
    let mut connect = ConnectOptions::new(&options.url);
    connect
        .min_connections(connections)
        .max_connections(connections)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .idle_timeout(None::<Duration>)
        .max_lifetime(None::<Duration>)
        .test_before_acquire(false)
        .sqlx_logging(false)
        .map_sqlx_sqlite_opts(|sqlite| {
            sqlite
                .journal_mode(SqliteJournalMode::Wal)
                .synchronous(SqliteSynchronous::Full)
                .busy_timeout(Duration::from_secs(2))
                .statement_cache_capacity(200)
                // Content that a deletion took away shall not stay on the disk's free pages.
                .pragma("secure_delete", "ON")
        });
    connect
}

fn postgres_options(options: &Options, connections: u32, lazy: bool) -> ConnectOptions {
    let mut connect = ConnectOptions::new(&options.url);
    connect
        .max_connections(connections)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .connect_timeout(ACQUIRE_TIMEOUT)
        // Asking again before each use would cost a round trip a question; a dead connection shows at once anyway.
        .test_before_acquire(false)
        .connect_lazy(lazy)
        .sqlx_logging(false)
        .map_sqlx_postgres_opts(|postgres| {
            postgres.application_name("hyper-chat").options([
                ("synchronous_commit", "on"),
                ("statement_timeout", "5s"),
                ("lock_timeout", "1s"),
                ("idle_in_transaction_session_timeout", "1s"),
                ("tcp_user_timeout", "10s"),
                ("jit", "off"),
            ])
        });
    connect
}

async fn check_sqlite(db: &DatabaseConnection, options: &Options, on_disk: bool) -> Result<(), OpenError> {
    if options.unsafe_durability || !on_disk {
        return Ok(());
    }
    let journal: String = setting(db, "PRAGMA journal_mode").await?;
    let synchronous: i64 = setting(db, "PRAGMA synchronous").await?;
    if journal != "wal" {
        return Err(OpenError::NotDurable("SQLite's write-ahead log"));
    }
    if synchronous < 2 {
        return Err(OpenError::NotDurable("SQLite's synchronous=FULL"));
    }
    Ok(())
}

async fn check_postgres(db: &DatabaseConnection, options: &Options) -> Result<(), OpenError> {
    if options.unsafe_durability {
        return Ok(());
    }
    for (ask, name) in [
        ("SHOW fsync", "PostgreSQL's fsync"),
        ("SHOW full_page_writes", "PostgreSQL's full_page_writes"),
        ("SHOW synchronous_commit", "PostgreSQL's synchronous_commit"),
    ] {
        let value: String = setting(db, ask).await?;
        if matches!(value.as_str(), "off" | "local") && !(value == "local" && name.ends_with("commit")) {
            return Err(OpenError::NotDurable(name));
        }
    }
    Ok(())
}

/// Whether connections of another program like this one are open; those of an instance that was just killed may still be.
async fn has_others(db: &DatabaseConnection) -> Result<bool, OpenError> {
    let ask = "SELECT EXISTS (SELECT 1 FROM pg_stat_activity WHERE datname = current_database()
        AND application_name = current_setting('application_name') AND pid <> pg_backend_pid())";
    setting(db, ask).await
}

async fn setting<T: sea_orm::TryGetable>(db: &DatabaseConnection, ask: &str) -> Result<T, OpenError> {
    let row =
        db.query_one_raw(Statement::from_string(db.get_database_backend(), ask)).await.map_err(OpenError::Connect)?;
    let missing = || OpenError::Connect(DbErr::RecordNotFound(ask.to_owned()));
    row.ok_or_else(missing)?.try_get_by_index(0).map_err(OpenError::Connect)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_of_a_sqlite_url_is_found() {
        assert_eq!(sqlite_path("sqlite://hyper_chat.db?mode=rwc"), Some(PathBuf::from("hyper_chat.db")));
        assert_eq!(sqlite_path("sqlite:///var/lib/chat.db"), Some(PathBuf::from("/var/lib/chat.db")));
        assert_eq!(sqlite_path("sqlite::memory:"), None);
        assert_eq!(sqlite_path("postgres://localhost/chat"), None);
    }

    #[test]
    fn a_second_server_on_one_file_is_refused() -> Result<(), Box<dyn std::error::Error>> {
        let dir = tempfile::tempdir()?;
        let database = dir.path().join("chat.db");
        let first = lock_file(&database)?;
        assert!(matches!(lock_file(&database), Err(OpenError::Locked(_))));
        drop(first);
        lock_file(&database)?;
        Ok(())
    }
}
