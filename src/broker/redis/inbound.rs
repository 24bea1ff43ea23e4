//! What comes in: opened, checked and passed on, right where it is read.
//!
//! Nothing is queued on the way. A flood waits in Redis, which cuts the connection when that becomes too much.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use redis::{PushInfo, PushKind, Value};

use super::Shared;
use crate::broker::envelope::{Bad, Envelope, Mark};
use crate::broker::{BrokerEventHandler, ClusterMessage};
use crate::domain::ChatterId;

/// How many messages for two chatters are remembered, so that their copies are known.
const COPIES: usize = 1_024;

/// The ear of one connection.
pub(super) struct Inbound {
    shared: Arc<Shared>,
    handler: Arc<dyn BrokerEventHandler>,
    /// Grows with each push: a connection on which much comes is alive, even if its answers have to wait.
    traffic: Arc<AtomicU64>,
    /// What was heard that is for two: its copy on the other one's channel is not passed on.
    copies: Mutex<Box<[Option<Mark>]>>,
    said_bad: AtomicBool,
}

impl Inbound {
    pub fn new(shared: Arc<Shared>, handler: Arc<dyn BrokerEventHandler>, traffic: Arc<AtomicU64>) -> Self {
        let copies = Mutex::new(vec![None; COPIES].into_boxed_slice());
        Self { shared, handler, traffic, copies, said_bad: AtomicBool::new(false) }
    }

    /// A push of the server, of any kind.
    pub fn pushed(&self, push: PushInfo) {
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
        match self.opened(chatter, message) {
            Ok(Some(message)) => {
                self.shared.tally.heard.add(1);
                self.handler.on_message(message);
            }
            Ok(None) => {}
            Err(bad) => self.drop_bad(bad),
        }
    }

    /// What it tells; none if it is our own or was heard on another channel.
    fn opened(&self, chatter: ChatterId, message: &Bytes) -> Result<Option<ClusterMessage>, Bad> {
        let mark = Envelope::mark(message)?;
        if self.shared.envelope.is_own(mark) || self.copies.lock()[place(mark)] == Some(mark) {
            return Ok(None);
        }
        let message = self.shared.envelope.open(message)?;
        if !message.is_for(chatter) {
            return Err(Bad::Forged);
        }
        if message.chatters().1.is_some() {
            self.copies.lock()[place(mark)] = Some(mark);
        }
        Ok(Some(message))
    }

    fn drop_bad(&self, bad: Bad) {
        let tally = &self.shared.tally;
        match bad {
            Bad::Forged => tally.forged.add(1),
            Bad::UnknownFormat => tally.unknown_format.add(1),
            Bad::Garbled => tally.garbled.add(1),
        }
        if !self.said_bad.swap(true, Ordering::Relaxed) {
            tracing::warn!(kind = ?bad, "Redis carries messages that are not ours: dropped; more are counted only");
        }
    }
}

/// Numbers follow each other, so those of one origin share no place until it has told that many more.
fn place(mark: Mark) -> usize {
    (mark.origin ^ mark.number) as usize % COPIES
}
