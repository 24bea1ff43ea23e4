//! Opening the database: its pools, their options, and what is checked before they serve.

use std::path::PathBuf;
use std::time::Duration;

use sea_orm::sqlx::sqlite::{SqliteJournalMode, SqliteSynchronous};
use sea_orm::{ConnectOptions, Database, DatabaseConnection, DbBackend};

use super::error::OpenError;
use super::file_lock::{DatabaseFile, FileLock};
use super::options::{Options, Shares};
use super::pool::{Breaks, Pool};
use super::{durability, schema};
use crate::config::DatabaseKind;

/// Connections that read on SQLite; more would only queue for the same two cores.
const SQLITE_READERS: u32 = 4;
/// Connections that look rows up by their key on SQLite.
const SQLITE_LOOKUPS: u32 = 2;
/// How long a connection may take to open, so that a refusal still fits within three seconds.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(2);

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
}

/// An open database.
pub(super) struct Opened {
    pub(super) backend: DbBackend,
    pub(super) pools: Pools,
    pub(super) lock: Option<FileLock>,
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
    let connect = match kind {
        DatabaseKind::Postgres => postgres_options(options, 1, WRITE_TIMEOUT),
        DatabaseKind::Sqlite(file) => sqlite_options(options, Some(&file), 1),
        DatabaseKind::SqliteInMemory => sqlite_options(options, None, 1),
    };
    let db = Database::connect(connect).await.map_err(OpenError::Connect)?;
    // A server may run on a file whose schema is current.
    let is_current = schema::is_current(&db).await?;
    let (_file, _lock) = if is_current { (opened, None) } else { (None, opened.map(DatabaseFile::lock).transpose()?) };
    schema::prepare(&db, options).await?;
    db.close().await.map_err(OpenError::Connect)
}

/// `file` is none for a database in memory.
async fn open_sqlite(options: &Options, file: Option<PathBuf>) -> Result<Opened, OpenError> {
    let kind = file.clone().map_or(DatabaseKind::SqliteInMemory, DatabaseKind::Sqlite);
    let lock = database_file(options, &kind)?.map(DatabaseFile::lock).transpose()?;
    let connect = |connections| Database::connect(sqlite_options(options, file.as_ref(), connections));
    let db = connect(1).await.map_err(OpenError::Connect)?;
    schema::prepare(&db, options).await?;
    if file.is_some() && !options.unsafe_durability {
        durability::check_sqlite(&db).await?;
    }
    let writes = Pool::new(db, None, Breaks::default());
    let open = async |connections| match &file {
        Some(_) => Ok(Pool::new(connect(connections).await.map_err(OpenError::Connect)?, None, Breaks::default())),
        // A second pool would open a second, empty database.
        None => Ok::<_, OpenError>(writes.clone()),
    };
    let (reads, lookups, search) = (open(SQLITE_READERS).await?, open(SQLITE_LOOKUPS).await?, open(1).await?);
    let sign_ins = writes.clone();
    let pools = Pools { reads, lookups, search, writes, sign_ins };
    Ok(Opened { backend: DbBackend::Sqlite, pools, lock })
}

async fn open_postgres(options: &Options) -> Result<Opened, OpenError> {
    // A single connection: its locks end when it is closed or dies.
    let first = Database::connect(postgres_options(options, 1, WRITE_TIMEOUT)).await.map_err(OpenError::Connect)?;
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
    first.close().await.map_err(OpenError::Connect)?;
    let shares = Shares::of(options.connections_max);
    let breaks = Breaks::default();
    let open = async |connections, timeout| lazy_pool(options, connections, timeout, breaks.clone()).await;
    let reads = open(shares.reads, READ_TIMEOUT).await?;
    let lookups = open(shares.lookups, READ_TIMEOUT).await?;
    let search = open(shares.search, READ_TIMEOUT).await?;
    let writes = open(shares.writes, WRITE_TIMEOUT).await?;
    let sign_ins = lookups.clone();
    let pools = Pools { reads, lookups, search, writes, sign_ins };
    Ok(Opened { backend: DbBackend::Postgres, pools, lock: None })
}

/// A pool that connects when it is first used, and can be replaced.
async fn lazy_pool(
    options: &Options,
    connections: u32,
    timeout: &'static str,
    breaks: Breaks,
) -> Result<Pool, OpenError> {
    let mut connect = postgres_options(options, connections, timeout);
    connect.connect_lazy(true);
    let db = Database::connect(connect.clone()).await.map_err(OpenError::Connect)?;
    Ok(Pool::new(db, Some(connect), breaks))
}

/// The SQLite file, open; none for another kind of database.
fn database_file(options: &Options, kind: &DatabaseKind) -> Result<Option<DatabaseFile>, OpenError> {
    match kind {
        DatabaseKind::Sqlite(file) => DatabaseFile::open(file, may_create(&options.url)).map(Some),
        DatabaseKind::SqliteInMemory | DatabaseKind::Postgres => Ok(None),
    }
}

/// Whether the URL lets a missing SQLite file be created.
fn may_create(url: &str) -> bool {
    url.split_once('?').is_some_and(|(_, query)| query.split('&').any(|pair| pair == "mode=rwc"))
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

fn postgres_options(options: &Options, connections: u32, statement_timeout: &'static str) -> ConnectOptions {
    let mut connect = ConnectOptions::new(&options.url);
    connect
        .max_connections(connections)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .connect_timeout(ACQUIRE_TIMEOUT)
        // A test before each use would cost a round trip a query; a dead connection shows at once anyway.
        .test_before_acquire(false)
        .sqlx_logging(false)
        .map_sqlx_postgres_opts(move |postgres| {
            postgres.application_name("hyper-chat").options([
                ("synchronous_commit", "on"),
                ("statement_timeout", statement_timeout),
                ("lock_timeout", "1s"),
                ("idle_in_transaction_session_timeout", "1s"),
                ("tcp_user_timeout", "10s"),
                ("jit", "off"),
            ])
        });
    connect
}

/// Whether another program like this one is connected; the connections of a killed instance linger and count too.
async fn has_other_instances(db: &DatabaseConnection) -> Result<bool, OpenError> {
    let query = "SELECT EXISTS (SELECT 1 FROM pg_stat_activity WHERE datname = current_database()
        AND application_name = current_setting('application_name') AND pid <> pg_backend_pid())";
    durability::single_value(db, query).await
}
