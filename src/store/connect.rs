//! Opening the database: its pools, their options, and what is checked before they serve.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sea_orm::sqlx::sqlite::{SqliteJournalMode, SqliteSynchronous};
use sea_orm::{ConnectOptions, Database, DatabaseConnection, DbBackend};

use super::check::{Mend, Report};
use super::error::OpenError;
use super::failover::Failover;
use super::file_lock::lock_file;
use super::health::Health;
use super::options::Options;
use super::pool::{self, ACQUIRE_TIMEOUT, Pool, Use};
use super::servers::Servers;
use super::{check, durability, schema, sequences};
use crate::config::DatabaseKind;

/// Connections that read on SQLite; more would only queue for the same two cores.
const SQLITE_READERS: u32 = 4;

/// An open database.
pub(super) struct Opened {
    pub(super) backend: DbBackend,
    pub(super) reads: Pool,
    pub(super) writes: Pool,
    /// One connection for `/readyz`, so that no client's statement keeps it waiting.
    pub(super) probe: Pool,
    /// None for PostgreSQL and for a database in memory.
    pub(super) file: Option<PathBuf>,
    pub(super) lock: Option<File>,
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
    if let DatabaseKind::Sqlite(file) = &kind {
        check_file(&options.url, file)?;
    }
    let (db, file) = match kind {
        DatabaseKind::Postgres => (first_connection(&postgres(options).await?), None),
        DatabaseKind::Sqlite(file) => (connect_sqlite(options, Some(&file), 1).await?, Some(file)),
        DatabaseKind::SqliteInMemory => (connect_sqlite(options, None, 1).await?, None),
    };
    // A server may run on a file whose schema is current.
    let _lock = match file {
        Some(file) if !schema::is_current(&db).await? => Some(lock_file(&file)?),
        _ => None,
    };
    if db.get_database_backend() == DbBackend::Postgres {
        check_encoding(&db).await?;
    }
    schema::prepare(&db, options).await?;
    db.close().await.map_err(OpenError::Connect)
}

/// Checks the database and closes it again.
pub(super) async fn check(options: &Options, mend: Mend) -> Result<Report, OpenError> {
    let db = match DatabaseKind::of_url(&options.url).ok_or(OpenError::Scheme)? {
        DatabaseKind::Postgres => first_connection(&postgres(options).await?),
        DatabaseKind::Sqlite(file) => {
            check_file("", &file)?;
            connect_sqlite(options, Some(&file), 1).await?
        }
        DatabaseKind::SqliteInMemory => connect_sqlite(options, None, 1).await?,
    };
    let report = check::check(&db, mend).await?;
    db.close().await.map_err(OpenError::Connect)?;
    Ok(report)
}

/// `file` is none for a database in memory.
async fn open_sqlite(options: &Options, file: Option<PathBuf>) -> Result<Opened, OpenError> {
    if let Some(file) = &file {
        check_file(&options.url, file)?;
    }
    let lock = file.as_deref().map(lock_file).transpose()?;
    let db = connect_sqlite(options, file.as_ref(), 1).await?;
    schema::prepare(&db, options).await?;
    if file.is_some() && !options.unsafe_durability {
        durability::check_sqlite(&db).await?;
    }
    let health = Arc::new(Health::default());
    let writes = Pool::sqlite(db, Use::Writes, &health);
    let (reads, probe) = match &file {
        Some(_) => {
            let reads = connect_sqlite(options, file.as_ref(), SQLITE_READERS).await?;
            let probe = connect_sqlite(options, file.as_ref(), 1).await?;
            (Pool::sqlite(reads, Use::Reads, &health), Pool::sqlite(probe, Use::Reads, &health))
        }
        // A second pool would open a second, empty database.
        None => (writes.clone(), writes.clone()),
    };
    Ok(Opened { backend: DbBackend::Sqlite, reads, writes, probe, file, lock })
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
    let writers = (options.connections_max / 2).max(2);
    let readers = options.connections_max.saturating_sub(writers).max(1);
    let health = Arc::new(Health::default());
    let pool = |connections, of| Pool::postgres(&failover, connections, of, &health);
    let (reads, writes, probe) = (pool(readers, Use::Reads), pool(writers, Use::Writes), pool(1, Use::Reads));
    Ok(Opened { backend: DbBackend::Postgres, reads, writes, probe, file: None, lock: None })
}

/// The servers of the URL, one of which answers and fits.
async fn postgres(options: &Options) -> Result<Arc<Failover>, OpenError> {
    let servers = Servers::of_url(&options.url)?;
    servers.find(false).await?;
    Ok(Failover::new(servers))
}

/// A single connection: its locks end when it is closed or dies.
fn first_connection(failover: &Arc<Failover>) -> DatabaseConnection {
    pool::lazy(failover, 1).into()
}

/// Refuses a file that is not there and may not be created, before anything is created beside it.
fn check_file(url: &str, file: &Path) -> Result<(), OpenError> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let creates = url.split_once('?').is_some_and(|(_, query)| query.split('&').any(|pair| pair == "mode=rwc"));
    let rule = if !folder.is_dir() {
        format!("names a file in {}, which is no folder", folder.display())
    } else if file.is_dir() {
        format!("names {}, which is a folder", file.display())
    } else if !file.exists() && !creates {
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
    let mut connect = ConnectOptions::new(&options.url);
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
