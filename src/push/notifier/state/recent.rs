//! The last pushes of this instance, so that rooms do not ring too often.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::domain::Seq;
use crate::push::notifier::decision::Recent;
use crate::store::outbox::{DeviceToken, Key};

/// Pushes that are remembered. Beyond them a repeat may come too early.
const RECENT_MAX: usize = 10_000;

/// By room and receiver.
#[derive(Debug)]
pub(super) struct RecentPushes {
    pushes: HashMap<Key, Recent>,
    gap: Duration,
}

impl RecentPushes {
    pub(super) fn new(gap: Duration) -> Self {
        Self { pushes: HashMap::new(), gap }
    }

    pub(super) fn get(&self, key: &Key) -> Option<&Recent> {
        self.pushes.get(key)
    }

    /// Whether the gap after the last push has not passed yet.
    pub(super) fn within_gap(&self, key: &Key, now: Instant) -> bool {
        self.get(key).is_some_and(|recent| now < recent.pushed_at + self.gap)
    }

    pub(super) fn remember(&mut self, key: Key, seq: Seq, accepted: Vec<DeviceToken>, now: Instant) {
        if self.pushes.len() >= RECENT_MAX {
            let gap = self.gap;
            self.pushes.retain(|_, recent| now < recent.pushed_at + gap);
        }
        if let Some(recent) = self.pushes.get_mut(&key) {
            if recent.seq != seq {
                recent.tokens.clear();
            }
            recent.seq = seq;
            recent.pushed_at = now;
            recent.tokens.extend(accepted);
        } else if self.pushes.len() < RECENT_MAX {
            self.pushes.insert(key, Recent { pushed_at: now, seq, tokens: accepted });
        }
    }
}
