//! What every connection has: an id, an out-queue, and the handle that wakes its session.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, OnceLock};

use actix::{Message, Recipient};
use bytes::Bytes;

use crate::domain::ChatterId;
use crate::metrics::DeliveryMetrics;
use crate::websocket::framing::Close;
use crate::websocket::out_queue::{OutQueue, Pushed};

/// A socket's id.
pub type ConnectionId = u64;

/// The ids begin at a random number below 2^53, so that those of two instances differ.
static NEXT_ID: LazyLock<AtomicU64> = LazyLock::new(|| AtomicU64::new(u64::from(rand::random::<u32>()) << 20));

/// What a connection asks of its session. Frames never pass the session's mailbox; they go into the out-queue.
#[derive(Clone, Copy, Debug, Message, PartialEq, Eq)]
#[rtype(result = "()")]
pub enum Wake {
    /// The socket lacks changes that only the database has: read it.
    Behind,
    /// Frames were queued during the pause between two pings for a proof: ping after the pause.
    ProofDue,
    /// The close frame is queued: wait briefly for the peer's close frame, then end.
    Closing,
}

/// The part that all kinds of connections share.
pub struct Socket {
    id: ConnectionId,
    out: OutQueue,
    metrics: Arc<DeliveryMetrics>,
    /// The session, once its actor runs.
    session: OnceLock<Recipient<Wake>>,
}

impl Socket {
    /// A socket that writes to this queue.
    #[must_use]
    pub fn new(out: OutQueue, metrics: Arc<DeliveryMetrics>) -> Self {
        Self { id: NEXT_ID.fetch_add(1, Ordering::Relaxed), out, metrics, session: OnceLock::new() }
    }

    /// The same out-queue as a socket with an id of its own, once a chatter has signed in.
    pub(super) fn succeed(&self) -> Self {
        Self::new(self.out.clone(), self.metrics.clone())
    }

    /// The socket's id.
    #[must_use]
    pub fn id(&self) -> ConnectionId {
        self.id
    }

    /// The queue of frames that wait for the peer.
    #[must_use]
    pub fn out(&self) -> &OutQueue {
        &self.out
    }

    /// The counts of all sockets of this instance.
    #[must_use]
    pub fn metrics(&self) -> &DeliveryMetrics {
        &self.metrics
    }

    /// Sets the session to wake, once its actor runs.
    pub fn attach(&self, session: Recipient<Wake>) {
        let _ = self.session.set(session);
    }

    /// Closes the socket with this code, and wakes the session.
    pub fn close(&self, close: Close) {
        self.queue_close(close);
        self.wake(Wake::Closing);
    }

    /// Queues the close frame; the session itself calls this, so it is not woken.
    pub fn queue_close(&self, close: Close) {
        if self.out.close_for(close) {
            self.metrics.closes.add(close.place());
        }
    }

    /// Queues frames; closes the socket if its peer reads too slowly. The chatter is for the log.
    pub(super) fn push(&self, frames: impl IntoIterator<Item = Bytes>, chatter_id: Option<ChatterId>) {
        self.check(self.out.push(frames), chatter_id);
    }

    /// Closes a socket whose queue has overflowed.
    pub(super) fn check(&self, pushed: Pushed, chatter_id: Option<ChatterId>) {
        if pushed == Pushed::Overflowed {
            self.metrics.closes.add(Close::TOO_SLOW.place());
            tracing::info!(
                socket_id = self.id,
                chatter_id = chatter_id.map(ChatterId::get),
                "socket closed: it reads too slowly"
            );
            self.wake(Wake::Closing);
        }
    }

    /// Wakes the session. If its mailbox is full, the same wake-up is in it already or the next heartbeat makes up for
    /// it.
    pub(super) fn wake(&self, wake: Wake) {
        if let Some(session) = self.session.get() {
            let _ = session.try_send(wake);
        }
    }
}
