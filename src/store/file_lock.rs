//! The lock beside a SQLite file that keeps a second server away.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

use super::error::OpenError;

/// Locks `<database>.lock`. The lock is the operating system's, so a killed server leaves none behind.
pub(super) fn lock_file(database: &Path) -> Result<File, OpenError> {
    let mut path = database.as_os_str().to_owned();
    path.push(".lock");
    let path = PathBuf::from(path);
    let failed = |e| OpenError::Lock(path.clone(), e);
    let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::Locked(path)),
        Err(TryLockError::Error(e)) => Err(OpenError::Lock(path, e)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
