//! What has ended, for instances that could not be told.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        crate::run(
            manager,
            include_str!("m20261122_000003_changed/postgres.sql"),
            include_str!("m20261122_000003_changed/sqlite.sql"),
        )
        .await
    }
}
