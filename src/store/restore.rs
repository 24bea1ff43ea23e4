//! `hyper-chat epoch` and `hyper-chat restore`: reading and changing the epoch while no server needs to run.

use std::ffi::OsString;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend, DbErr, RuntimeErr, sqlx};

use super::durability::single_value;
use super::epoch::{self, Epochs, begin_new};
use super::error::OpenError;
use super::file_lock::DatabaseFile;
use super::options::Options;
use super::{Store, connect, schema};
use crate::config::DatabaseKind;
use crate::domain::clock::Micros;
use crate::telemetry;

/// Why a backup was not put in place.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The database is no SQLite file.
    #[error(
        "`hyper-chat restore` puts back SQLite files; restore PostgreSQL with its own tools, and run \
         `hyper-chat epoch --new` before the server starts"
    )]
    NotSqlite,
    /// The file at this path cannot be read, written or renamed.
    #[error("{0} cannot be used")]
    File(PathBuf, #[source] std::io::Error),
    /// SQLite cannot read the file at this path.
    #[error("{0} is damaged, or no SQLite file: {1}")]
    Damaged(PathBuf, String),
    /// The file at this path has none of this program's tables.
    #[error("{0} is no database of hyper-chat")]
    Foreign(PathBuf),
    /// The database, or the backup, cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
}

/// What `hyper-chat restore` has done.
#[derive(Debug, PartialEq, Eq)]
pub struct Restored {
    /// The name of the new epoch.
    pub epoch: String,
    /// Where the former database is, if there was one.
    pub former: Option<PathBuf>,
}

impl Store {
    /// The name of the database's epoch.
    pub async fn epoch_of(options: &Options) -> Result<String, OpenError> {
        existing(options)?;
        let db = connect::single(options).await?;
        let name = current(&db).await.map_err(OpenError::Connect)?;
        db.close().await.map_err(OpenError::Connect)?;
        Ok(name)
    }

    /// Begins a new epoch; returns its name. A server on the same PostgreSQL database notices it within seconds.
    pub async fn begin_epoch(options: &Options) -> Result<String, OpenError> {
        let file = existing(options)?.map(|file| DatabaseFile::open(&file, false)).transpose()?;
        let _lock = file.map(DatabaseFile::lock).transpose()?;
        let db = connect::single(options).await?;
        schema::prepare(&db, &Options { migrate: true, ..options.clone() }).await?;
        // Records the place first, so that the next connection does not begin another epoch.
        current(&db).await.map_err(OpenError::Connect)?;
        let epoch = begin_new(&db).await.map_err(OpenError::Connect)?;
        db.close().await.map_err(OpenError::Connect)?;
        Ok(epoch.name.to_string())
    }

    /// Puts a backup in the place of the SQLite file, with a new epoch. The former file is kept beside it.
    pub async fn restore(options: &Options, backup: &Path) -> Result<Restored, RestoreError> {
        let kind = DatabaseKind::of_url(&options.url).ok_or(OpenError::Scheme)?;
        let DatabaseKind::Sqlite(file) = kind else { return Err(RestoreError::NotSqlite) };
        // Before anything is created beside a file that does not exist.
        fs::metadata(backup).map_err(|e| RestoreError::File(backup.to_owned(), e))?;
        // Links are followed: a rename would replace them.
        let file = fs::canonicalize(&file).unwrap_or(file);
        let is_new = !file.exists();
        let _lock = DatabaseFile::open(&file, true)?.lock()?;
        let copy = beside(&file, ".restoring");
        remove(&copy)?;
        let prepared = prepare(options, backup, &copy).await;
        let epoch = match prepared {
            Ok(epoch) => epoch,
            Err(error) => {
                remove(&copy)?;
                if is_new {
                    remove(&file)?;
                }
                return Err(error);
            }
        };
        if !is_new {
            move_log_into(options, &file).await;
        }
        let former = put_in_place(&copy, &file)?;
        if is_new && let Some(empty) = &former {
            remove(empty)?;
        }
        Ok(Restored { epoch, former: former.filter(|_| !is_new) })
    }
}

/// The SQLite file, which must exist: opening it would create it.
fn existing(options: &Options) -> Result<Option<PathBuf>, OpenError> {
    match DatabaseKind::of_url(&options.url).ok_or(OpenError::Scheme)? {
        DatabaseKind::Sqlite(file) if file.exists() => Ok(Some(file)),
        DatabaseKind::Sqlite(file) => {
            Err(OpenError::Connect(DbErr::Custom(format!("there is no file {}", file.display()))))
        }
        DatabaseKind::SqliteInMemory | DatabaseKind::Postgres => Ok(None),
    }
}

async fn current(db: &DatabaseConnection) -> Result<String, DbErr> {
    if db.get_database_backend() == DbBackend::Postgres {
        let epochs = Epochs::default();
        let mut connection = db.get_postgres_connection_pool().acquire().await.map_err(sqlx_error)?;
        epoch::check(&mut connection, &epochs).await.map_err(sqlx_error)?;
        return Ok(epochs.name().to_string());
    }
    Ok(epoch::read(db).await?.name.to_string())
}

fn sqlx_error(error: sqlx::Error) -> DbErr {
    DbErr::Conn(RuntimeErr::SqlxError(Arc::new(error)))
}

/// Copies the backup, checks the copy, brings its schema up to date, and begins its new epoch.
async fn prepare(options: &Options, backup: &Path, copy: &Path) -> Result<String, RestoreError> {
    copy_with_wal(backup, copy)?;
    let url = format!("sqlite:{}", percent_encoded(copy));
    let options = Options { url, migrate: true, ..options.clone() };
    let damaged = |error: OpenError| RestoreError::Damaged(backup.to_owned(), telemetry::chain(&error));
    let db = connect::single(&options).await.map_err(damaged)?;
    let check: String = single_value(&db, "PRAGMA quick_check(1)").await.map_err(damaged)?;
    if check != "ok" {
        return Err(RestoreError::Damaged(backup.to_owned(), check));
    }
    let tables = "SELECT count(*) FROM sqlite_master WHERE name IN ('chatters', 'chats', 'seaql_migrations')";
    if single_value::<i64>(&db, tables).await? != 3 {
        return Err(RestoreError::Foreign(backup.to_owned()));
    }
    schema::prepare(&db, &options).await?;
    let epoch = begin_new(&db).await.map_err(OpenError::Connect)?;
    // The copy is complete without a write-ahead log once the last connection closes.
    db.execute_unprepared("PRAGMA wal_checkpoint(TRUNCATE)").await.map_err(OpenError::Connect)?;
    db.close().await.map_err(OpenError::Connect)?;
    Ok(epoch.name.to_string())
}

/// Writes what the former file's write-ahead log has into the file: if this process dies before its last rename, the
/// former database is whole. A file that is too damaged for that is kept with its log.
async fn move_log_into(options: &Options, file: &Path) {
    let options = Options { url: format!("sqlite:{}", percent_encoded(file)), ..options.clone() };
    let moved = async {
        let db = connect::single(&options).await?;
        db.execute_unprepared("PRAGMA wal_checkpoint(TRUNCATE)").await.map_err(OpenError::Connect)?;
        db.close().await.map_err(OpenError::Connect)
    };
    if let Err(error) = moved.await {
        let error = &error as &dyn std::error::Error;
        tracing::warn!(error, "the former database keeps its write-ahead log in a file of its own");
    }
}

/// Renames the prepared copy to the database's name. The former file keeps its write-ahead log under another name: the
/// log must not be applied to the new file.
fn put_in_place(copy: &Path, file: &Path) -> Result<Option<PathBuf>, RestoreError> {
    let renamed = |from: &Path, to: &Path| fs::rename(from, to).map_err(|e| RestoreError::File(from.to_owned(), e));
    fs::File::open(copy).and_then(|copy| copy.sync_all()).map_err(|e| RestoreError::File(copy.to_owned(), e))?;
    let mut former = None;
    if file.exists() {
        let kept = beside(file, &format!(".before-restore-{}", Micros::now().0));
        fs::hard_link(file, &kept).map_err(|e| RestoreError::File(kept.clone(), e))?;
        if beside(file, "-wal").exists() {
            renamed(&beside(file, "-wal"), &beside(&kept, "-wal"))?;
        }
        former = Some(kept);
    }
    remove_one(&beside(file, "-shm"))?;
    renamed(copy, file)?;
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::File::open(folder).and_then(|f| f.sync_all()).map_err(|e| RestoreError::File(folder.to_owned(), e))?;
    Ok(former)
}

/// Copies a SQLite file, with its write-ahead log if there is one. Only the owner may read the copy.
fn copy_with_wal(from: &Path, to: &Path) -> Result<(), RestoreError> {
    for end in ["", "-wal"] {
        let (from, to) = (beside(from, end), beside(to, end));
        match fs::copy(&from, &to).and_then(|_| fs::set_permissions(&to, fs::Permissions::from_mode(0o600))) {
            Err(error) if error.kind() == ErrorKind::NotFound && end == "-wal" => {}
            copied => copied.map_err(|e| RestoreError::File(from, e))?,
        }
    }
    Ok(())
}

fn remove(file: &Path) -> Result<(), RestoreError> {
    ["", "-wal", "-shm"].iter().try_for_each(|end| remove_one(&beside(file, end)))
}

fn remove_one(file: &Path) -> Result<(), RestoreError> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(RestoreError::File(file.to_owned(), error)),
        _ => Ok(()),
    }
}

/// The path with more behind its name.
fn beside(file: &Path, end: &str) -> PathBuf {
    let mut path: OsString = file.as_os_str().to_owned();
    path.push(end);
    PathBuf::from(path)
}

/// The path in a URL that `config::DatabaseKind` reads back.
fn percent_encoded(file: &Path) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"/._-".contains(byte);
    let text = file.to_string_lossy();
    text.bytes().map(|byte| if plain(&byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}
