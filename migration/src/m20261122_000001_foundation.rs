//! The tables of the first release: chatters, sign-ins, devices, chatrooms, members, chats, push outbox.

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::DbBackend;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let sql = match manager.get_database_backend() {
            DbBackend::Postgres => include_str!("m20261122_000001_foundation/postgres.sql"),
            _ => include_str!("m20261122_000001_foundation/sqlite.sql"),
        };
        manager.get_connection().execute_unprepared(sql).await?;
        Ok(())
    }
}
