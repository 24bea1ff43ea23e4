//! Whether the database file is still the one that was opened: what is written into a deleted file is lost with the process.

use std::fs::metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::store::StoreError;

/// A file as it was found at the start.
pub(super) struct DatabaseFile {
    path: PathBuf,
    id: (u64, u64),
    gone: bool,
}

impl DatabaseFile {
    /// None for a database in memory.
    pub(super) fn at(path: &Path) -> Option<Self> {
        Some(Self { id: id_of(path)?, path: path.to_owned(), gone: false })
    }

    /// Refused while the file was moved or deleted. Asked before each batch; it costs a microsecond.
    pub(super) fn is_there(&mut self) -> Result<(), StoreError> {
        let gone = id_of(&self.path) != Some(self.id);
        if gone && !self.gone {
            let file = self.path.display();
            tracing::error!(%file, "the database file was moved or deleted: nothing is stored until it is back, or a restart");
        }
        self.gone = gone;
        if gone { Err(StoreError::Unavailable(None)) } else { Ok(()) }
    }
}

fn id_of(path: &Path) -> Option<(u64, u64)> {
    metadata(path).ok().map(|file| (file.dev(), file.ino()))
}
