//! Removing expired rows.

use sea_orm::ConnectionTrait;

use super::epoch::sign_in_is_current;
use super::{Store, StoreError};

/// The most sign-ins that one transaction removes, so that none of them takes long.
const PIECE: u64 = 1_000;

impl Store {
    /// Deletes expired sign-ins, those of earlier epochs, and old endings; returns the number of sign-ins. The clean-up
    /// timer calls it.
    pub async fn clean_up(&self) -> Result<u64, StoreError> {
        self.writes.run(async |db| db.execute_raw(self.delete_old_endings()).await).await?;
        let sql = format!(
            "DELETE FROM sign_ins WHERE id IN (
               SELECT s.id FROM sign_ins s WHERE s.expire_time < {} OR NOT {} LIMIT {PIECE})",
            self.clock_sql(),
            sign_in_is_current!()
        );
        let mut all = 0;
        loop {
            let piece = self.sql(&sql, []);
            let deleted = self.writes.run(async move |db| db.execute_raw(piece).await).await?.rows_affected();
            all += deleted;
            if deleted < PIECE {
                return Ok(all);
            }
        }
    }
}
