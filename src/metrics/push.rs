//! What the notifier counts.

use super::Count;

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
}
