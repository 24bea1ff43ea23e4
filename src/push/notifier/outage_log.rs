//! Logs each outage, and its end, once: not every failure.

/// The outages that were logged and have not ended.
#[derive(Debug, Default)]
pub(super) struct OutageLog {
    fcm: bool,
    database: bool,
}

impl OutageLog {
    /// FCM accepts pushes.
    pub(super) fn fcm_works(&mut self) {
        if std::mem::take(&mut self.fcm) {
            tracing::info!("FCM works again");
        }
    }

    /// FCM fails for this reason.
    pub(super) fn fcm_fails(&mut self, reason: &str) {
        if !std::mem::replace(&mut self.fcm, true) {
            tracing::warn!(reason, "FCM is failing: pushes wait");
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
