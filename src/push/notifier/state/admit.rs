//! Which decided pushes are sent now: not to devices that FCM limits, and not more often than a receiver should hear.

use std::time::Duration;

use tokio::time::Instant;

use super::State;
use crate::push::notifier::decision::Decision;
use crate::push::notifier::effect::{LimitedDevice, Retry};
use crate::push::{Push, Scope};
use crate::store::outbox::{DeviceToken, Lease};

impl State {
    /// The decision about a push to these devices, of which some, or all, may have to wait.
    pub(super) fn admit(&mut self, lease: &Lease, push: Push, devices: Vec<DeviceToken>, now: Instant) -> Decision {
        // The rest of a push that other devices have got already.
        let is_rest = self.recent.get(&lease.key).is_some_and(|recent| push.seq <= recent.seq);
        let limited = |device: &DeviceToken| self.limited.rest(device, now);
        let first_again = devices.iter().filter_map(limited).min();
        let free: Vec<DeviceToken> = devices.iter().filter(|device| limited(device).is_none()).cloned().collect();
        if let Some(wait) = first_again.filter(|_| free.is_empty()) {
            // Without attempts a hint of a newer chat claims the row early, for the devices that can get it.
            return Decision::Keep { wait, attempts: i64::from(!is_rest) };
        }
        if !is_rest && let Err(wait) = self.pace.check(lease.key, push.sender_id, &self.settings, now) {
            return Decision::Keep { wait, attempts: 1 };
        }
        Decision::Push { push, tokens: free, rest: first_again }
    }

    /// Devices whose quota is used up wait alone. Where FCM did not say so, and refuses one device after the other, it is
    /// the quota of the project, and all sends pause. How long the first of them waits.
    pub(super) fn limit(&mut self, limited: Vec<LimitedDevice>, jitter: f64, now: Instant) -> Option<Duration> {
        let first_again = limited.iter().map(|device| device.wait).min();
        for LimitedDevice { device, wait, is_certain, reason } in limited {
            if is_certain {
                self.limited.refused(device, wait, now);
            } else if self.limited.refused_without_subject(device, wait, now) {
                let retry = Retry { after: Some(wait), scope: Scope::All, reason };
                self.pause.failed(&retry, &self.settings, jitter, now);
                self.log.fcm_fails(&retry.reason);
            }
        }
        first_again
    }
}
