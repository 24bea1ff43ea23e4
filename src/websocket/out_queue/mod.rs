//! What waits to be written to one socket: bounded in bytes, filled from any thread, emptied by the HTTP connection.
//!
//! The response body of the upgraded connection is this queue, and the session actor is independent of it: a
//! peer that stops reading blocks neither the actor nor the rooms, it fills its queue and is closed. A burst is not slowness: what
//! comes at once may be more than the queue shall hold, if the peer then reads it.

mod body;

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;

pub use body::OutBody;

use super::framing::{Close, close_frame, ping_frame};
use super::ping_proof::{Next, PingProof};
use crate::domain::Seq;
use crate::metrics::DeliveryMetrics;

/// Up to a quarter of its bytes a queue counts as roomy.
const ROOMY_PART: usize = 4;
/// For so long a queue may hold more than its bytes.
const OVERFULL_MAX: Duration = Duration::from_secs(2);
/// And at most so many times its bytes.
const OVERFULL_TIMES: usize = 16;

/// What became of frames that were put in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushed {
    Queued,
    /// The queue was full: it is dropped and the socket closed 4508.
    Overflowed,
    /// The socket is closing; nothing more is taken.
    Closed,
}

/// The producing side; cheap to clone.
#[derive(Clone)]
pub struct OutQueue {
    shared: Arc<Mutex<Shared>>,
    bytes_max: usize,
    metrics: Arc<DeliveryMetrics>,
}

struct Shared {
    chunks: VecDeque<Bytes>,
    bytes: usize,
    /// Since when it holds more than its bytes.
    overfull: Option<Instant>,
    state: State,
    /// The connection that waits for more.
    reader: Option<Waker>,
    /// The producer that waits for less.
    producer: Option<Waker>,
    proof: PingProof,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// The close frame is queued; the connection stays for the peer's.
    Closing,
    /// The connection ends when the queue is empty.
    Ended,
}

impl OutQueue {
    /// A queue of at most this many bytes, and the body that empties it.
    #[must_use]
    pub fn new(bytes_max: usize, metrics: Arc<DeliveryMetrics>) -> (Self, OutBody) {
        let shared = Shared {
            chunks: VecDeque::new(),
            bytes: 0,
            overfull: None,
            state: State::Open,
            reader: None,
            producer: None,
            proof: PingProof::default(),
        };
        let shared = Arc::new(Mutex::new(shared));
        (Self { shared: shared.clone(), bytes_max, metrics }, OutBody { shared, bytes_max })
    }

    /// Where it is counted what goes through all queues.
    #[must_use]
    pub fn metrics(&self) -> &DeliveryMetrics {
        &self.metrics
    }

    /// Puts frames in, in order, with one wake-up.
    pub fn push(&self, frames: impl IntoIterator<Item = Bytes>) -> Pushed {
        let mut shared = self.shared.lock();
        let pushed = shared.push(frames, self.bytes_max);
        wake(shared);
        pushed
    }

    /// Puts a frame in that nobody misses, unless the queue is filling up.
    pub fn push_if_roomy(&self, frame: Bytes) -> Pushed {
        let mut shared = self.shared.lock();
        if !shared.is_roomy(self.bytes_max) {
            return Pushed::Queued;
        }
        let pushed = shared.push([frame], self.bytes_max);
        wake(shared);
        pushed
    }

    /// Waits until the peer has read most of what is queued: catching up shall never fill the queue. False when the socket
    /// is closing.
    pub async fn roomy(&self) -> bool {
        std::future::poll_fn(|cx| {
            let mut shared = self.shared.lock();
            if shared.state != State::Open {
                return Poll::Ready(false);
            }
            if shared.is_roomy(self.bytes_max) {
                return Poll::Ready(true);
            }
            shared.producer = Some(cx.waker().clone());
            Poll::Pending
        })
        .await
    }

    /// Puts in the frames of chats up to `newest`, the first of which is `first`, and behind them the ping that lets the
    /// peer prove it has read them. Also says whether that ping has to wait for the pause to end.
    pub fn push_chats(&self, frames: impl IntoIterator<Item = Bytes>, first: Seq, newest: Seq) -> (Pushed, bool) {
        let mut shared = self.shared.lock();
        let mut answer = (shared.push(frames, self.bytes_max), false);
        if answer.0 == Pushed::Queued {
            shared.proof.sent(first, newest);
            answer = shared.ask_for_proof(self.bytes_max);
        }
        wake(shared);
        answer
    }

    /// Asks for the next proof where one is wanted; says whether the ping has to wait for the pause to end.
    #[must_use]
    pub fn prove(&self) -> bool {
        let mut shared = self.shared.lock();
        let (_, later) = shared.ask_for_proof(self.bytes_max);
        wake(shared);
        later
    }

    /// The same, at the end of the pause.
    #[must_use]
    pub fn prove_after_pause(&self) -> bool {
        self.shared.lock().proof.pause_over();
        self.prove()
    }

    /// Pings, unless a ping is in flight already.
    pub fn heartbeat(&self) -> Pushed {
        let mut shared = self.shared.lock();
        let Some(nonce) = shared.proof.heartbeat_ping() else { return Pushed::Queued };
        let pushed = shared.push([ping_frame(&nonce)], self.bytes_max);
        wake(shared);
        pushed
    }

    /// A pong came: which chats, from and to, it proves to have been received.
    #[must_use]
    pub fn pong(&self, payload: &[u8]) -> Option<(Seq, Seq)> {
        self.shared.lock().proof.pong(payload)
    }

    /// Closes for this reason.
    pub fn close_for(&self, close: Close) {
        if self.close(Some((close.code, close.reason))) {
            self.metrics.closes.add(close.place());
        }
    }

    /// Queues the close frame behind what is there; takes nothing after it. False if it was closing already.
    pub fn close(&self, close: Option<(u16, &str)>) -> bool {
        let mut shared = self.shared.lock();
        let open = shared.state == State::Open;
        if open {
            // The close frame itself always fits.
            shared.append(close_frame(close));
            shared.state = State::Closing;
        }
        wake(shared);
        open
    }

    /// Ends the connection once the queue is empty.
    pub fn end(&self) {
        let mut shared = self.shared.lock();
        shared.state = State::Ended;
        wake(shared);
    }

    /// Whether nothing more is taken.
    #[must_use]
    pub fn is_closing(&self) -> bool {
        self.shared.lock().state != State::Open
    }
}

impl Shared {
    fn push(&mut self, frames: impl IntoIterator<Item = Bytes>, bytes_max: usize) -> Pushed {
        if self.state != State::Open {
            return Pushed::Closed;
        }
        for frame in frames {
            self.append(frame);
            if self.bytes > bytes_max && self.is_jammed(bytes_max) {
                self.overflow();
                return Pushed::Overflowed;
            }
        }
        Pushed::Queued
    }

    fn ask_for_proof(&mut self, bytes_max: usize) -> (Pushed, bool) {
        match self.proof.ask() {
            Next::Ping(nonce) => (self.push([ping_frame(&nonce)], bytes_max), false),
            Next::Later => (Pushed::Queued, true),
            Next::Nothing => (Pushed::Queued, false),
        }
    }

    /// Whether most of what it shall hold is free.
    fn is_roomy(&self, bytes_max: usize) -> bool {
        self.bytes <= bytes_max / ROOMY_PART
    }

    /// Whether more than the queue shall hold has been in it for too long, or is far too much.
    fn is_jammed(&mut self, bytes_max: usize) -> bool {
        let now = Instant::now();
        let since = *self.overfull.get_or_insert(now);
        self.bytes > bytes_max.saturating_mul(OVERFULL_TIMES) || now.duration_since(since) >= OVERFULL_MAX
    }

    fn append(&mut self, frame: Bytes) {
        self.bytes += frame.len();
        self.chunks.push_back(frame);
    }

    /// A jammed reader would not see the rest anyway; it comes back and resumes.
    fn overflow(&mut self) {
        self.chunks = VecDeque::new();
        self.bytes = 0;
        self.append(close_frame(Some((Close::TOO_SLOW.code, Close::TOO_SLOW.reason))));
        self.state = State::Ended;
    }
}

/// Wakes the connection after the lock is let go, or it would wake up into it.
fn wake(mut shared: parking_lot::MutexGuard<'_, Shared>) {
    let reader = if shared.chunks.is_empty() && shared.state != State::Ended { None } else { shared.reader.take() };
    let producer = if shared.state == State::Open { None } else { shared.producer.take() };
    drop(shared);
    for waiting in [reader, producer].into_iter().flatten() {
        waiting.wake();
    }
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::task::Context;

    use futures_util::Stream;

    use super::*;

    fn next(body: &mut OutBody) -> Poll<Option<Bytes>> {
        let mut cx = Context::from_waker(Waker::noop());
        Pin::new(body).poll_next(&mut cx).map(|chunk| chunk.and_then(Result::ok))
    }

    #[test]
    fn a_queue_that_stays_full_is_dropped_and_ends_with_the_reason() {
        let (queue, mut body) = OutQueue::new(10, Arc::default());
        assert_eq!(queue.push([Bytes::from_static(b"12345678")]), Pushed::Queued);
        assert_eq!(queue.push([Bytes::from_static(b"901")]), Pushed::Queued);
        queue.shared.lock().overfull = Instant::now().checked_sub(OVERFULL_MAX);
        assert_eq!(queue.push([Bytes::from_static(b"2")]), Pushed::Overflowed);
        assert_eq!(queue.push([Bytes::from_static(b"x")]), Pushed::Closed);
        let Poll::Ready(Some(close)) = next(&mut body) else { panic!("no close frame") };
        assert_eq!(&close[2..4], 4508_u16.to_be_bytes());
        assert_eq!(next(&mut body), Poll::Ready(None));
    }

    #[test]
    fn a_burst_that_is_read_is_no_jam_and_far_too_much_is_one_at_once() {
        let (queue, mut body) = OutQueue::new(10, Arc::default());
        assert_eq!(queue.push([Bytes::from_static(&[b'x'; 100])]), Pushed::Queued);
        assert!(matches!(next(&mut body), Poll::Ready(Some(_))));
        assert!(queue.shared.lock().overfull.is_none());
        assert_eq!(queue.push([Bytes::from_static(&[b'x'; 161])]), Pushed::Overflowed);
    }

    #[test]
    fn a_closing_queue_sends_what_it_has_and_waits_for_the_peer() {
        let (queue, mut body) = OutQueue::new(100, Arc::default());
        queue.push([Bytes::from_static(b"last")]);
        queue.close(Some((1000, "")));
        assert_eq!(next(&mut body), Poll::Ready(Some(Bytes::from_static(b"last"))));
        assert_eq!(next(&mut body), Poll::Ready(Some(Bytes::from_static(b"\x88\x02\x03\xe8"))));
        assert_eq!(next(&mut body), Poll::Pending);
        queue.end();
        assert_eq!(next(&mut body), Poll::Ready(None));
    }

    #[test]
    fn a_vanished_connection_takes_nothing() {
        let (queue, body) = OutQueue::new(100, Arc::default());
        drop(body);
        assert_eq!(queue.push([Bytes::from_static(b"x")]), Pushed::Closed);
    }
}
