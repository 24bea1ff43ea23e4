//! What is known of whether the database takes writes: the last outcome of the writer, and damage that was seen.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::error::StoreError;

/// For how long a committed write proves that the next one can be stored.
const PROVEN_FOR: Duration = Duration::from_secs(5);

/// What keeps chats from being stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The database does not answer.
    Away,
    /// The database answers and takes no writes, as PostgreSQL does on a standby.
    ReadOnly,
    /// The disk of the database has no space, or the database may not grow.
    DiskFull,
    /// The database has found damage in its files. Nothing is written until a restart.
    Corrupt,
}

impl Trouble {
    /// The name by which operators and their alerts know it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Away => "database_away",
            Self::ReadOnly => "database_read_only",
            Self::DiskFull => "disk_full",
            Self::Corrupt => "database_corrupt",
        }
    }
}

/// Shared by the pools, the writer and the probe of one store.
#[derive(Default)]
pub(in crate::store) struct Health {
    last: Mutex<Last>,
    corrupt: AtomicBool,
}

#[derive(Clone, Copy, Default)]
struct Last {
    stored_at: Option<Instant>,
    trouble: Option<Trouble>,
}

impl Health {
    /// A write was committed.
    pub(in crate::store) fn stored(&self) {
        *self.last.lock() = Last { stored_at: Some(Instant::now()), trouble: None };
    }

    /// A write failed with this error.
    pub(in crate::store) fn write_failed(&self, error: &StoreError) {
        self.note(error);
        let trouble = match error.trouble() {
            Some(trouble) => trouble,
            None if matches!(error, StoreError::Unavailable(_)) => Trouble::Away,
            // The statement is at fault.
            None => return,
        };
        self.set(trouble);
    }

    /// Looks at the error of any statement: whatever a read meets, only damage, a full disk and a read-only server say
    /// something about the next write.
    pub(in crate::store) fn note(&self, error: &StoreError) {
        match error.trouble() {
            Some(Trouble::Corrupt) if !self.corrupt.swap(true, Ordering::Relaxed) => {
                tracing::error!(
                    error = error as &dyn std::error::Error,
                    "the database is damaged (database_corrupt): nothing is written until a restart; stop the server, \
                     run `hyper-chat check`, and put back a backup"
                );
            }
            Some(trouble @ (Trouble::ReadOnly | Trouble::DiskFull)) => self.set(trouble),
            _ => {}
        }
    }

    fn set(&self, trouble: Trouble) {
        let mut last = self.last.lock();
        if last.trouble != Some(trouble) {
            tracing::warn!(reason = trouble.as_str(), "no chat can be stored");
        }
        *last = Last { stored_at: None, trouble: Some(trouble) };
    }

    /// Whether damage was seen since the start.
    pub(in crate::store) fn is_corrupt(&self) -> bool {
        self.corrupt.load(Ordering::Relaxed)
    }

    /// What the last write met, if it failed.
    pub(in crate::store) fn trouble(&self) -> Option<Trouble> {
        if self.is_corrupt() { Some(Trouble::Corrupt) } else { self.last.lock().trouble }
    }

    /// Whether a write was committed so lately that another one proves nothing more.
    pub(in crate::store) fn is_proven(&self) -> bool {
        let Last { stored_at, trouble } = *self.last.lock();
        trouble.is_none() && stored_at.is_some_and(|at| at.elapsed() < PROVEN_FOR)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_write_decides_and_damage_stays() {
        let health = Health::default();
        assert!(!health.is_proven() && health.trouble().is_none());
        health.stored();
        assert!(health.is_proven());
        health.note(&StoreError::Unavailable(None));
        assert!(health.is_proven(), "a slow read says nothing about writes");
        health.write_failed(&StoreError::Unavailable(None));
        assert_eq!((health.is_proven(), health.trouble()), (false, Some(Trouble::Away)));
        health.stored();
        assert_eq!(health.trouble(), None);
        health.corrupt.store(true, Ordering::Relaxed);
        health.stored();
        assert_eq!(health.trouble(), Some(Trouble::Corrupt));
    }
}
