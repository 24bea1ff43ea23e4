//! The push section of the configuration.

use std::time::Duration;

/// See the module.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How often the outbox is polled for due rows.
    pub poll: Duration,
    /// How long a claim holds; longer than two sends that time out.
    pub lease: Duration,
    /// The most rows that are claimed at a time.
    pub rows_max: usize,
    /// The most sends at once.
    pub sends_max: usize,
    /// How long a chat waits for a confirmation while its receiver has a live socket.
    pub grace: Duration,
    /// A chat that is older is not pushed any more.
    pub expiry: Duration,
    /// The least time between two pushes of a room, and of a sender, to a receiver.
    pub push_gap: Duration,
    /// The average time between two pushes to a receiver, after a burst.
    pub receiver_gap: Duration,
    /// Pushes that a receiver may get at once.
    pub receiver_burst: u32,
    /// The wait after a first failure.
    pub backoff_min: Duration,
    /// The longest wait after failures.
    pub backoff_max: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            poll: Duration::from_secs(1),
            lease: Duration::from_secs(60),
            rows_max: 64,
            sends_max: 16,
            grace: Duration::from_secs(3),
            expiry: Duration::from_secs(24 * 3_600),
            push_gap: Duration::from_secs(5),
            receiver_gap: Duration::from_secs(3),
            receiver_burst: 20,
            backoff_min: Duration::from_secs(1),
            backoff_max: Duration::from_secs(300),
        }
    }
}
