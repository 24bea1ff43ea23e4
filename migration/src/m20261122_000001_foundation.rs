//! The tables of the first release: chatters, sign-ins, devices, chatrooms, members, chats, push outbox.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let (postgres, sqlite) = (
            include_str!("m20261122_000001_foundation/postgres.sql"),
            include_str!("m20261122_000001_foundation/sqlite.sql"),
        );
        crate::run(manager, postgres, sqlite).await
    }
}
