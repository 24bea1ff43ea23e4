//! How a seed socket confirms without knowing it: a ping behind the chats, and the pong that answers it.
//!
//! A pong to an outstanding ping proves that the client's WebSocket stack read all that was sent before it (RFC 6455
//! section 5.5.3). One ping at most is in flight; the next asks for the newest chat then.

use std::time::{Duration, Instant};

use crate::domain::Seq;

/// Pings for a proof are at least this far apart: the push's grace is long, and each ping costs both sides.
pub const PING_PAUSE: Duration = Duration::from_secs(1);

/// The payload of a ping: not to be guessed, so that a pong cannot come before its ping.
pub type Nonce = [u8; 8];

/// What one socket was sent and has proven.
#[derive(Default)]
pub struct PingProof {
    /// The first chat that was sent on this socket; 0 before any.
    first: Seq,
    newest: Seq,
    proven: Seq,
    outstanding: Option<(Nonce, Seq)>,
    pinged: Option<Instant>,
    /// Somebody will ask again when the pause is over.
    pausing: bool,
}

/// What to do for the next proof.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    Ping(Nonce),
    /// Ask again after [`PING_PAUSE`], with [`PingProof::pause_over`]; said once.
    Later,
    Nothing,
}

impl PingProof {
    /// Chats of the other one were sent, from `first` to `newest`.
    pub fn sent(&mut self, first: Seq, newest: Seq) {
        if self.first == Seq::ZERO {
            self.first = first;
        }
        self.newest = self.newest.max(newest);
    }

    /// What to do now that chats were sent or a pong came.
    pub fn ask(&mut self) -> Next {
        if !self.wanted() || self.pausing {
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

    /// A ping, unless one is in flight already.
    pub fn heartbeat_ping(&mut self) -> Option<Nonce> {
        self.pausing = false;
        self.outstanding.is_none().then(|| self.ping())
    }

    /// Whether something is unproven and no ping is in flight.
    fn wanted(&self) -> bool {
        self.newest > self.proven && self.outstanding.is_none()
    }

    /// The chats, from and to, that this pong proves; none for a pong that nobody asked for.
    pub fn pong(&mut self, payload: &[u8]) -> Option<(Seq, Seq)> {
        let (nonce, seq) = self.outstanding?;
        if nonce != payload {
            return None;
        }
        self.outstanding = None;
        let news = seq > self.proven;
        self.proven = seq.max(self.proven);
        news.then_some((self.first, seq))
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
    fn a_pong_proves_what_was_sent_before_its_ping() {
        let mut proof = PingProof::default();
        proof.sent(Seq::new(5), Seq::new(6));
        let Next::Ping(nonce) = proof.ask() else { panic!("no ping") };
        proof.sent(Seq::new(7), Seq::new(9));
        assert_eq!(proof.ask(), Next::Nothing, "one ping at most is in flight");
        assert_eq!(proof.pong(b"guessed!"), None);
        assert_eq!(proof.pong(&nonce), Some((Seq::new(5), Seq::new(6))));
        assert_eq!(proof.pong(&nonce), None, "a pong counts once");
        assert_eq!(proof.ask(), Next::Later, "and pings have a pause between them");
        assert_eq!(proof.ask(), Next::Nothing, "which is said once");
        let nonce = proof.heartbeat_ping().unwrap();
        assert_eq!(proof.pong(&nonce), Some((Seq::new(5), Seq::new(9))));
    }

    #[test]
    fn a_heartbeat_with_nothing_new_proves_nothing() {
        let mut proof = PingProof::default();
        let nonce = proof.heartbeat_ping().unwrap();
        assert_eq!(proof.pong(&nonce), None);
    }
}
