//! What passes between the notifier's state and the actor that acts for it.

use std::time::Duration;

use tokio::time::Instant;

use crate::push::Push;
use crate::store::outbox::{DeviceToken, Key, Lease, Settlement};

/// What the actor is to do.
#[derive(Debug)]
pub(super) enum Effect {
    /// Claim rows: the hinted ones, and up to `due_max` that are due. Answered by `claimed`, `unread` or `not_claimed`.
    Claim { hinted: Vec<Key>, due_max: usize },
    /// Send to each token; answered by `sent`.
    Send(Job),
    /// Write the results of rows; answered by `written`.
    Write(Vec<Settlement>),
    /// No row is in hand any more, and none will be.
    Drained,
}

/// One push to the devices of one receiver.
#[derive(Clone, Debug)]
pub(super) struct Job {
    pub(super) lease: Lease,
    pub(super) push: Push,
    pub(super) tokens: Vec<DeviceToken>,
    /// No send may begin after this, so that none outlasts the lease.
    pub(super) until: Instant,
}

/// The result of a job.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) job: Job,
    pub(super) accepted: Vec<DeviceToken>,
    pub(super) gone: Vec<DeviceToken>,
    /// FCM's reasons for refusing the message for good, one for each refused token.
    pub(super) refused: Vec<String>,
    pub(super) after: AfterSend,
}

/// How a pending push goes on after its sends.
#[derive(Clone, Debug)]
pub(super) enum AfterSend {
    /// Every token had its turn: the push is complete.
    Complete,
    /// A send failed and may succeed later; the last such failure.
    Retry(Retry),
    /// Time ran out before every token had its turn: the rest is due at once.
    Unfinished,
}

/// A failure that may pass.
#[derive(Clone, Debug)]
pub(super) struct Retry {
    /// The wait that FCM asked for.
    pub(super) after: Option<Duration>,
    /// Sends to other tokens would fail too.
    pub(super) pause_all: bool,
    pub(super) reason: String,
}
