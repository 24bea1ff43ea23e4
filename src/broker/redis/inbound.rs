//! Incoming messages: opened, checked and handed to the event handler, right where they are read.
//!
//! Nothing is queued on the way. A flood waits in Redis, which cuts the connection when that becomes too much.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use redis::{PushInfo, PushKind, Value};

use super::shared::Shared;
use crate::broker::envelope::replay::Received;
use crate::broker::envelope::{Envelope, Rejected};
use crate::broker::{BrokerEventHandler, ClusterMessage};
use crate::domain::ChatterId;

/// The receiver of one connection's pushes.
pub(super) struct Inbound {
    shared: Arc<Shared>,
    handler: Arc<dyn BrokerEventHandler>,
    /// Grows with each push: a connection with much traffic is alive, even if its answers are late.
    traffic: Arc<AtomicU64>,
    /// The messages that were received, on this connection or an earlier one.
    received: Arc<Mutex<Received>>,
    logged_rejection: AtomicBool,
}

impl Inbound {
    pub(crate) fn new(
        shared: Arc<Shared>,
        handler: Arc<dyn BrokerEventHandler>,
        traffic: Arc<AtomicU64>,
        received: Arc<Mutex<Received>>,
    ) -> Self {
        Self { shared, handler, traffic, received, logged_rejection: AtomicBool::new(false) }
    }

    /// A push of the server, of any kind.
    pub(crate) fn on_push(&self, push: PushInfo) {
        self.traffic.fetch_add(1, Ordering::Relaxed);
        if !matches!(push.kind, PushKind::Message | PushKind::SMessage) {
            return;
        }
        let Ok([Value::BulkString(channel), Value::BulkString(message)]) = <[Value; 2]>::try_from(push.data) else {
            return;
        };
        if let Some(chatter) = self.shared.chatter(&channel)
            && self.shared.subscriptions.has(chatter)
        {
            self.on_message(chatter, &Bytes::from(message));
        }
    }

    fn on_message(&self, chatter: ChatterId, message: &Bytes) {
        match self.open(chatter, message) {
            Ok(Some(message)) => {
                self.shared.metrics.messages_received.add(1);
                self.handler.on_message(message);
            }
            Ok(None) => {}
            Err(rejected) => self.reject(rejected),
        }
    }

    /// The opened message; none if it is our own, or was received before: on the other chatter's channel, or as a
    /// replay.
    fn open(&self, chatter: ChatterId, message: &Bytes) -> Result<Option<ClusterMessage>, Rejected> {
        let id = Envelope::message_id(message)?;
        if self.shared.envelope.is_own(id) || self.received.lock().has(id) {
            return Ok(None);
        }
        let message = self.shared.envelope.open(message)?;
        if !message.is_for(chatter) {
            return Err(Rejected::Forged);
        }
        self.received.lock().add(id);
        Ok(Some(message))
    }

    fn reject(&self, rejected: Rejected) {
        let metrics = &self.shared.metrics;
        match rejected {
            Rejected::Forged => metrics.messages_forged.add(1),
            Rejected::Stale => {
                metrics.messages_stale.add(1);
                // This instance may have been frozen, so the messages behind it are lost too.
                self.handler.on_reconnected();
            }
            Rejected::UnknownFormat => metrics.messages_unknown_format.add(1),
            Rejected::Garbled => metrics.messages_garbled.add(1),
            // The poll of the database finds what they brought.
            Rejected::OtherEpoch => return metrics.messages_of_other_epochs.add(1),
        }
        if !self.logged_rejection.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                kind = ?rejected,
                "Redis carries messages that are not ours: dropped; further ones are counted, not logged"
            );
        }
    }
}
