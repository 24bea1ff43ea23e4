//! What the producers and the body of a queue share, under one lock.

use std::collections::VecDeque;
use std::task::Waker;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::{FRAME_OVERHEAD, ProofPing, Pushed, PushedForProof};
use crate::websocket::framing::{Close, close_frame, ping_frame};
use crate::websocket::ping_proof::{Next, PingProof};

/// A queue is roomy up to this fraction of its limit.
const ROOMY_PART: usize = 4;
/// A queue may be above its limit for so long.
pub(super) const OVERFULL_MAX: Duration = Duration::from_secs(2);
/// A queue may hold at most so many times its limit.
pub(super) const OVERFULL_TIMES: usize = 16;

pub(super) struct Shared {
    /// The frames in order; an empty one is the place of the pong.
    pub(super) chunks: VecDeque<Bytes>,
    /// The answer to the peer's newest ping, which need not have an answer of its own to each (RFC 6455 section 5.5.3).
    pub(super) pong: Option<Bytes>,
    /// The memory of all frames, see [`FRAME_OVERHEAD`].
    pub(super) bytes: usize,
    /// Since when the queue has been above its limit.
    pub(super) overfull: Option<Instant>,
    pub(super) state: State,
    /// The connection, while it waits for frames.
    pub(super) reader: Option<Waker>,
    /// A producer, while it waits for the peer to read.
    pub(super) producer: Option<Waker>,
    pub(super) proof: PingProof,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Open,
    /// The close frame is queued; the connection stays open for the peer's close frame.
    Closing,
    /// The connection ends when the queue is empty.
    Ended,
}

impl Shared {
    pub(super) fn push(&mut self, frames: impl IntoIterator<Item = Bytes>, bytes_max: usize) -> Pushed {
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

    pub(super) fn ask_for_proof(&mut self, bytes_max: usize) -> PushedForProof {
        match self.proof.ask() {
            Next::Ping(nonce) => {
                PushedForProof { pushed: self.push([ping_frame(&nonce)], bytes_max), ping: ProofPing::Handled }
            }
            Next::Later => PushedForProof { pushed: Pushed::Queued, ping: ProofPing::AfterPause },
            Next::Nothing => PushedForProof { pushed: Pushed::Queued, ping: ProofPing::Handled },
        }
    }

    /// Whether most of the queue is free.
    pub(super) fn is_roomy(&self, bytes_max: usize) -> bool {
        self.bytes <= bytes_max / ROOMY_PART
    }

    /// Whether a queue above its limit has been so for too long, or is far above it.
    pub(super) fn is_jammed(&mut self, bytes_max: usize) -> bool {
        let now = Instant::now();
        let since = *self.overfull.get_or_insert(now);
        self.bytes > bytes_max.saturating_mul(OVERFULL_TIMES) || now.duration_since(since) >= OVERFULL_MAX
    }

    pub(super) fn append(&mut self, frame: Bytes) {
        self.bytes += cost(&frame);
        self.chunks.push_back(frame);
    }

    /// The next frame to be written.
    pub(super) fn pop(&mut self) -> Option<Bytes> {
        let frame = self.chunks.pop_front()?;
        self.bytes -= cost(&frame);
        if frame.is_empty() { self.pong.take() } else { Some(frame) }
    }

    pub(super) fn clear(&mut self) {
        (self.chunks, self.pong, self.bytes) = (VecDeque::new(), None, 0);
    }

    /// Drops the frames, which a peer that does not read would not get anyway; it reconnects and resumes.
    pub(super) fn overflow(&mut self) {
        self.clear();
        self.append(close_frame(Some((Close::TOO_SLOW.code, Close::TOO_SLOW.reason))));
        self.state = State::Ended;
    }
}

/// The memory that a waiting frame takes.
fn cost(frame: &Bytes) -> usize {
    frame.len() + FRAME_OVERHEAD
}
