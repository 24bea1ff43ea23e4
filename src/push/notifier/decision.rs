//! The decision about one claimed row: push, wait or end. Pure.

use std::time::Duration;

use tokio::time::Instant;

use super::settings::Settings;
use crate::domain::clock::Micros;
use crate::domain::{ChatterId, Seq};
use crate::push::Push;
use crate::store::outbox::{ClaimCause, DeviceToken, PendingPush};

/// What to do with a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// Every chat was confirmed, deleted or pushed already.
    Satisfied,
    /// Even the newest chat is too old to be pushed.
    Expired,
    /// The receiver has no device. A device that is added later gets no late push.
    NoToken,
    /// Push later.
    Keep { wait: Duration, attempts: i64 },
    /// Push the newest chat to these devices; others of the receiver wait at least for `rest`.
    Push { push: Push, tokens: Vec<DeviceToken>, rest: Option<Duration> },
}

/// The last push of a room to a receiver from this instance.
#[derive(Clone, Debug)]
pub(super) struct Recent {
    /// When FCM last accepted one.
    pub(super) pushed_at: Instant,
    /// The pushed chat.
    pub(super) seq: Seq,
    /// The devices that got it: a retry for a failing device must not make them ring again.
    pub(super) tokens: Vec<DeviceToken>,
}

/// `live` tells whether the receiver has a live socket here; called only within the grace.
pub(super) fn decide(
    pending: PendingPush,
    live: impl Fn(ChatterId) -> bool,
    recent: Option<&Recent>,
    settings: &Settings,
    now: Instant,
) -> Decision {
    let Some(newest) = pending.newest else { return Decision::Satisfied };
    let claim_time = pending.lease.claim_time;
    if age(newest.create_time, claim_time) > settings.expiry {
        return Decision::Expired;
    }
    if pending.tokens.is_empty() {
        return Decision::NoToken;
    }
    let oldest_age = age(pending.oldest_create_time.unwrap_or(newest.create_time), claim_time);
    // A row is due when its first chat is. Where only later chats are unconfirmed, the receiver is confirming chats on
    // some instance, so the later ones get their own grace. A row that is due again after a failure has had its grace.
    let due_early = pending.lease.cause == ClaimCause::Due && pending.lease.attempts <= 1;
    if oldest_age < settings.grace && (due_early || live(pending.lease.key.receiver_id)) {
        // Zero attempts: a push hint can still claim the row early if the socket turns out to be dead.
        return Decision::Keep { wait: settings.grace - oldest_age, attempts: 0 };
    }
    let mut tokens = pending.tokens;
    if let Some(recent) = recent {
        if newest.seq <= recent.seq {
            tokens.retain(|t| !recent.tokens.contains(t));
            if tokens.is_empty() {
                return Decision::Satisfied;
            }
        } else if now < recent.pushed_at + settings.push_gap {
            return Decision::Keep { wait: recent.pushed_at + settings.push_gap - now, attempts: 1 };
        }
    }
    Decision::Push { push: Push::new(&newest), tokens, rest: None }
}

/// The age of a chat; zero if its clock was ahead.
fn age(create_time: Micros, now: Micros) -> Duration {
    let age = now.0.saturating_sub(create_time.0).max(0);
    Duration::from_micros(age.unsigned_abs())
}

/// 1, 2, 4 … times the shortest wait, up to the longest; a fifth more or less by `jitter` (0 to 1), so that rows that
/// failed together are not retried together.
pub(super) fn backoff(settings: &Settings, attempts: u32, jitter: f64) -> Duration {
    let doubled = settings.backoff_min.saturating_mul(1 << attempts.saturating_sub(1).min(20));
    let spread = 0.8 + 0.4 * jitter.clamp(0.0, 1.0);
    doubled.min(settings.backoff_max).mul_f64(spread).min(settings.backoff_max)
}
