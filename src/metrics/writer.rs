//! What the writer counts.

use super::{Count, Gauge, Histogram};

/// Upper bounds for the commands of one transaction, up to the most that a batch takes.
const COMMANDS: [f64; 10] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 400.0];
/// Upper bounds for the duration of one transaction.
const SECONDS: [f64; 12] = [0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.0, 2.5];

/// Commands and transactions, counted since the start.
#[derive(Debug)]
pub struct WriterMetrics {
    /// New chats in the database.
    pub chats_stored: Count,
    /// Stored chats that were edited.
    pub chats_edited: Count,
    /// Stored chats that were deleted.
    pub chats_deleted: Count,
    /// Chats whose `client_id` was stored already.
    pub chats_retried: Count,
    /// Commands that the database did not answer.
    pub commands_unanswered: Count,
    /// Commands in one transaction.
    pub commit_commands: Histogram,
    /// The duration of one transaction.
    pub commit_seconds: Histogram,
    /// Commands that wait for rooms which another transaction has locked.
    pub commands_parked: Gauge,
}

impl Default for WriterMetrics {
    fn default() -> Self {
        Self {
            chats_stored: Count::default(),
            chats_edited: Count::default(),
            chats_deleted: Count::default(),
            chats_retried: Count::default(),
            commands_unanswered: Count::default(),
            commit_commands: Histogram::new(&COMMANDS),
            commit_seconds: Histogram::new(&SECONDS),
            commands_parked: Gauge::default(),
        }
    }
}
