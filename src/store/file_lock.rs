//! The lock that keeps a second server away from a SQLite file, by whatever name it knows it.

use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use super::error::OpenError;

/// An open SQLite file, to be locked. It has to be opened before SQLite opens the file and closed after it has closed it:
/// as soon as a process closes any handle of a file, the system drops the locks that SQLite has on it.
pub(super) struct DatabaseFile {
    file: File,
    path: PathBuf,
}

/// The lock. It is the operating system's, so a killed server leaves none behind.
pub(super) struct FileLock {
    _database: File,
    _beside: File,
}

impl DatabaseFile {
    /// Opens the file, or creates it so that only its owner may read it; SQLite gives its other files the same mode.
    pub(super) fn open(path: &Path, may_create: bool) -> Result<Self, OpenError> {
        let file = match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && may_create => private(path),
            opened => opened,
        };
        let failed = |error| OpenError::Lock(path.to_owned(), error);
        Ok(Self { file: file.map_err(failed)?, path: path.to_owned() })
    }

    /// Locks the file itself, since links and spellings are many, and a file beside it, which releases up to 0.1 look at.
    pub(super) fn lock(self) -> Result<FileLock, OpenError> {
        let path = std::fs::canonicalize(&self.path).unwrap_or(self.path);
        // On other systems this lock and those of SQLite would exclude each other.
        if cfg!(target_os = "linux") {
            try_lock(&self.file, &path)?;
        }
        let mut beside = path.into_os_string();
        beside.push(".lock");
        let beside = PathBuf::from(beside);
        let file = private(&beside).map_err(|error| OpenError::Lock(beside.clone(), error))?;
        try_lock(&file, &beside)?;
        Ok(FileLock { _database: self.file, _beside: file })
    }
}

impl FileLock {
    /// Leaves the lock to the process, whose end is the end of SQLite's connections too.
    pub(super) fn keep(self) {
        std::mem::forget(self);
    }
}

/// Opens a file, which is created for its owner alone.
pub(super) fn private(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.create(true).truncate(false).read(true).write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

fn try_lock(file: &File, path: &Path) -> Result<(), OpenError> {
    file.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => OpenError::Locked(path.to_owned()),
        TryLockError::Error(error) => OpenError::Lock(path.to_owned(), error),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lock(path: &Path) -> Result<FileLock, OpenError> {
        DatabaseFile::open(path, true)?.lock()
    }

    #[test]
    fn a_second_server_on_one_file_is_refused() -> Result<(), Box<dyn std::error::Error>> {
        let dir = tempfile::tempdir()?;
        let database = dir.path().join("chat.db");
        let first = lock(&database)?;
        assert!(matches!(lock(&database), Err(OpenError::Locked(_))));
        drop(first);
        lock(&database)?;
        Ok(())
    }

    #[test]
    fn a_missing_file_is_created_only_where_that_is_wanted() -> Result<(), Box<dyn std::error::Error>> {
        let dir = tempfile::tempdir()?;
        let database = dir.path().join("chat.db");
        assert!(matches!(DatabaseFile::open(&database, false), Err(OpenError::Lock(..))));
        assert_eq!(std::fs::read_dir(dir.path())?.count(), 0, "nothing is left behind");
        Ok(())
    }
}
