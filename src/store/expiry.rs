//! Removing expired rows.

use sea_orm::ConnectionTrait;

use super::{Store, StoreError};

impl Store {
    /// Deletes expired sign-ins and old endings; returns the number of sign-ins. The clean-up timer calls it.
    pub async fn clean_up(&self) -> Result<u64, StoreError> {
        let sign_ins = self.sql(&format!("DELETE FROM sign_ins WHERE expire_time < {}", self.clock_sql()), []);
        self.writes
            .run(async move |db| {
                db.execute_raw(self.delete_old_endings()).await?;
                Ok(db.execute_raw(sign_ins).await?.rows_affected())
            })
            .await
    }
}
