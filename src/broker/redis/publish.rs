//! The connection that publishes: sends everything that waits in the queue as one pipeline.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use redis::Pipeline;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use super::connect::{Connection, in_time};
use super::failure::Failure;
use super::health::Role;
use super::reconnect::Reconnector;
use super::shared::Shared;
use crate::broker::ClusterMessage;
use crate::broker::envelope::MESSAGE_BYTES_MAX;
use crate::domain::ChatterId;

/// The most messages that wait to be published, and the most bytes of them.
const QUEUE: usize = 8_192;
const QUEUE_BYTES: usize = 16 * 1024 * 1024;
/// A pipeline has no more messages than this, and about this many bytes.
const PIPELINE: usize = 512;
const PIPELINE_BYTES: usize = 1024 * 1024;

/// A sealed message and its recipients.
pub(super) struct Outgoing {
    recipients: (ChatterId, Option<ChatterId>),
    sealed: Vec<u8>,
}

/// The way into the queue.
pub(super) struct Publisher {
    shared: Arc<Shared>,
    queue: mpsc::Sender<Outgoing>,
}

impl Publisher {
    /// An empty queue, and its other end, for [`run`].
    pub(crate) fn new(shared: Arc<Shared>) -> (Self, mpsc::Receiver<Outgoing>) {
        let (sender, receiver) = mpsc::channel(QUEUE);
        (Self { shared, queue: sender }, receiver)
    }

    /// Queues a message, in several parts where it is too long. Drops and counts it where it cannot be sent.
    pub(crate) fn publish(&self, message: &ClusterMessage) {
        // While Redis is away nothing is sealed, since it would not be sent.
        if !self.shared.health.can_publish() || self.queue.capacity() == 0 {
            self.shared.metrics.messages_dropped.add(1);
            return;
        }
        let sealed = self.shared.envelope.seal(message);
        if sealed.len() <= MESSAGE_BYTES_MAX {
            self.enqueue(Outgoing { recipients: message.recipients(), sealed });
        } else if let Some(halves) = message.halves() {
            halves.iter().for_each(|half| self.publish(half));
        } else {
            self.shared.metrics.messages_dropped.add(1);
        }
    }

    fn enqueue(&self, message: Outgoing) {
        let (shared, bytes) = (&self.shared, message.sealed.len());
        let before = shared.queued_bytes.fetch_add(bytes, Ordering::Relaxed);
        if before + bytes > QUEUE_BYTES || self.queue.try_send(message).is_err() {
            shared.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
            shared.metrics.messages_dropped.add(1);
        }
    }
}

/// Publishes until the last handle is dropped.
pub(super) async fn run(shared: &Shared, mut queue: mpsc::Receiver<Outgoing>) {
    let mut reconnector = Reconnector::new(Role::Publishing, shared.settings.backoff);
    loop {
        let connection = tokio::select! {
            () = discard(shared, &mut queue) => return,
            connection = reconnector.connection(shared, || |_| {}) => connection,
        };
        shared.health.up(Role::Publishing);
        match publish(shared, connection, &mut queue).await {
            Ok(()) => return,
            Err(failure) => shared.health.down(Role::Publishing, &failure),
        }
    }
}

/// Drops what was queued before the failure was noticed, since it would be late. Returns when no handle is left.
async fn discard(shared: &Shared, queue: &mut mpsc::Receiver<Outgoing>) {
    while let Some(message) = queue.recv().await {
        dequeued(shared, &message);
        shared.metrics.messages_dropped.add(1);
    }
}

async fn publish(
    shared: &Shared,
    mut connection: Connection,
    queue: &mut mpsc::Receiver<Outgoing>,
) -> Result<(), Failure> {
    let settings = &shared.settings;
    let mut ticks = interval_at(Instant::now() + settings.ping_interval, settings.ping_interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let first = tokio::select! {
            first = queue.recv() => first,
            _ = ticks.tick() => {
                connection.ping(&shared.connector, settings.answer_timeout).await?;
                continue;
            }
            failure = connection.ended() => return Err(failure),
        };
        let Some(first) = first else { return Ok(()) };
        let (pipeline, messages) = gather(shared, first, queue);
        // An error for a single message, such as a missing permission, will last: it counts as a broken connection.
        match in_time(settings.publish_timeout, pipeline.exec_async(&mut connection.redis)).await {
            Ok(()) => shared.metrics.messages_sent.add(messages),
            Err(failure) => {
                shared.metrics.messages_dropped.add(messages);
                return Err(failure);
            }
        }
    }
}

/// A pipeline of this message and those that wait behind it, and their number.
fn gather(shared: &Shared, first: Outgoing, queue: &mut mpsc::Receiver<Outgoing>) -> (Pipeline, usize) {
    let (mut pipeline, mut messages, mut bytes) = (Pipeline::new(), 0, 0);
    let publish = if shared.settings.is_cluster() { "SPUBLISH" } else { "PUBLISH" };
    let mut next = Some(first);
    while let Some(outgoing) = next {
        dequeued(shared, &outgoing);
        messages += 1;
        bytes += outgoing.sealed.len();
        let (first, second) = outgoing.recipients;
        for chatter in [Some(first), second].into_iter().flatten() {
            pipeline.cmd(publish).arg(shared.channel(chatter)).arg(&outgoing.sealed[..]);
        }
        next = if messages < PIPELINE && bytes < PIPELINE_BYTES { queue.try_recv().ok() } else { None };
    }
    (pipeline, messages)
}

fn dequeued(shared: &Shared, message: &Outgoing) {
    shared.queued_bytes.fetch_sub(message.sealed.len(), Ordering::Relaxed);
}
