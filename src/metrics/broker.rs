//! What the broker counts.

use super::Count;

/// Messages between instances, counted since the start.
#[derive(Debug, Default)]
pub struct BrokerMetrics {
    /// Published and accepted by Redis.
    pub messages_sent: Count,
    /// Dropped instead of published: the queue was full, Redis was away or did not answer in time.
    pub messages_dropped: Count,
    /// Received from another instance and handed to the event handler.
    pub messages_received: Count,
    /// Refused: not signed with our key, or addressed to another chatter than the channel's.
    pub messages_forged: Count,
    /// Refused: sealed more than 30 s ago or in the future.
    pub messages_stale: Count,
    /// Refused: of a format that this version does not know.
    pub messages_unknown_format: Count,
    /// Refused: not a message of ours, over 1 MiB, or signed and yet not readable.
    pub messages_garbled: Count,
    /// Refused: about the rows of another epoch of the database.
    pub messages_of_other_epochs: Count,
    /// Connections to Redis that replaced a lost one.
    pub reconnects: Count,
}
