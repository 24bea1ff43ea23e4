//! Logs each outage, and its end, once: not every failure. `/readyz` and the metrics show an outage of FCM.

use std::collections::HashSet;
use std::sync::Arc;

use crate::domain::ChatterId;
use crate::metrics::PushMetrics;

/// Receivers in a row, without an accepted send in between, whose tokens are of another Firebase project, until the
/// service account counts as that of the wrong one. A single chatter can register any token.
const OTHER_SENDERS_IN_A_ROW: usize = 3;

/// The outages that were logged and have not ended.
#[derive(Debug)]
pub(super) struct OutageLog {
    /// Has the outage of FCM, so that it outlives a notifier that fails.
    metrics: Arc<PushMetrics>,
    other_senders: HashSet<ChatterId>,
    database: bool,
}

impl OutageLog {
    pub(super) fn new(metrics: Arc<PushMetrics>) -> Self {
        Self { metrics, other_senders: HashSet::new(), database: false }
    }

    /// FCM accepts pushes.
    pub(super) fn fcm_works(&mut self) {
        self.other_senders.clear();
        if self.metrics.trouble.clear() {
            tracing::info!("FCM works again");
        }
    }

    /// FCM fails for this reason.
    pub(super) fn fcm_fails(&self, reason: &str) {
        if self.metrics.trouble.set(format!("push_failing: FCM takes no pushes ({reason}); they wait")) {
            tracing::warn!(reason, "FCM is failing: pushes wait");
        }
    }

    /// FCM says that a token of this receiver is of another Firebase project.
    pub(super) fn other_sender(&mut self, receiver: ChatterId) {
        if self.other_senders.len() < OTHER_SENDERS_IN_A_ROW {
            self.other_senders.insert(receiver);
        }
        if self.other_senders.len() == OTHER_SENDERS_IN_A_ROW {
            self.fcm_fails("SENDER_ID_MISMATCH for several receivers: is the service account of the app's project?");
        }
    }

    /// The outbox can be read and written.
    pub(super) fn database_works(&mut self) {
        if std::mem::take(&mut self.database) {
            tracing::info!("the push outbox is in reach again");
        }
    }

    /// The database refused to read or write the outbox.
    pub(super) fn database_fails(&mut self, error: &str) {
        if !std::mem::replace(&mut self.database, true) {
            tracing::warn!(error, "the push outbox is out of reach");
        }
    }
}
