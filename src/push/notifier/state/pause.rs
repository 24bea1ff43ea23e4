//! When all sends pause because FCM fails as a whole, and for how long.

use std::time::Duration;

use tokio::time::Instant;

use crate::push::Scope;
use crate::push::notifier::decision::backoff;
use crate::push::notifier::effect::Retry;
use crate::push::notifier::settings::Settings;

/// Failed sends in a row before FCM counts as failing.
const FAILURES_TOLERATED: u32 = 2;

/// See the module. Everything is counted since the last accepted send.
#[derive(Debug, Default)]
pub(super) struct Pause {
    until: Option<Instant>,
    /// Pauses for which FCM named no time.
    pub(super) untimed: u32,
    failures: u32,
}

impl Pause {
    /// FCM accepted a send.
    pub(super) fn accepted(&mut self) {
        self.untimed = 0;
        self.failures = 0;
    }

    /// A job ended without any accepted send.
    pub(super) fn nothing_accepted(&mut self) {
        self.failures = self.failures.saturating_add(1);
    }

    /// A send failed; begins or lengthens a pause where no other send can succeed.
    pub(super) fn failed(&mut self, retry: &Retry, settings: &Settings, jitter: f64, now: Instant) {
        if retry.scope != Scope::All {
            return;
        }
        // Sends that were in flight when the pause began lengthen it only if FCM names a later time.
        let mut own = Duration::ZERO;
        if self.rest(now).is_none() && retry.after.is_none() {
            self.untimed = self.untimed.saturating_add(1);
            own = backoff(settings, self.untimed, jitter);
        }
        let until = now + own.max(retry.after.unwrap_or_default());
        self.until = self.until.max(Some(until));
    }

    /// Whether FCM counts as failing after this failure.
    pub(super) fn is_outage(&self, retry: &Retry) -> bool {
        retry.scope == Scope::All || self.failures > FAILURES_TOLERATED
    }

    /// How long all sends still pause.
    pub(super) fn rest(&self, now: Instant) -> Option<Duration> {
        self.until.map(|until| until.saturating_duration_since(now)).filter(|rest| !rest.is_zero())
    }
}
