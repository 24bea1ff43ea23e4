//! How often a receiver's devices ring: a gap between the pushes of one sender, whatever rooms they create, and a rate
//! over all senders. A push that has to wait is sent later, with the newest chat of its room.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::domain::ChatterId;
use crate::push::notifier::settings::Settings;
use crate::store::outbox::Key;

/// Pairs, receivers and reserved times that are remembered, of each kind. Beyond them only the gap of a room holds.
const REMEMBERED_MAX: usize = 20_000;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// When the next push of a sender to a receiver may follow.
    pairs: HashMap<(ChatterId, ChatterId), Instant>,
    /// When a receiver could get a whole burst again.
    receivers: HashMap<ChatterId, Instant>,
    /// Pushes with a time of their own in the rate of their receiver.
    reserved: HashMap<Key, Instant>,
}

impl Pace {
    /// Counts a push that may be sent now, or says how long it has to wait. Each sender has at most one reserved time in
    /// the rate of a receiver, so a flood of one delays the others by one push.
    pub(super) fn check(
        &mut self,
        key: Key,
        sender: ChatterId,
        settings: &Settings,
        now: Instant,
    ) -> Result<(), Duration> {
        if let Some(at) = self.reserved.get(&key) {
            if now < *at {
                return Err(*at - now);
            }
            self.reserved.remove(&key);
            return Ok(());
        }
        let pair = (sender, key.receiver_id);
        if let Some(next) = self.pairs.get(&pair).filter(|next| now < **next) {
            return Err(*next - now);
        }
        let whole = self.receivers.get(&key.receiver_id).map_or(now, |whole| (*whole).max(now));
        let ahead = settings.receiver_gap * settings.receiver_burst.saturating_sub(1);
        let wait = whole.saturating_duration_since(now).saturating_sub(ahead);
        let at = now + wait;
        put(&mut self.receivers, key.receiver_id, whole + settings.receiver_gap, now);
        put(&mut self.pairs, pair, at + settings.push_gap, now);
        if wait.is_zero() {
            return Ok(());
        }
        self.reserve(key, at, now);
        Err(wait)
    }

    /// A push that was counted was not sent: it need not be counted again.
    pub(super) fn reserve(&mut self, key: Key, at: Instant, now: Instant) {
        put(&mut self.reserved, key, at, now);
    }
}

/// Entries whose time has passed make room; an entry without room is not remembered.
fn put<K: std::hash::Hash + Eq>(entries: &mut HashMap<K, Instant>, key: K, at: Instant, now: Instant) {
    if entries.len() >= REMEMBERED_MAX {
        entries.retain(|_, at| now < *at);
    }
    if entries.len() < REMEMBERED_MAX || entries.contains_key(&key) {
        entries.insert(key, at);
    }
}
