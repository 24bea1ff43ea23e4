//! The worker that deletes in the background what was deleted for everybody in one transaction, piece by piece.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::Service;
use crate::store::StoreError;
use crate::store::deletions::{DeletionLease, PendingDeletion};

/// The pause between two looks at the table, for what another instance left when it died.
const POLL_EVERY: Duration = Duration::from_secs(1);
/// The pause behind a piece is so many times as long as the piece took, so that others get the database for most of the
/// time, but not longer than the bound.
const PAUSE_PER_PIECE: u32 = 3;
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// How long the deletion of an account waits for its last rooms, and the pause between two checks.
const ACCOUNT_WAIT: Duration = Duration::from_secs(2);
const ACCOUNT_PAUSE: Duration = Duration::from_millis(25);

impl Service {
    /// Deletes what is pending, for as long as the instance runs.
    pub async fn delete_in_background(&self) {
        let mut has_failed = false;
        loop {
            // Whether the pause ended early makes no difference.
            let _ = timeout(POLL_EVERY, self.store.deletion_added()).await;
            match self.delete_pending().await {
                Ok(()) => has_failed = false,
                // An outage has its own lines.
                Err(error) if !std::mem::replace(&mut has_failed, true) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(error, "a deletion waits for the database");
                }
                Err(_) => {}
            }
        }
    }

    /// Deletes pieces until nothing is pending, or another instance is at it.
    async fn delete_pending(&self) -> Result<(), StoreError> {
        let mut lease: Option<DeletionLease> = None;
        let mut polled_at = None;
        loop {
            if polled_at.is_none_or(|at: Instant| at.elapsed() >= POLL_EVERY) {
                polled_at = Some(Instant::now());
                if !self.store.has_pending_deletions().await? && lease.is_none() {
                    return Ok(());
                }
            }
            let begun = Instant::now();
            let piece = self.store.delete_piece(lease).await?;
            piece.deleted_rooms.into_iter().for_each(|(room, pair)| self.chatroom_deleted(room, pair));
            lease = piece.lease;
            if lease.is_none() {
                self.store.has_pending_deletions().await?;
                return Ok(());
            }
            sleep((begun.elapsed() * PAUSE_PER_PIECE).min(PAUSE_MAX)).await;
        }
    }

    /// Waits until a deletion is finished, but not for long: it goes on without anybody who waits.
    pub(super) async fn wait_for_deletion(&self, deletion: PendingDeletion) {
        let until = Instant::now() + ACCOUNT_WAIT;
        while Instant::now() < until && !matches!(self.store.is_pending(deletion).await, Ok(false)) {
            sleep(ACCOUNT_PAUSE).await;
        }
    }
}
