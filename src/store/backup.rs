//! The backup of a SQLite file, beside a server that runs on it.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sea_orm::sqlx::sqlite::SqliteConnectOptions;
use sea_orm::sqlx::{self, ConnectOptions as _, Connection as _};

use super::file_lock::private;
use crate::config::DatabaseKind;

/// How long a moment in which the file is locked may last, such as the end of a server.
const BUSY_MAX: Duration = Duration::from_secs(10);

/// Why there is no backup; the text says what to do.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The database is not a SQLite file.
    #[error(
        "this command copies a SQLite file; back PostgreSQL up with pg_dump, or with pg_basebackup and its write-ahead log"
    )]
    NotSqlite,
    /// The file of the backup exists.
    #[error("{0} exists already; name a new file")]
    Exists(PathBuf),
    /// The file of the backup could not be created.
    #[error("cannot write {0}: is the folder there and writable?")]
    File(PathBuf, #[source] io::Error),
    /// The database could not be read, or not all of it copied.
    #[error("{0} cannot be copied")]
    Copy(PathBuf, #[source] sqlx::Error),
}

/// Copies the database into a new file, as it is at one moment after the call. Returns the size of the copy.
pub(super) async fn back_up(url: &str, to: &Path) -> Result<u64, BackupError> {
    let Some(DatabaseKind::Sqlite(database)) = DatabaseKind::of_url(url) else { return Err(BackupError::NotSqlite) };
    let failed = |error| BackupError::File(to.to_owned(), error);
    if to.symlink_metadata().is_ok() {
        return Err(BackupError::Exists(to.to_owned()));
    }
    let mut name = to.as_os_str().to_owned();
    name.push(format!(".{:016x}", rand::random::<u64>()));
    // A copy that was interrupted never has the name of a backup.
    let draft = PathBuf::from(name);
    // For its owner alone; SQLite fills an empty file.
    private(&draft).map_err(failed)?;
    let copied = copy(&database, &draft).await.and_then(|()| finish(&draft, to).map_err(failed));
    if copied.is_err() && draft.exists() {
        std::fs::remove_file(&draft).map_err(failed)?;
    }
    copied
}

async fn copy(database: &Path, draft: &Path) -> Result<(), BackupError> {
    let failed = |error| BackupError::Copy(database.to_owned(), error);
    let options = SqliteConnectOptions::new().filename(database).create_if_missing(false).busy_timeout(BUSY_MAX);
    let mut db = options.disable_statement_logging().connect().await.map_err(failed)?;
    // One read transaction, which holds up no writer.
    let into = sqlx::query("VACUUM INTO ?").bind(draft.display().to_string());
    let copied = into.execute(&mut db).await.map_err(failed);
    db.close().await.map_err(failed)?;
    copied.map(|_| ())
}

/// Brings the copy to the disk, and then to its name, which no other file has meanwhile.
fn finish(draft: &Path, to: &Path) -> io::Result<u64> {
    let file = File::open(draft)?;
    file.sync_all()?;
    std::fs::hard_link(draft, to)?;
    std::fs::remove_file(draft)?;
    let folder = to.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()?;
    Ok(file.metadata()?.len())
}
