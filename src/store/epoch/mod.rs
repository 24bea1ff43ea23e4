//! The epoch: one life of the database, by name. Ids, versions and sign-ins mean something only within their epoch.
//!
//! A database that is set back to an earlier state begins a new epoch: `hyper-chat restore` and `hyper-chat epoch --new`
//! give it one. On PostgreSQL each new connection also compares the server with the one on which the epoch was last
//! seen, so a promoted standby or a recovery to a point in time begins a new epoch before anything else is read there.

mod postgres;
mod table;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use parking_lot::{Mutex, RwLock};

use crate::domain::clock::Micros;

pub(super) use postgres::{check, refuse_older};
use table::new_name;
pub(super) use table::{begin_new, read};

/// The condition on a row `s` of `sign_ins` that it was opened in the current epoch. A macro, so that `concat!` takes it.
macro_rules! sign_in_is_current {
    () => {
        "EXISTS (SELECT 1 FROM epoch e WHERE s.epoch = e.name OR (s.epoch IS NULL AND e.begin_time = 0))"
    };
}
pub(in crate::store) use sign_in_is_current;

/// One life of the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Epoch {
    /// Random, and opaque to clients.
    pub name: Arc<str>,
    /// When it began, by the database's clock; 0 for the first epoch.
    pub begin_time: Micros,
}

impl Epoch {
    /// Whether a token without a sign-in names a chatter of this epoch. Without the time of issue nobody can say that,
    /// except in the first epoch. The time of issue has whole seconds.
    #[must_use]
    pub fn includes(&self, issued_at: Option<Micros>) -> bool {
        let begin = self.begin_time.0 / 1_000_000 * 1_000_000;
        begin == 0 || issued_at.is_some_and(|issued_at| issued_at.0 >= begin)
    }
}

/// Counts the epochs that this process has seen. Work that was begun under another number is about another life of the
/// database.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EpochNumber(u64);

/// Takes notice of a new epoch.
pub trait EpochObserver: Send + Sync {
    /// The database has begun a new epoch. No connection to it is used before this returns.
    fn epoch_changed(&self);
}

/// The epoch that this process knows, and who takes notice of a new one.
pub struct Epochs {
    number: AtomicU64,
    known: RwLock<Known>,
    /// Held while the observers take notice.
    changing: Mutex<()>,
    observers: RwLock<Vec<Arc<dyn EpochObserver>>>,
}

impl fmt::Debug for Epochs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Epochs").field(&self.current()).finish()
    }
}

struct Known {
    /// None until the database was read.
    epoch: Option<Epoch>,
    since: Instant,
}

/// Another connection has seen a newer epoch since this one was questioned.
#[derive(Debug, thiserror::Error)]
#[error("the connection leads to an earlier epoch of the database")]
pub(super) struct Superseded;

impl Default for Epochs {
    fn default() -> Self {
        Self {
            number: AtomicU64::new(0),
            known: RwLock::new(Known { epoch: None, since: Instant::now() }),
            changing: Mutex::default(),
            observers: RwLock::default(),
        }
    }
}

impl Epochs {
    /// An epoch of this name.
    #[cfg(test)]
    pub(crate) fn example(name: &str) -> Arc<Self> {
        let epochs = Arc::new(Self::default());
        let epoch = Epoch { name: Arc::from(name), begin_time: Micros(0) };
        assert!(epochs.found(epoch, Instant::now()).is_ok());
        epochs
    }

    /// The number of the current epoch.
    #[must_use]
    pub fn number(&self) -> EpochNumber {
        EpochNumber(self.number.load(Ordering::Acquire))
    }

    /// The current epoch.
    #[must_use]
    pub fn current(&self) -> Epoch {
        let known = self.known.read().epoch.clone();
        known.unwrap_or_else(|| Epoch { name: Arc::from(""), begin_time: Micros(0) })
    }

    /// The name of the current epoch.
    #[must_use]
    pub fn name(&self) -> Arc<str> {
        self.current().name
    }

    /// Calls this observer at each new epoch.
    pub fn observe(&self, observer: Arc<dyn EpochObserver>) {
        self.observers.write().push(observer);
    }

    /// Whether a connection that was opened at this time leads to the current epoch, as far as its age says.
    fn is_current_since(&self, opened: Instant) -> bool {
        opened >= self.known.read().since
    }

    /// Takes what a connection said to a question of this time.
    pub(super) fn found(&self, found: Epoch, questioned: Instant) -> Result<(), Superseded> {
        let _changing = self.changing.lock();
        let is_first = {
            let mut known = self.known.write();
            if known.epoch.as_ref().is_some_and(|epoch| epoch.name == found.name) {
                return Ok(());
            }
            let is_first = known.epoch.is_none();
            if !is_first && questioned < known.since {
                return Err(Superseded);
            }
            *known = Known { epoch: Some(found), since: Instant::now() };
            self.number.fetch_add(1, Ordering::AcqRel);
            is_first
        };
        if !is_first {
            tracing::warn!("the database has begun a new epoch: all sign-ins have ended, and all sockets are closed");
            self.observers.read().iter().for_each(|observer| observer.epoch_changed());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
