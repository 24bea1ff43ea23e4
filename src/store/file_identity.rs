//! Whether the database file is still the one that was opened: a chat written into a deleted file is lost with the
//! process.

use std::fs::metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::store::error::StoreError;

/// The file as it was at the start.
pub(in crate::store) struct FileIdentity {
    path: PathBuf,
    id: (u64, u64),
    missing: bool,
}

impl FileIdentity {
    /// None for a database in memory.
    pub(in crate::store) fn at(path: &Path) -> Option<Self> {
        Some(Self { id: id_of(path)?, path: path.to_owned(), missing: false })
    }

    /// Whether it is there.
    pub(in crate::store) fn is_there(&self) -> bool {
        id_of(&self.path) == Some(self.id)
    }

    /// Fails while the file is moved or deleted. Called before each transaction; it costs a microsecond.
    pub(in crate::store) fn check(&mut self) -> Result<(), StoreError> {
        let missing = !self.is_there();
        if missing && !self.missing {
            let file = self.path.display();
            tracing::error!(
                %file,
                "the database file was moved or deleted: no chat is stored until it is back or the server is restarted"
            );
        }
        self.missing = missing;
        if missing { Err(StoreError::Unavailable(None)) } else { Ok(()) }
    }
}

fn id_of(path: &Path) -> Option<(u64, u64)> {
    metadata(path).ok().map(|file| (file.dev(), file.ino()))
}
