//! Proofs of receipt by ping: a client confirms numbered frames without knowing it, since it answers the ping behind
//! them.
//!
//! A pong to an outstanding ping proves that the client's WebSocket stack read all frames that were sent before the
//! ping (RFC 6455 section 5.5.3). At most one ping is in flight; the next one asks for the newest frame at that time.

use std::time::{Duration, Instant};

use crate::domain::Seq;

/// Pings for a proof are at least this far apart, since each one costs both sides.
pub const PING_PAUSE: Duration = Duration::from_secs(1);

/// The payload of a ping; it cannot be guessed, so a pong cannot come before its ping.
pub type Nonce = [u8; 8];

/// Which frames one socket was sent, and up to which its peer has proven receipt.
#[derive(Default)]
pub struct PingProof {
    /// The number of the first frame on this socket.
    first: Option<Seq>,
    newest: Seq,
    proven: Seq,
    outstanding: Option<(Nonce, Seq)>,
    pinged: Option<Instant>,
    /// [`Next::Later`] was answered, and the pause is not over.
    pausing: bool,
}

/// The frames whose receipt is proven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proven {
    /// The first frame that the socket was sent.
    pub first: Seq,
    /// The newest frame that was sent before the ping.
    pub newest: Seq,
}

/// How to get the next proof.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// A ping with this payload has to be sent now.
    Ping(Nonce),
    /// Ask again after [`PING_PAUSE`] and [`PingProof::pause_over`]. This answer is given once per pause.
    Later,
    /// All frames are proven, or a ping is in flight, or the pause is running.
    Nothing,
}

impl PingProof {
    /// Frames were sent, numbered from `first` to `newest`.
    pub fn sent(&mut self, first: Seq, newest: Seq) {
        self.first.get_or_insert(first);
        self.newest = self.newest.max(newest);
    }

    /// Says how to get the next proof, after frames were sent or a pong came.
    pub fn ask(&mut self) -> Next {
        if !self.is_proof_missing() || self.pausing {
            return Next::Nothing;
        }
        if self.pinged.is_none_or(|at| at.elapsed() >= PING_PAUSE) {
            return Next::Ping(self.ping());
        }
        self.pausing = true;
        Next::Later
    }

    /// The pause is over.
    pub fn pause_over(&mut self) {
        self.pausing = false;
    }

    /// The payload of a heartbeat ping, unless a ping is in flight already.
    pub fn heartbeat_ping(&mut self) -> Option<Nonce> {
        self.pausing = false;
        self.outstanding.is_none().then(|| self.ping())
    }

    /// Whether a frame is unproven and no ping is in flight.
    fn is_proof_missing(&self) -> bool {
        self.newest > self.proven && self.outstanding.is_none()
    }

    /// The frames whose receipt this pong proves; none for a pong to no outstanding ping, or to one that proves no
    /// more.
    pub fn pong(&mut self, payload: &[u8]) -> Option<Proven> {
        let (nonce, newest) = self.outstanding?;
        if nonce != payload {
            return None;
        }
        self.outstanding = None;
        let is_progress = newest > self.proven;
        self.proven = newest.max(self.proven);
        self.first.filter(|_| is_progress).map(|first| Proven { first, newest })
    }

    fn ping(&mut self) -> Nonce {
        let nonce = rand::random();
        self.outstanding = Some((nonce, self.newest));
        self.pinged = Some(Instant::now());
        nonce
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pong_proves_the_frames_before_its_ping() {
        let mut proof = PingProof::default();
        proof.sent(Seq::new(5), Seq::new(6));
        let Next::Ping(nonce) = proof.ask() else { panic!("no ping") };
        proof.sent(Seq::new(7), Seq::new(9));
        assert_eq!(proof.ask(), Next::Nothing, "one ping at most is in flight");
        assert_eq!(proof.pong(b"guessed!"), None);
        assert_eq!(proof.pong(&nonce), Some(Proven { first: Seq::new(5), newest: Seq::new(6) }));
        assert_eq!(proof.pong(&nonce), None, "a pong counts once");
        assert_eq!(proof.ask(), Next::Later, "there is a pause between pings");
        assert_eq!(proof.ask(), Next::Nothing, "the answer is given once");
        let nonce = proof.heartbeat_ping().unwrap();
        assert_eq!(proof.pong(&nonce), Some(Proven { first: Seq::new(5), newest: Seq::new(9) }));
    }

    #[test]
    fn a_heartbeat_without_new_frames_proves_nothing() {
        let mut proof = PingProof::default();
        let nonce = proof.heartbeat_ping().unwrap();
        assert_eq!(proof.pong(&nonce), None);
    }
}
