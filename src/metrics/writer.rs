//! What the writer counts.

use std::time::Duration;

use crate::metrics::{Count, Histogram, Level};
use crate::store::writer::task::Attempt;
use crate::store::writer::{Refusal, Stored};

/// Up to the most commands of a batch.
const COMMANDS: [f64; 10] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 400.0];
const SECONDS: [f64; 12] = [0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.0, 2.5];

/// Counted since the start.
#[derive(Debug)]
pub struct Tally {
    pub stored: Count,
    pub edited: Count,
    pub deleted: Count,
    /// Chats whose `client_id` was known.
    pub again: Count,
    /// Commands that the database did not answer.
    pub unanswered: Count,
    /// Commands in one transaction.
    pub commands: Histogram,
    /// How long it took.
    pub seconds: Histogram,
    /// Commands that wait for rooms which something else has locked.
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

impl Tally {
    /// What became of a batch.
    pub(crate) fn batch(&self, verdicts: &[Attempt], took: Duration) {
        let count = |which: fn(&Attempt) -> bool| verdicts.iter().filter(|verdict| which(verdict)).count();
        self.stored.add(count(|v| matches!(v, Attempt::Done(Ok(Stored::New { .. })))));
        self.edited.add(count(|v| matches!(v, Attempt::Done(Ok(Stored::Edited(_))))));
        self.deleted.add(count(|v| matches!(v, Attempt::Done(Ok(Stored::Deleted(_))))));
        self.again.add(count(|v| matches!(v, Attempt::Done(Ok(Stored::Again(_))))));
        self.unanswered.add(count(|v| matches!(v, Attempt::Done(Err(Refusal::Unavailable)))));
        self.commands.observe(verdicts.len() as f64);
        self.seconds.observe(took.as_secs_f64());
    }
}
