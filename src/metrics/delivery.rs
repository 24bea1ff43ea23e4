//! What an instance's rooms and sockets count.

use crate::metrics::{Count, Counts};
use crate::problem::Code;
use crate::websocket::framing::Close;

/// Refusals by code, in the order of [`Code::ALL`].
pub type Refused = Counts<{ Code::ALL.len() }>;

/// Counted since the start, by all rooms and sockets together.
#[derive(Debug, Default)]
pub struct Tally {
    /// Changes that were put into out-queues as they happened.
    pub delivered: Count,
    /// Changes that the other instances were told of.
    pub told: Count,
    /// Changes that other instances told of.
    pub heard: Count,
    /// Reads of rooms that lacked changes.
    pub room_reads: Count,
    /// Reads of rooms for sockets that lacked changes.
    pub socket_reads: Count,
    /// Rooms of sockets that the look at what changed elsewhere found to lack changes.
    pub found: Count,
    /// Frames that were refused.
    pub refused: Refused,
    /// Sockets that were closed from here, in the order of [`Close::ALL`].
    closed: Counts<{ Close::ALL.len() }>,
}

impl Tally {
    /// A socket is being closed so.
    pub fn closed(&self, close: Close) {
        if let Some(at) = Close::ALL.iter().position(|other| *other == close) {
            self.closed.add(at);
        }
    }

    /// How often sockets were closed with each code.
    pub fn closes(&self) -> impl Iterator<Item = (Close, u64)> {
        Close::ALL.iter().copied().zip(self.closed.iter())
    }
}
