//! Keeps a notifier running: should one fail, the next nudge or look starts another.
//!
//! Rows in hand of a failed notifier are under a lease, so its successor loses nothing.

use std::sync::Arc;

use actix::Addr;
use actix::dev::SendError;
use parking_lot::RwLock;

use super::messages::Unreached;
use super::{Counters, Notifier};

/// Where rooms nudge the notifier.
pub struct Keeper {
    current: RwLock<Addr<Notifier>>,
    start: Box<dyn Fn() -> Addr<Notifier> + Send + Sync>,
    counters: Arc<Counters>,
}

impl Keeper {
    /// Starts the first one.
    pub fn new(counters: Arc<Counters>, start: impl Fn() -> Addr<Notifier> + Send + Sync + 'static) -> Self {
        Self { current: RwLock::new(start()), start: Box::new(start), counters }
    }

    /// What became of the pushes.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The one that runs, to drain it.
    #[must_use]
    pub fn current(&self) -> Addr<Notifier> {
        self.current.read().clone()
    }

    /// A chat was committed and its receiver has no live socket here. A full mailbox drops this: the push is due after
    /// the grace anyway.
    pub fn nudge(&self, unreached: Unreached) {
        let refused = self.current.read().try_send(unreached);
        match refused {
            Ok(()) => {}
            Err(SendError::Full(_)) => self.counters.count_unreached_dropped(1),
            Err(SendError::Closed(unreached)) => {
                self.look();
                let _ = self.current.read().try_send(unreached);
            }
        }
    }

    /// Starts another one if the last has failed. Called now and then by `app`.
    pub fn look(&self) {
        let mut current = self.current.write();
        if !current.connected() {
            tracing::error!("the notifier had failed and was started anew");
            *current = (self.start)();
        }
    }
}
