//! What passes between the notifier's state and the actor that acts for it.

use std::time::Duration;

use tokio::time::Instant;

use crate::push::{Push, Scope};
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
    /// Other devices of the receiver have to wait, the first of them for this long.
    pub(super) rest: Option<Duration>,
    /// No send may begin after this, so that none outlasts the lease.
    pub(super) until: Instant,
}

/// The result of a job.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) job: Job,
    pub(super) accepted: Vec<DeviceToken>,
    pub(super) gone: Vec<DeviceToken>,
    /// Devices whose quota is used up, or perhaps that of the project.
    pub(super) limited: Vec<LimitedDevice>,
    /// FCM's reasons for refusing the message for good, one for each refused token.
    pub(super) refused: Vec<String>,
    /// One of them because the token is of another Firebase project.
    pub(super) other_sender: bool,
    pub(super) after: AfterSend,
}

/// A device that FCM takes no push for at the moment.
#[derive(Clone, Debug)]
pub(super) struct LimitedDevice {
    pub(super) device: DeviceToken,
    pub(super) wait: Duration,
    /// FCM named the device: it is not the project's quota.
    pub(super) is_certain: bool,
    pub(super) reason: String,
}

/// How a pending push goes on after its sends.
#[derive(Clone, Debug)]
pub(super) enum AfterSend {
    /// Every token had its turn: the push is complete, but for devices that wait.
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
    /// Which other sends would fail too.
    pub(super) scope: Scope,
    pub(super) reason: String,
}
