//! Hyper Chat's schema: an ordered list of changes, each of which runs on SQLite and on PostgreSQL.
//!
//! Migrations are the only way tables come to be, in tests too. Instances of the version before may
//! still be running while a migration runs, so a change first expands (new tables, nullable columns,
//! defaults) and only a later release contracts.

pub use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::DbBackend;

mod m20261122_000001_foundation;
mod m20261122_000002_presence;
mod m20261122_000003_changed;

/// Runs the text that is written for this database.
async fn run(manager: &SchemaManager<'_>, postgres: &str, sqlite: &str) -> Result<(), DbErr> {
    let sql = if manager.get_database_backend() == DbBackend::Postgres { postgres } else { sqlite };
    manager.get_connection().execute_unprepared(sql).await?;
    Ok(())
}

/// The list of migrations in order; `hyper-chat migrate` and the start of `serve` run it.
pub struct Migrator;

#[async_trait::async_trait]
impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(m20261122_000001_foundation::Migration),
            Box::new(m20261122_000002_presence::Migration),
            Box::new(m20261122_000003_changed::Migration),
        ]
    }
}
