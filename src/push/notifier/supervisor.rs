//! Keeps a notifier running: should one fail, the next nudge or look starts another.
//!
//! Rows in hand of a failed notifier are under a lease, so its successor loses nothing. With other instances a nudge is
//! passed on only once they were asked, many at a time.

use std::sync::Arc;

use actix::Addr;
use actix::dev::SendError;
use parking_lot::{Mutex, RwLock};
use tokio::sync::Notify;

use super::NOTIFIER_MAILBOX;
use super::messages::PushHint;
use super::{Counters, Notifier};
use crate::broker::{Broker, State};
use crate::domain::ChatterId;

/// Where rooms nudge the notifier.
pub struct NotifierSupervisor {
    current: RwLock<Addr<Notifier>>,
    start: Box<dyn Fn() -> Addr<Notifier> + Send + Sync>,
    counters: Arc<Counters>,
    broker: Broker,
    /// Nudges that wait until the other instances are asked.
    asking: Mutex<Vec<PushHint>>,
    asked: Notify,
}

impl NotifierSupervisor {
    /// Starts the first one.
    pub fn new(
        broker: Broker,
        counters: Arc<Counters>,
        start: impl Fn() -> Addr<Notifier> + Send + Sync + 'static,
    ) -> Self {
        let (current, start) = (RwLock::new(start()), Box::new(start));
        Self { current, start, counters, broker, asking: Mutex::default(), asked: Notify::new() }
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

    /// A chat was committed and its receiver has no live socket here. A full queue drops this, and so does a Redis that
    /// is away: the push is due after the grace anyway.
    pub fn nudge(&self, unreached: PushHint) {
        match self.broker.state() {
            State::Single => self.pass_on(unreached),
            State::Away { .. } => {}
            State::Up => {
                let mut asking = self.asking.lock();
                if asking.len() < NOTIFIER_MAILBOX {
                    asking.push(unreached);
                    self.asked.notify_one();
                } else {
                    self.counters.count_unreached_dropped(1);
                }
            }
        }
    }

    /// Asks the other instances, for as long as this one runs, and passes on the nudges for those who are nowhere.
    pub async fn ask_for_ever(&self) {
        loop {
            self.asked.notified().await;
            let nudges = std::mem::take(&mut *self.asking.lock());
            let mut receivers: Vec<ChatterId> = nudges.iter().map(|unreached| unreached.receiver_id).collect();
            receivers.sort_unstable();
            receivers.dedup();
            if let Some(elsewhere) = self.broker.connected_elsewhere(&receivers).await {
                let nowhere = nudges.into_iter().filter(|unreached| !elsewhere.contains(&unreached.receiver_id));
                nowhere.for_each(|unreached| self.pass_on(unreached));
            }
        }
    }

    fn pass_on(&self, unreached: PushHint) {
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
