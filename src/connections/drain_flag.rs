//! How far the drain of this instance has come: the one flag that every part reads.

use std::sync::atomic::{AtomicU8, Ordering};

const SERVING: u8 = 0;
const NO_NEW_SOCKETS: u8 = 1;
const NO_NEW_CHATS: u8 = 2;

/// Set in two steps after SIGTERM, and never taken back.
#[derive(Debug, Default)]
pub struct DrainFlag(AtomicU8);

impl DrainFlag {
    /// First step: the instance is not ready any more and takes no new sockets. It still takes chats.
    pub fn refuse_sockets(&self) {
        self.0.fetch_max(NO_NEW_SOCKETS, Ordering::Relaxed);
    }

    /// Second step: the instance takes no chats any more.
    pub fn refuse_chats(&self) {
        self.0.fetch_max(NO_NEW_CHATS, Ordering::Relaxed);
    }

    /// Whether new sockets are taken.
    #[must_use]
    pub fn takes_sockets(&self) -> bool {
        self.0.load(Ordering::Relaxed) == SERVING
    }

    /// Whether chats are taken.
    #[must_use]
    pub fn takes_chats(&self) -> bool {
        self.0.load(Ordering::Relaxed) < NO_NEW_CHATS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_are_refused_before_chats() {
        let flag = DrainFlag::default();
        assert!(flag.takes_sockets() && flag.takes_chats());
        flag.refuse_sockets();
        assert!(!flag.takes_sockets() && flag.takes_chats());
        flag.refuse_chats();
        flag.refuse_sockets();
        assert!(!flag.takes_sockets() && !flag.takes_chats());
    }
}
