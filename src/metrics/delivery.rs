//! What rooms and sockets count.

use super::{Count, Counts};

/// Counted since the start, by all rooms and sockets of the instance together.
#[derive(Debug, Default)]
pub struct DeliveryMetrics {
    /// Changes that were put into the queues of sockets as they happened, once for each socket.
    pub changes_delivered: Count,
    /// Changes that were published to the other instances.
    pub changes_published: Count,
    /// Changes that were received from other instances.
    pub changes_received: Count,
    /// Reads of the database because a room lacked changes.
    pub room_gap_reads: Count,
    /// Reads of the database because a socket lacked changes.
    pub socket_gap_reads: Count,
    /// Rooms of sockets whose missing changes were found only by polling the database.
    pub gaps_found: Count,
    /// Refused frames, by the place of the refusal's code.
    pub refusals: Counts,
    /// Sockets that this instance closed, by the place of the close code.
    pub closes: Counts,
}

impl DeliveryMetrics {
    /// Nothing counted yet, with a place for each refusal code and each close code.
    #[must_use]
    pub fn new(refusal_codes: usize, close_codes: usize) -> Self {
        Self { refusals: Counts::new(refusal_codes), closes: Counts::new(close_codes), ..Self::default() }
    }
}
