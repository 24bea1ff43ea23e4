//! The frames that wait to be written to one socket: bounded in bytes, filled from any thread, emptied by the HTTP
//! connection.
//!
//! The response body of the upgraded connection reads this queue, and no actor waits for it: a peer that stops reading
//! fills its queue and is closed, and blocks no other part. A burst is not slowness: the queue may hold more than its
//! limit for a short time, if the peer then reads it. The limit is about memory, so each frame counts with what the queue
//! and the allocator need for it besides its bytes; a frame that sockets share counts in full on each of them.

mod body;
mod shared;

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use parking_lot::Mutex;

pub use body::OutBody;
use shared::{Shared, State};

use super::framing::{Close, close_frame, ping_frame, pong_frame};
use super::ping_proof::{PingProof, Proven};
use crate::domain::Seq;

/// The memory of a frame besides its bytes: its place in a queue that grows by doubling, the count of its owners, and
/// what the allocator adds.
pub const FRAME_OVERHEAD: usize = 128;

/// The result of adding frames to a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushed {
    /// The frames wait to be written.
    Queued,
    /// The queue was too full: its frames are dropped and the socket is closed with 4508.
    Overflowed,
    /// The socket is closing, so the frames are dropped.
    Closed,
}

/// Whether the ping for a proof has to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProofPing {
    /// It is queued, in flight, or not needed.
    Handled,
    /// It is due after [`PING_PAUSE`](super::ping_proof::PING_PAUSE), by [`OutQueue::ask_for_proof_after_pause`].
    AfterPause,
}

/// The result of adding frames whose receipt the peer shall prove.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PushedForProof {
    /// Whether the frames are queued.
    pub pushed: Pushed,
    /// Whether the caller has to start the pause before the ping.
    pub ping: ProofPing,
}

/// The producing side; cheap to clone.
#[derive(Clone)]
pub struct OutQueue {
    shared: Arc<Mutex<Shared>>,
    bytes_max: usize,
}

impl OutQueue {
    /// A queue with this limit in bytes, and the body that empties it.
    #[must_use]
    pub fn new(bytes_max: usize) -> (Self, OutBody) {
        let shared = Shared {
            chunks: VecDeque::new(),
            pong: None,
            bytes: 0,
            overfull: None,
            state: State::Open,
            reader: None,
            producer: None,
            proof: PingProof::default(),
        };
        let shared = Arc::new(Mutex::new(shared));
        (Self { shared: shared.clone(), bytes_max }, OutBody { shared, bytes_max })
    }

    /// Adds frames, in order, with one wake-up.
    pub fn push(&self, frames: impl IntoIterator<Item = Bytes>) -> Pushed {
        let mut shared = self.shared.lock();
        let pushed = shared.push(frames, self.bytes_max);
        wake(shared);
        pushed
    }

    /// Adds a frame that may be dropped, unless the queue is filling up.
    pub fn push_if_roomy(&self, frame: Bytes) -> Pushed {
        let mut shared = self.shared.lock();
        if !shared.is_roomy(self.bytes_max) {
            return Pushed::Queued;
        }
        let pushed = shared.push([frame], self.bytes_max);
        wake(shared);
        pushed
    }

    /// Waits until the peer has read most of the queue, so that catching up never fills it. False when the socket is
    /// closing.
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

    /// Adds frames whose receipt the peer shall prove, numbered from `first` to `newest`, and a ping behind them.
    pub fn push_for_proof(&self, frames: impl IntoIterator<Item = Bytes>, first: Seq, newest: Seq) -> PushedForProof {
        let mut shared = self.shared.lock();
        let mut result = PushedForProof { pushed: shared.push(frames, self.bytes_max), ping: ProofPing::Handled };
        if result.pushed == Pushed::Queued {
            shared.proof.sent(first, newest);
            result = shared.ask_for_proof(self.bytes_max);
        }
        wake(shared);
        result
    }

    /// Pings for the next proof, if one is missing.
    #[must_use]
    pub fn ask_for_proof(&self) -> ProofPing {
        let mut shared = self.shared.lock();
        let result = shared.ask_for_proof(self.bytes_max);
        wake(shared);
        result.ping
    }

    /// The same, at the end of the pause.
    #[must_use]
    pub fn ask_for_proof_after_pause(&self) -> ProofPing {
        self.shared.lock().proof.pause_over();
        self.ask_for_proof()
    }

    /// Adds a ping, unless one is in flight already.
    pub fn heartbeat(&self) -> Pushed {
        let mut shared = self.shared.lock();
        let Some(nonce) = shared.proof.heartbeat_ping() else { return Pushed::Queued };
        let pushed = shared.push([ping_frame(&nonce)], self.bytes_max);
        wake(shared);
        pushed
    }

    /// Answers the peer's ping, behind the frames that wait already. A pong that was not written yet is replaced, so that
    /// a peer that does not read has one at most.
    pub fn push_pong(&self, payload: &[u8]) {
        let mut shared = self.shared.lock();
        if shared.state != State::Open {
            return;
        }
        if shared.pong.replace(pong_frame(payload)).is_none() {
            shared.append(Bytes::new());
        }
        wake(shared);
    }

    /// Takes a pong: gives the range of frames whose receipt it proves.
    #[must_use]
    pub fn pong(&self, payload: &[u8]) -> Option<Proven> {
        self.shared.lock().proof.pong(payload)
    }

    /// Queues the close frame as the last one. False if the socket was closing already.
    pub fn close_for(&self, close: Close) -> bool {
        self.close(Some((close.code, close.reason)))
    }

    /// The same with any code and reason; none where the peer gave none.
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

    /// Whether the close frame is queued, or the connection has ended.
    #[must_use]
    pub fn is_closing(&self) -> bool {
        self.shared.lock().state != State::Open
    }
}

/// Releases the lock and then wakes the connection, which would otherwise wait for the lock.
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
    use std::task::{Context, Waker};
    use std::time::Instant;

    use futures_util::Stream;

    use super::shared::{OVERFULL_MAX, OVERFULL_TIMES};
    use super::*;

    fn next(body: &mut OutBody) -> Poll<Option<Bytes>> {
        let mut cx = Context::from_waker(Waker::noop());
        Pin::new(body).poll_next(&mut cx).map(|chunk| chunk.and_then(Result::ok))
    }

    #[test]
    fn a_queue_that_stays_full_is_dropped_and_ends_with_the_close_code() {
        let (queue, mut body) = OutQueue::new(2 * FRAME_OVERHEAD + 10);
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
    fn a_burst_may_exceed_the_limit_but_not_by_far() {
        let (queue, mut body) = OutQueue::new(20);
        assert_eq!(queue.push([Bytes::from_static(&[b'x'; 100])]), Pushed::Queued);
        assert!(matches!(next(&mut body), Poll::Ready(Some(_))));
        assert!(queue.shared.lock().overfull.is_none());
        assert_eq!(queue.push([Bytes::from_static(&[b'x'; 320 - FRAME_OVERHEAD])]), Pushed::Queued);
        assert_eq!(queue.push([Bytes::from_static(b"x")]), Pushed::Overflowed);
    }

    #[test]
    fn a_closing_queue_sends_its_frames_and_waits_for_the_peer() {
        let (queue, mut body) = OutQueue::new(100);
        queue.push([Bytes::from_static(b"last")]);
        queue.close(Some((1000, "")));
        assert_eq!(next(&mut body), Poll::Ready(Some(Bytes::from_static(b"last"))));
        assert_eq!(next(&mut body), Poll::Ready(Some(Bytes::from_static(b"\x88\x02\x03\xe8"))));
        assert_eq!(next(&mut body), Poll::Pending);
        queue.end();
        assert_eq!(next(&mut body), Poll::Ready(None));
    }

    #[test]
    fn a_queue_without_a_connection_takes_no_frames() {
        let (queue, body) = OutQueue::new(100);
        drop(body);
        assert_eq!(queue.push([Bytes::from_static(b"x")]), Pushed::Closed);
    }
    #[test]
    fn a4_many_small_frames_count_with_their_memory() {
        let (queue, _body) = OutQueue::new(1 << 18);
        let mut queued = 0;
        while queue.push([Bytes::from_static(b"xx")]) == Pushed::Queued {
            queued += 1;
        }
        assert_eq!(queued, OVERFULL_TIMES * (1 << 18) / (FRAME_OVERHEAD + 2));
    }

    #[test]
    fn a4_a_peer_that_does_not_read_has_one_pong_at_the_place_of_the_first() {
        let (queue, mut body) = OutQueue::new(1 << 10);
        queue.push([Bytes::from_static(b"before")]);
        for n in 0..100_000_u32 {
            queue.push_pong(&n.to_be_bytes());
        }
        queue.push([Bytes::from_static(b"behind")]);
        assert!(queue.shared.lock().bytes <= 3 * (FRAME_OVERHEAD + 6));
        assert_eq!(next(&mut body), Poll::Ready(Some(Bytes::from_static(b"before"))));
        assert_eq!(next(&mut body), Poll::Ready(Some(pong_frame(&99_999_u32.to_be_bytes()))));
        assert_eq!(next(&mut body), Poll::Ready(Some(Bytes::from_static(b"behind"))));
        queue.push_pong(b"again");
        assert_eq!(next(&mut body), Poll::Ready(Some(pong_frame(b"again"))));
        assert_eq!(next(&mut body), Poll::Pending);
    }
}
