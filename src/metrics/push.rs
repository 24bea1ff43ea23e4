//! What the notifier counts.

use parking_lot::Mutex;

use super::{Count, Gauge};

/// Pushes of this instance, counted since the start. Outlives a restart of the notifier.
#[derive(Debug, Default)]
pub struct PushMetrics {
    /// Sends that FCM accepted.
    pub sends_accepted: Count,
    /// Sends to tokens that FCM no longer knows.
    pub sends_to_gone_tokens: Count,
    /// Sends that FCM will never accept.
    pub sends_refused: Count,
    /// Sends that are tried again.
    pub sends_retried: Count,
    /// Pending pushes that were too old to be sent.
    pub pushes_expired: Count,
    /// Pending pushes whose chats were confirmed or deleted before they were sent.
    pub pushes_satisfied: Count,
    /// Pending pushes whose receiver has no device.
    pub pushes_without_token: Count,
    /// Push hints that met a full mailbox or queue.
    pub hints_dropped: Count,
    /// Pushes that are pending in the whole database, as this instance measured last; counted up to a bound.
    pub pending: Gauge,
    /// How long the oldest of them has been pending, in seconds.
    pub oldest_s: Gauge,
    /// Why this instance can send no push at the moment.
    pub trouble: PushTrouble,
}

/// Why no push can be sent; none while pushes can be sent, or are logged because FCM is not configured.
#[derive(Debug, Default)]
pub struct PushTrouble(Mutex<Option<String>>);

impl PushTrouble {
    /// Pushes cannot be sent for this reason, which anybody may read. Returns whether they could until now.
    pub fn set(&self, reason: String) -> bool {
        self.0.lock().replace(reason).is_none()
    }

    /// A push was sent. Returns whether none could be until now.
    pub fn clear(&self) -> bool {
        self.0.lock().take().is_some()
    }

    /// The reason.
    #[must_use]
    pub fn reason(&self) -> Option<String> {
        self.0.lock().clone()
    }
}
