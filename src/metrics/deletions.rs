//! What the deletions in the background count.

use super::{Count, Gauge};

/// Deletions whose rows are deleted in pieces.
#[derive(Debug, Default)]
pub struct DeletionMetrics {
    /// Deletions that still have rows, in the whole database, as this instance found at its last poll; counted up to a
    /// bound.
    pub pending: Gauge,
    /// How long the oldest of them has been waiting, in seconds.
    pub oldest_s: Gauge,
    /// Pieces that this instance has deleted.
    pub pieces: Count,
    /// Chats that were deleted in them.
    pub chats: Count,
}
