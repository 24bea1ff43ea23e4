//! Presence and receipts: when a chatter was last seen, and whether others may know.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let (postgres, sqlite) = (
            include_str!("m20261122_000002_presence/postgres.sql"),
            include_str!("m20261122_000002_presence/sqlite.sql"),
        );
        crate::run(manager, postgres, sqlite).await
    }
}
