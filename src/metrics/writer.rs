//! The writer's counters.

use crate::metrics::{Count, Histogram, Level};

/// Buckets up to the most commands of one transaction.
const COMMANDS: [f64; 10] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 400.0];
const SECONDS: [f64; 12] = [0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.0, 2.5];

/// Counts since the start.
#[derive(Debug)]
pub struct Tally {
    pub stored: Count,
    pub edited: Count,
    pub deleted: Count,
    /// Chats that were sent again under a `client_id` that was stored already.
    pub again: Count,
    /// Commands that the database did not answer.
    pub unanswered: Count,
    /// Commands in one transaction.
    pub commands: Histogram,
    /// How long a transaction took.
    pub seconds: Histogram,
    /// Commands that wait for rooms which another transaction has locked.
    pub parked: Level,
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            stored: Count::default(),
            edited: Count::default(),
            deleted: Count::default(),
            again: Count::default(),
            unanswered: Count::default(),
            commands: Histogram::new(&COMMANDS),
            seconds: Histogram::new(&SECONDS),
            parked: Level::default(),
        }
    }
}
