//! What becomes of one claimed row. Pure.

use std::time::Duration;

use tokio::time::Instant;

use super::Settings;
use crate::domain::clock::Micros;
use crate::domain::{ChatterId, Seq};
use crate::push::Push;
use crate::store::outbox::{ClaimCause, DeviceToken, PendingPush};

/// The verdict over a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// All was confirmed, deleted or pushed already.
    Satisfied,
    /// Even the newest chat is too old to tell of.
    Expired,
    /// The receiver has no device; one that comes later gets no late push.
    NoToken,
    /// Not yet.
    Keep { wait: Duration, attempts: i64 },
    /// Tell these devices of the newest chat.
    Push { push: Push, tokens: Vec<DeviceToken> },
}

/// The last push of a room to a receiver from this instance.
#[derive(Clone, Debug)]
pub(super) struct Recent {
    /// When FCM last took one.
    pub(super) pushed_at: Instant,
    /// Of which chat.
    pub(super) seq: Seq,
    /// To which devices, so that a failing one does not make the others ring again.
    pub(super) tokens: Vec<DeviceToken>,
}

/// `live`: whether the receiver has a live socket here; asked only within the grace.
pub(super) fn decide(
    owed: PendingPush,
    live: impl Fn(ChatterId) -> bool,
    recent: Option<&Recent>,
    settings: &Settings,
    now: Instant,
) -> Decision {
    let Some(newest) = owed.newest else { return Decision::Satisfied };
    let claim_time = owed.lease.claim_time;
    if age(newest.create_time, claim_time) > settings.expiry {
        return Decision::Expired;
    }
    if owed.tokens.is_empty() {
        return Decision::NoToken;
    }
    let oldest_age = age(owed.oldest_create_time.unwrap_or(newest.create_time), claim_time);
    // A row is due with its first chat. Where only later ones are unconfirmed, somebody confirms, on any instance. One that is
    // due again after a failure was decided over before.
    let due_early = owed.lease.cause == ClaimCause::Due && owed.lease.attempts <= 1;
    if oldest_age < settings.grace && (due_early || live(owed.lease.key.receiver_id)) {
        // No attempts: the row can still be hurried when the socket turns out to be dead.
        return Decision::Keep { wait: settings.grace - oldest_age, attempts: 0 };
    }
    let mut tokens = owed.tokens;
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
    Decision::Push { push: Push::new(&newest), tokens }
}

/// How old something is; nothing is younger than new.
fn age(create_time: Micros, now: Micros) -> Duration {
    let age = now.0.saturating_sub(create_time.0).max(0);
    Duration::from_micros(age.unsigned_abs())
}

/// 1, 2, 4 … times the least, up to the most; a fifth more or less by `jitter` (0 to 1), so that rows that failed
/// together do not come back together.
pub(super) fn backoff(settings: &Settings, attempts: u32, jitter: f64) -> Duration {
    let doubled = settings.backoff_min.saturating_mul(1 << attempts.saturating_sub(1).min(20));
    let spread = 0.8 + 0.4 * jitter.clamp(0.0, 1.0);
    doubled.min(settings.backoff_max).mul_f64(spread).min(settings.backoff_max)
}
