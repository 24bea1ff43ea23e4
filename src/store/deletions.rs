//! Deletions in two steps. One short transaction deletes what everybody sees: the rows of a room, or an account's access.
//! What may be long, a room's chats or an account's rooms, becomes a row of `pending_deletions` in the same transaction,
//! and is deleted in the background, in pieces that are short enough to let chats pass between them.
//!
//! The worker calls [`Store::delete_piece`] until nothing is pending. A lease in the database sees to it that one
//! instance at a time works; it is extended in the transaction of each piece and expires when its instance dies.

use std::time::Duration;

use sea_orm::{ConnectionTrait, DatabaseTransaction, DbBackend, DbErr};
use tokio::sync::Notify;

use super::deletion_jobs::{Job, Kind};
use super::transaction::begin;
use super::{Store, StoreError};
use crate::domain::clock::micros;
use crate::domain::{ChatroomId, ChatterId};
use crate::metrics::DeletionMetrics;

/// How long an instance that died keeps the others from going on.
const LEASE: Duration = Duration::from_secs(5);
/// The most pending deletions that are counted for the metrics.
const COUNTED_MAX: i64 = 10_000;

/// What this instance knows about deletions in the background.
#[derive(Default)]
pub(super) struct Deletions {
    /// A transaction has left a pending deletion.
    pub(super) added: Notify,
    pub(super) metrics: DeletionMetrics,
}

/// A deletion that is carried out in the background, by its row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PendingDeletion(pub(super) i64);

/// The right to delete the next piece; the time at which it ends tells it from any other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeletionLease(i64);

/// The result of one piece.
#[derive(Debug, Default)]
pub struct DeletedPiece {
    /// The rooms that were deleted with their account, each with its two chatters, so that their sockets can be closed.
    pub deleted_rooms: Vec<(ChatroomId, [ChatterId; 2])>,
    /// For the next piece; none if nothing is left, or if another instance works.
    pub lease: Option<DeletionLease>,
}

impl Store {
    /// The counters of deletions in the background.
    #[must_use]
    pub fn deletion_metrics(&self) -> &DeletionMetrics {
        &self.deletions.metrics
    }

    /// Waits until a transaction of this instance has left a pending deletion.
    pub async fn deletion_added(&self) {
        self.deletions.added.notified().await;
    }

    /// Whether any deletion is pending, of whatever instance; sets the metrics.
    pub async fn has_pending_deletions(&self) -> Result<bool, StoreError> {
        let sql = format!(
            "SELECT (SELECT count(*) FROM (SELECT 1 FROM pending_deletions LIMIT {COUNTED_MAX}) counted),
               {} - (SELECT create_time FROM pending_deletions ORDER BY id LIMIT 1)",
            self.clock_sql()
        );
        let Some(row) = self.row(self.sql(&sql, [])).await? else { return Ok(false) };
        let count: i64 = row.try_get_by_index(0)?;
        let oldest: Option<i64> = row.try_get_by_index(1)?;
        let metrics = &self.deletions.metrics;
        metrics.pending.set(usize::try_from(count).unwrap_or(0));
        metrics.oldest_s.set(usize::try_from(oldest.unwrap_or(0) / 1_000_000).unwrap_or(0));
        Ok(count > 0)
    }

    /// Whether this deletion still has something to do.
    pub async fn is_pending(&self, deletion: PendingDeletion) -> Result<bool, StoreError> {
        let sql = "SELECT 1 FROM pending_deletions WHERE id = $1";
        Ok(self.row(self.sql(sql, [deletion.0.into()])).await?.is_some())
    }

    /// Deletes one piece in one short transaction, under the lease of the last piece or, without one, a new lease.
    pub async fn delete_piece(&self, lease: Option<DeletionLease>) -> Result<DeletedPiece, StoreError> {
        self.writes
            .run(async |db| {
                let tx = begin(db).await?;
                let Some(lease) = self.take_lease(&tx, lease).await? else { return Ok(DeletedPiece::default()) };
                let jobs = self.next_jobs(&tx).await?;
                let deleted_rooms = match jobs.first() {
                    None => {
                        tx.execute_raw(self.sql("UPDATE deletion_lease SET end_time = 0", [])).await?;
                        tx.commit().await?;
                        return Ok(DeletedPiece::default());
                    }
                    Some(Job { kind: Kind::Chats, .. }) => {
                        self.delete_chats(&tx, jobs).await?;
                        Vec::new()
                    }
                    Some(of_account) => self.delete_next_rooms(&tx, of_account).await?,
                };
                tx.commit().await?;
                self.deletions.metrics.pieces.add(1);
                Ok(DeletedPiece { deleted_rooms, lease: Some(lease) })
            })
            .await
    }

    /// Extends the lease or takes it over. Its row stays locked, so that not even an instance that was frozen in a piece
    /// works beside this one.
    async fn take_lease(
        &self,
        tx: &DatabaseTransaction,
        own: Option<DeletionLease>,
    ) -> Result<Option<DeletionLease>, DbErr> {
        let now = self.clock_sql();
        let is_free = match self.backend {
            DbBackend::Postgres => format!("end_time < {now}"),
            // A SQLite file has one server, so a lease on it is that of a dead one.
            _ => "TRUE".to_owned(),
        };
        let sql = format!(
            "UPDATE deletion_lease SET end_time = {now} + $1 WHERE end_time = $2 OR {is_free} RETURNING end_time"
        );
        let values = [micros(LEASE).into(), own.map_or(-1, |own| own.0).into()];
        let row = tx.query_one_raw(self.sql(&sql, values)).await?;
        row.map(|row| row.try_get_by_index(0).map(DeletionLease)).transpose()
    }
}
