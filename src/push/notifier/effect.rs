//! What passes between the notifier's state and the actor that acts for it.

use std::time::Duration;

use tokio::time::Instant;

use crate::push::Push;
use crate::store::outbox::{DeviceToken, Key, Lease, Settlement};

/// What the actor is to do.
#[derive(Debug)]
pub(super) enum Effect {
    /// Claim rows; answered by `claimed`, `unread` or `not_claimed`.
    Claim { hurried: Vec<Key>, due_max: usize },
    /// Send to each token; answered by `sent`.
    Send(Job),
    /// Write down what came of rows; answered by `settled`.
    Settle(Vec<Settlement>),
    /// Nothing is in hand any more and nothing will be.
    Drained,
}

/// One push to the devices of one receiver.
#[derive(Clone, Debug)]
pub(super) struct Job {
    pub(super) lease: Lease,
    pub(super) push: Push,
    pub(super) tokens: Vec<DeviceToken>,
    /// No send may begin after this, lest the lease end while it runs.
    pub(super) until: Instant,
}

/// What came of a job.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) job: Job,
    pub(super) accepted: Vec<DeviceToken>,
    pub(super) gone: Vec<DeviceToken>,
    /// Why the message will never be taken, per token.
    pub(super) refused: Vec<String>,
    /// The last of the failures that may pass.
    pub(super) retry: Option<Retry>,
    /// Time ran out before all tokens had their turn.
    pub(super) unfinished: bool,
}

/// A failure that may pass.
#[derive(Clone, Debug)]
pub(super) struct Retry {
    pub(super) after: Option<Duration>,
    pub(super) pause_all: bool,
    pub(super) reason: String,
}
