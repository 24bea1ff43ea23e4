//! Incoming messages: opened, checked and handed to the event handler, right where they are read.
//!
//! Nothing is queued on the way. A flood waits in Redis, which cuts the connection when that becomes too much.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use redis::{PushInfo, PushKind, Value};

use super::shared::Shared;
use crate::broker::envelope::{Envelope, MessageId, Rejected};
use crate::broker::{BrokerEventHandler, ClusterMessage};
use crate::domain::ChatterId;

/// How many messages for two chatters are remembered, so that their copies are recognised.
const REMEMBERED: usize = 1_024;

/// The receiver of one connection's pushes.
pub(super) struct Inbound {
    shared: Arc<Shared>,
    handler: Arc<dyn BrokerEventHandler>,
    /// Grows with each push: a connection with much traffic is alive, even if its answers are late.
    traffic: Arc<AtomicU64>,
    /// Received messages for two chatters. The copy on the other chatter's channel is ignored.
    received: Mutex<Box<[Option<MessageId>]>>,
    logged_rejection: AtomicBool,
}

impl Inbound {
    pub(crate) fn new(shared: Arc<Shared>, handler: Arc<dyn BrokerEventHandler>, traffic: Arc<AtomicU64>) -> Self {
        let received = Mutex::new(vec![None; REMEMBERED].into_boxed_slice());
        Self { shared, handler, traffic, received, logged_rejection: AtomicBool::new(false) }
    }

    /// A push of the server, of any kind.
    pub(crate) fn on_push(&self, push: PushInfo) {
        self.traffic.fetch_add(1, Ordering::Relaxed);
        if push.kind != PushKind::Message {
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

    /// The opened message; none if it is our own or a copy of one that was received on another channel.
    fn open(&self, chatter: ChatterId, message: &Bytes) -> Result<Option<ClusterMessage>, Rejected> {
        let id = Envelope::message_id(message)?;
        if self.shared.envelope.is_own(id) || self.received.lock()[place(id)] == Some(id) {
            return Ok(None);
        }
        let message = self.shared.envelope.open(message)?;
        if !message.is_for(chatter) {
            return Err(Rejected::Forged);
        }
        if message.recipients().1.is_some() {
            self.received.lock()[place(id)] = Some(id);
        }
        Ok(Some(message))
    }

    fn reject(&self, rejected: Rejected) {
        let metrics = &self.shared.metrics;
        match rejected {
            Rejected::Forged => metrics.messages_forged.add(1),
            Rejected::UnknownFormat => metrics.messages_unknown_format.add(1),
            Rejected::Garbled => metrics.messages_garbled.add(1),
        }
        if !self.logged_rejection.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                kind = ?rejected,
                "Redis carries messages that are not ours: dropped; further ones are counted, not logged"
            );
        }
    }
}

/// Numbers follow each other, so messages of one origin share a place only after that many others.
fn place(id: MessageId) -> usize {
    (id.origin ^ id.number) as usize % REMEMBERED
}
