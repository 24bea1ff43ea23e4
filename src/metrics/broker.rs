//! What is counted.

use std::sync::atomic::{AtomicU64, Ordering};

/// What came of everything that was told and heard since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Told, and taken by Redis.
    pub sent: u64,
    /// Told and given up: the queue was full, Redis was away, or it did not answer in time.
    pub dropped: u64,
    /// Passed on to who hears.
    pub heard: u64,
    /// Not signed with our key, or for somebody else than the channel's chatter.
    pub forged: u64,
    /// Of a format that this version does not know.
    pub unknown_format: u64,
    /// No message of ours at all, over 1 MiB, or signed and yet not readable.
    pub garbled: u64,
    /// How often a connection was made again.
    pub reconnects: u64,
}

#[derive(Default)]
pub struct Tally {
    pub sent: Count,
    pub dropped: Count,
    pub heard: Count,
    pub forged: Count,
    pub unknown_format: Count,
    pub garbled: Count,
    pub reconnects: Count,
}

#[derive(Default)]
pub struct Count(AtomicU64);

impl Count {
    pub fn add(&self, more: usize) {
        self.0.fetch_add(more as u64, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Tally {
    pub fn read(&self) -> Counters {
        Counters {
            sent: self.sent.get(),
            dropped: self.dropped.get(),
            heard: self.heard.get(),
            forged: self.forged.get(),
            unknown_format: self.unknown_format.get(),
            garbled: self.garbled.get(),
            reconnects: self.reconnects.get(),
        }
    }
}
