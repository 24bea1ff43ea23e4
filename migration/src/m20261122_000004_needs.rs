//! What a program has to know to work on this schema.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let (postgres, sqlite) =
            (include_str!("m20261122_000004_needs/postgres.sql"), include_str!("m20261122_000004_needs/sqlite.sql"));
        crate::run(manager, postgres, sqlite).await
    }
}
