//! An index of chats by their last change, for instances that may have missed one.
//!
//! On PostgreSQL it is made beside the running instances: outside of a transaction, without keeping chats from being stored.

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::DbBackend;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

/// What was edited or deleted lately in any room.
const INDEX: &str = "chats_altered ON chats (coalesce(delete_time, edit_time))
  WHERE edit_time IS NOT NULL OR delete_time IS NOT NULL";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(false)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let db = manager.get_connection();
        if manager.get_database_backend() != DbBackend::Postgres {
            db.execute_unprepared(&format!("CREATE INDEX {INDEX}")).await?;
            return Ok(());
        }
        // One that was interrupted has left an index that is good for nothing.
        // Both wait for every transaction that is open, and nobody waits for them.
        for statement in ["SET lock_timeout = 0", "DROP INDEX CONCURRENTLY IF EXISTS chats_altered"] {
            db.execute_unprepared(statement).await?;
        }
        db.execute_unprepared(&format!("CREATE INDEX CONCURRENTLY {INDEX}")).await?;
        Ok(())
    }
}
