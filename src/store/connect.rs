//! Opening the database: its pools, their options, and what is checked before they serve.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sea_orm::sqlx::sqlite::{SqliteJournalMode, SqliteSynchronous};
use sea_orm::{ConnectOptions, Database, DatabaseConnection, DbBackend};

use super::check::{Mend, Report};
use super::epoch::Epochs;
use super::error::OpenError;
use super::failover::Failover;
use super::file_lock::{DatabaseFile, FileLock};
use super::health::Health;
use super::options::{Options, Shares};
use super::pool::{self, ACQUIRE_TIMEOUT, Pool, Use};
use super::servers::Servers;
use super::{check, durability, schema, sequences};
use crate::config::DatabaseKind;

/// Connections that read on SQLite; more would only queue for the same two cores.
const SQLITE_READERS: u32 = 4;
/// Connections that look rows up by their key on SQLite.
const SQLITE_LOOKUPS: u32 = 2;

/// How long PostgreSQL works on a statement that reads before it cancels it by itself: the answer, that it was cancelled,
/// still comes within the store's deadline, so the connection is known to be alive.
const READ_TIMEOUT: &str = "2300ms";
/// The same for migrations and for statements that write.
const WRITE_TIMEOUT: &str = "5s";

/// The connections by what they are for. What clients can make slow shares none with what signs in, checks tokens or
/// tells readiness.
pub(super) struct Pools {
    /// What clients read.
    pub(super) reads: Pool,
    /// Rows by their key, each as cheap as the other.
    pub(super) lookups: Pool,
    /// Pages of rooms that a search examines.
    pub(super) search: Pool,
    /// Short transactions, and on SQLite the writer.
    pub(super) writes: Pool,
    /// New sign-ins. SQLite has one connection that writes.
    pub(super) sign_ins: Pool,
    /// One connection for `/readyz`.
    pub(super) probe: Pool,
}

/// An open database.
pub(super) struct Opened {
    pub(super) backend: DbBackend,
    pub(super) pools: Pools,
    /// None for PostgreSQL and for a database in memory.
    pub(super) file: Option<PathBuf>,
    pub(super) lock: Option<FileLock>,
    pub(super) epochs: Arc<Epochs>,
}

/// Opens the database and brings its schema up to date, or refuses it.
pub(super) async fn open(options: &Options) -> Result<Opened, OpenError> {
    match DatabaseKind::of_url(&options.url).ok_or(OpenError::Scheme)? {
        DatabaseKind::Postgres => open_postgres(options).await,
        DatabaseKind::Sqlite(file) => open_sqlite(options, Some(file)).await,
        DatabaseKind::SqliteInMemory => open_sqlite(options, None).await,
    }
}

/// Brings the schema up to date and closes the database again.
pub(super) async fn migrate(options: &Options) -> Result<(), OpenError> {
    let options = &Options { migrate: true, ..options.clone() };
    let kind = DatabaseKind::of_url(&options.url).ok_or(OpenError::Scheme)?;
    let opened = database_file(options, &kind)?;
    let db = single(options).await?;
    // A server may run on a file whose schema is current.
    let is_current = schema::is_current(&db).await?;
    let (_file, _lock) = if is_current { (opened, None) } else { (None, opened.map(DatabaseFile::lock).transpose()?) };
    if db.get_database_backend() == DbBackend::Postgres {
        check_encoding(&db).await?;
    }
    schema::prepare(&db, options).await?;
    db.close().await.map_err(OpenError::Connect)
}

/// Checks the database and closes it again.
pub(super) async fn check(options: &Options, mend: Mend) -> Result<Report, OpenError> {
    if let DatabaseKind::Sqlite(file) = DatabaseKind::of_url(&options.url).ok_or(OpenError::Scheme)? {
        check_file("", &file)?;
    }
    let db = single(options).await?;
    let report = check::check(&db, mend).await?;
    db.close().await.map_err(OpenError::Connect)?;
    Ok(report)
}

/// A single connection to a database, whose schema may be of any release.
pub(super) async fn single(options: &Options) -> Result<DatabaseConnection, OpenError> {
    match DatabaseKind::of_url(&options.url).ok_or(OpenError::Scheme)? {
        DatabaseKind::Postgres => Ok(first_connection(&postgres(options).await?)),
        DatabaseKind::Sqlite(file) => connect_sqlite(options, Some(&file), 1).await,
        DatabaseKind::SqliteInMemory => connect_sqlite(options, None, 1).await,
    }
}

/// `file` is none for a database in memory.
async fn open_sqlite(options: &Options, file: Option<PathBuf>) -> Result<Opened, OpenError> {
    let kind = file.clone().map_or(DatabaseKind::SqliteInMemory, DatabaseKind::Sqlite);
    let lock = database_file(options, &kind)?.map(DatabaseFile::lock).transpose()?;
    let db = connect_sqlite(options, file.as_ref(), 1).await?;
    schema::prepare(&db, options).await?;
    if file.is_some() && !options.unsafe_durability {
        durability::check_sqlite(&db).await?;
    }
    let health = Arc::new(Health::default());
    let writes = Pool::sqlite(db, Use::Writes, &health);
    let open = async |connections| match &file {
        Some(_) => {
            let db = connect_sqlite(options, file.as_ref(), connections).await?;
            Ok::<_, OpenError>(Pool::sqlite(db, Use::Reads, &health))
        }
        // A second pool would open a second, empty database.
        None => Ok(writes.clone()),
    };
    let (reads, lookups) = (open(SQLITE_READERS).await?, open(SQLITE_LOOKUPS).await?);
    let (search, probe) = (open(1).await?, open(1).await?);
    let sign_ins = writes.clone();
    let pools = Pools { reads, lookups, search, writes, sign_ins, probe };
    Ok(Opened { backend: DbBackend::Sqlite, pools, file, lock, epochs: Arc::default() })
}

async fn open_postgres(options: &Options) -> Result<Opened, OpenError> {
    let failover = postgres(options).await?;
    let first = first_connection(&failover);
    check_encoding(&first).await?;
    if !options.unsafe_durability {
        durability::check_postgres(&first).await?;
    }
    schema::prepare(&first, options).await?;
    if !options.has_broker && has_other_instances(&first).await? {
        tracing::warn!(
            "another hyper-chat is connected to this database, and REDIS_URL is not set: instances that run side by \
             side need the same Redis, or a chat sent to one does not appear on the others"
        );
    }
    warn_of_sequences(&first).await?;
    first.close().await.map_err(OpenError::Connect)?;
    let shares = Shares::of(options.connections_max);
    let health = Arc::new(Health::default());
    let pool = |connections, timeout, of| Pool::postgres(&failover, connections, timeout, of, &health);
    let lookups = pool(shares.lookups, READ_TIMEOUT, Use::Reads);
    let pools = Pools {
        reads: pool(shares.reads, READ_TIMEOUT, Use::Reads),
        search: pool(shares.search, READ_TIMEOUT, Use::Reads),
        writes: pool(shares.writes, WRITE_TIMEOUT, Use::Writes),
        probe: pool(1, READ_TIMEOUT, Use::Reads),
        sign_ins: lookups.shared_for(Use::Writes),
        lookups,
    };
    let epochs = failover.epochs().clone();
    Ok(Opened { backend: DbBackend::Postgres, pools, file: None, lock: None, epochs })
}

/// The servers of the URL, one of which answers and fits.
async fn postgres(options: &Options) -> Result<Arc<Failover>, OpenError> {
    let servers = Servers::of_url(&options.url)?;
    servers.find(false).await?;
    Ok(Failover::new(servers))
}

/// A single connection: its locks end when it is closed or dies.
fn first_connection(failover: &Arc<Failover>) -> DatabaseConnection {
    pool::lazy(failover, 1, WRITE_TIMEOUT).into()
}

/// The SQLite file, open; none for another kind of database.
fn database_file(options: &Options, kind: &DatabaseKind) -> Result<Option<DatabaseFile>, OpenError> {
    let DatabaseKind::Sqlite(file) = kind else { return Ok(None) };
    check_file(&options.url, file)?;
    DatabaseFile::open(file, may_create(&options.url)).map(Some)
}

/// Whether the URL lets a missing SQLite file be created.
fn may_create(url: &str) -> bool {
    url.split_once('?').is_some_and(|(_, query)| query.split('&').any(|pair| pair == "mode=rwc"))
}

/// Refuses a file that is not there and may not be created, before anything is created beside it.
pub(super) fn check_file(url: &str, file: &Path) -> Result<(), OpenError> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let rule = if !folder.is_dir() {
        format!("names a file in {}, which is no folder", folder.display())
    } else if file.is_dir() {
        format!("names {}, which is a folder", file.display())
    } else if !file.exists() && !may_create(url) {
        format!("names {}, which is not there: with ?mode=rwc behind it the server creates it", file.display())
    } else {
        return Ok(());
    };
    Err(OpenError::Url(rule))
}

async fn connect_sqlite(
    options: &Options,
    file: Option<&PathBuf>,
    connections: u32,
) -> Result<DatabaseConnection, OpenError> {
    Database::connect(sqlite_options(options, file, connections)).await.map_err(OpenError::Connect)
}

fn sqlite_options(options: &Options, file: Option<&PathBuf>, connections: u32) -> ConnectOptions {
    let url = match file {
        // The driver reads the parameters alone, and gets the name below: it takes no URL with a blank in its name.
        Some(_) => format!("sqlite://file?{}", options.url.split_once('?').map_or("", |(_, query)| query)),
        None => options.url.clone(),
    };
    let mut connect = ConnectOptions::new(url);
    let file = file.cloned();
    connect
        .min_connections(connections)
        .max_connections(connections)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .idle_timeout(None::<Duration>)
        .max_lifetime(None::<Duration>)
        .test_before_acquire(false)
        .sqlx_logging(false)
        .map_sqlx_sqlite_opts(move |sqlite| {
            let sqlite = match &file {
                // The locked file, however the driver reads the URL.
                Some(file) => sqlite.filename(file),
                None => sqlite,
            };
            sqlite
                .journal_mode(SqliteJournalMode::Wal)
                .synchronous(SqliteSynchronous::Full)
                .busy_timeout(Duration::from_secs(2))
                .statement_cache_capacity(200)
                // Deleted content must not stay on the disk's free pages.
                .pragma("secure_delete", "ON")
        });
    connect
}

/// Says which sequences would give new rows the ids of old ones.
async fn warn_of_sequences(db: &DatabaseConnection) -> Result<(), OpenError> {
    let behind = sequences::behind(db).await.map_err(OpenError::Connect)?;
    if !behind.is_empty() {
        let found = behind.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        tracing::error!("sequences of ids are behind their tables: {found}; run `hyper-chat check --fix`");
    }
    Ok(())
}

/// Refuses a database that cannot store every text; its tables would be made, and the first emoji would fail.
async fn check_encoding(db: &DatabaseConnection) -> Result<(), OpenError> {
    let encoding: String = durability::single_value(db, "SHOW server_encoding").await?;
    if encoding == "UTF8" { Ok(()) } else { Err(OpenError::Encoding(encoding)) }
}

/// Whether another program like this one is connected; the connections of a killed instance linger and count too.
async fn has_other_instances(db: &DatabaseConnection) -> Result<bool, OpenError> {
    let query = "SELECT EXISTS (SELECT 1 FROM pg_stat_activity WHERE datname = current_database()
        AND application_name = current_setting('application_name') AND pid <> pg_backend_pid())";
    durability::single_value(db, query).await
}
