//! Keeps a notifier running: should it fail, the next push hint or check starts another.
//!
//! Rows that a failed notifier had claimed are under a lease, so its successor loses nothing. With other instances, a
//! push hint is forwarded only once these were asked whether the receiver is connected there, many receivers at a time.

use std::sync::Arc;

use actix::Addr;
use actix::dev::SendError;
use parking_lot::{Mutex, RwLock};
use tokio::sync::Notify;

use super::messages::PushHint;
use super::{NOTIFIER_MAILBOX, Notifier};
use crate::broker::{Broker, State};
use crate::domain::ChatterId;
use crate::metrics::PushMetrics;

/// Takes the push hints of the rooms.
pub struct NotifierSupervisor {
    current: RwLock<Addr<Notifier>>,
    start: Box<dyn Fn() -> Addr<Notifier> + Send + Sync>,
    metrics: Arc<PushMetrics>,
    broker: Arc<dyn Broker>,
    /// Hints that wait until the other instances are asked.
    waiting: Mutex<Vec<PushHint>>,
    has_waiting: Notify,
}

impl NotifierSupervisor {
    /// Starts the first notifier.
    pub fn new(
        broker: Arc<dyn Broker>,
        metrics: Arc<PushMetrics>,
        start: impl Fn() -> Addr<Notifier> + Send + Sync + 'static,
    ) -> Self {
        let (current, start) = (RwLock::new(start()), Box::new(start));
        Self { current, start, metrics, broker, waiting: Mutex::default(), has_waiting: Notify::new() }
    }

    /// Counted so far.
    #[must_use]
    pub fn metrics(&self) -> &PushMetrics {
        &self.metrics
    }

    /// The running notifier, to drain it.
    #[must_use]
    pub fn current(&self) -> Addr<Notifier> {
        self.current.read().clone()
    }

    /// A chat was committed and its receiver has no live socket here. The hint is dropped where a queue is full or
    /// Redis is away: the push is due after the grace anyway.
    pub fn hint(&self, hint: PushHint) {
        match self.broker.state() {
            State::Single => self.forward(hint),
            State::Away { .. } => {}
            State::Up => {
                let mut waiting = self.waiting.lock();
                if waiting.len() < NOTIFIER_MAILBOX {
                    waiting.push(hint);
                    self.has_waiting.notify_one();
                } else {
                    self.metrics.hints_dropped.add(1);
                }
            }
        }
    }

    /// Asks the other instances about waiting hints and forwards those whose receivers are connected nowhere. Runs for
    /// ever.
    pub async fn run(&self) {
        loop {
            self.has_waiting.notified().await;
            let hints = std::mem::take(&mut *self.waiting.lock());
            let mut receivers: Vec<ChatterId> = hints.iter().map(|hint| hint.receiver_id).collect();
            receivers.sort_unstable();
            receivers.dedup();
            if let Some(elsewhere) = self.broker.connected_elsewhere(&receivers).await {
                let offline = hints.into_iter().filter(|hint| !elsewhere.contains(&hint.receiver_id));
                offline.for_each(|hint| self.forward(hint));
            }
        }
    }

    fn forward(&self, hint: PushHint) {
        let sent = self.current.read().try_send(hint);
        match sent {
            Ok(()) => {}
            Err(SendError::Full(_)) => self.metrics.hints_dropped.add(1),
            Err(SendError::Closed(hint)) => {
                self.restart_if_failed();
                let _ = self.current.read().try_send(hint);
            }
        }
    }

    /// Starts another notifier if the current one has failed. A timer of `app` calls this.
    pub fn restart_if_failed(&self) {
        let mut current = self.current.write();
        if !current.connected() {
            tracing::error!("the notifier failed and was restarted");
            *current = (self.start)();
        }
    }
}
