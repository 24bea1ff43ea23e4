//! Logs a change of state once, not every failure.

/// What was told last.
#[derive(Debug, Default)]
pub(super) struct OutageLog {
    fcm_fails: bool,
    database_fails: bool,
}

impl OutageLog {
    /// Pushes go through, or why not.
    pub(super) fn fcm(&mut self, failure: Option<&str>) {
        match failure {
            Some(reason) if !self.fcm_fails => tracing::warn!(reason, "FCM is failing: pushes wait"),
            None if self.fcm_fails => tracing::info!("FCM works again"),
            _ => {}
        }
        self.fcm_fails = failure.is_some();
    }

    /// The outbox can be read and written, or why not.
    pub(super) fn database(&mut self, failure: Option<&str>) {
        match failure {
            Some(error) if !self.database_fails => tracing::warn!(error, "the push outbox is out of reach"),
            None if self.database_fails => tracing::info!("the push outbox is in reach again"),
            _ => {}
        }
        self.database_fails = failure.is_some();
    }
}
