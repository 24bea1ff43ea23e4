//! What became of the pushes of this instance, for the metrics; outlives a restart of the actor.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident, $count:ident;)*) => {
        /// Counted since the instance began.
        #[derive(Debug, Default)]
        pub struct Counters { $($name: AtomicU64,)* }

        impl Counters {
            $($(#[$doc])* #[must_use] pub fn $name(&self) -> u64 { self.$name.load(Ordering::Relaxed) })*
            $($(#[$doc])* pub fn $count(&self, more: usize) { self.$name.fetch_add(more as u64, Ordering::Relaxed); })*
        }
    };
}

counters! {
    /// Sends that FCM took.
    accepted, count_accepted;
    /// Tokens that FCM no longer knew.
    token_gone, count_token_gone;
    /// Sends that FCM will never take.
    refused, count_refused;
    /// Sends that are tried again.
    retried, count_retried;
    /// Rows that were too old to be sent.
    expired, count_expired;
    /// Rows whose chats were confirmed or deleted before.
    satisfied, count_satisfied;
    /// Rows whose receiver has no device.
    no_token, count_no_token;
    /// `PushHint` that met a full mailbox or queue.
    unreached_dropped, count_unreached_dropped;
}
