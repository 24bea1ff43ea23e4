//! Devices that FCM takes no more pushes for at the moment: each waits alone.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use tokio::time::Instant;

use crate::store::outbox::DeviceToken;

/// Devices that are remembered. Beyond them only the push that met the limit waits, not the device's other rooms.
const DEVICES_MAX: usize = 10_000;
/// Different devices in a row, without an accepted send in between, until their limits count as the project's.
const DEVICES_IN_A_ROW: usize = 5;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct LimitedDevices {
    until: HashMap<DeviceToken, Instant>,
    /// Those for which FCM did not say whose quota is used up, since the last accepted send.
    in_a_row: HashSet<DeviceToken>,
}

impl LimitedDevices {
    /// FCM accepted a send: the project has quota.
    pub(super) fn accepted(&mut self) {
        self.in_a_row.clear();
    }

    /// FCM refused a send to this device because of a quota.
    pub(super) fn refused(&mut self, device: DeviceToken, wait: Duration, now: Instant) {
        if self.until.len() >= DEVICES_MAX {
            self.until.retain(|_, until| now < *until);
        }
        if self.until.len() < DEVICES_MAX || self.until.contains_key(&device) {
            self.until.insert(device, now + wait);
        }
    }

    /// The same where FCM did not say whose quota it is. Whether the project's has to be assumed.
    pub(super) fn refused_without_subject(&mut self, device: DeviceToken, wait: Duration, now: Instant) -> bool {
        self.in_a_row.insert(device.clone());
        self.refused(device, wait, now);
        let is_project = self.in_a_row.len() >= DEVICES_IN_A_ROW;
        if is_project {
            self.in_a_row.clear();
        }
        is_project
    }

    /// How long this device still waits.
    pub(super) fn rest(&self, device: &DeviceToken, now: Instant) -> Option<Duration> {
        self.until.get(device).map(|until| until.saturating_duration_since(now)).filter(|rest| !rest.is_zero())
    }
}
