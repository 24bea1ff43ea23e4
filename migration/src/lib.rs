//! Hyper Chat's schema: an ordered list of changes, each of which runs on SQLite and on PostgreSQL.
//!
//! Migrations are the only way tables come to be, in tests too. Instances of the version before may
//! still be running while a migration runs, so a change first expands (new tables, nullable columns,
//! defaults) and only a later release contracts. One that instances of an earlier release cannot work with says so in
//! `schema_needs`.

use std::collections::HashSet;

pub use sea_orm_migration::migrator::Migration;
pub use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::{DbBackend, Statement};

mod m20261122_000001_foundation;
mod m20261122_000002_presence;
mod m20261122_000003_changed;
mod m20261122_000004_needs;
mod m20261122_000005_altered;

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
            Box::new(m20261122_000004_needs::Migration),
            Box::new(m20261122_000005_altered::Migration),
        ]
    }

    /// What the database has not had yet. What a later release did to it is no error, unlike the default: an instance
    /// may start while its fellows are newer.
    async fn get_pending_migrations<C: ConnectionTrait>(db: &C) -> Result<Vec<Migration>, DbErr> {
        // `up`, which asks this, has just made the table of migrations.
        let had = had(db).await?;
        Ok(Self::get_migration_files().into_iter().filter(|one| !had.contains(one.name())).collect())
    }
}

/// What this program finds in a database, compared with what it knows.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Migrations that have yet to be run, in order.
    pub missing: Vec<String>,
    /// Migrations of a later release.
    pub unknown: Vec<String>,
    /// A migration that whoever works on this schema has to know, and this program does not.
    pub needs: Option<String>,
}

impl Found {
    /// Looks; changes nothing.
    pub async fn look<C: ConnectionTrait>(db: &C) -> Result<Self, DbErr> {
        let had = if has_table(db, "seaql_migrations").await? { had(db).await? } else { HashSet::new() };
        let known = names();
        let mut unknown: Vec<String> = had.iter().filter(|one| !known.contains(one)).cloned().collect();
        unknown.sort();
        let needs = if has_table(db, "schema_needs").await? { needs(db).await? } else { None };
        Ok(Self {
            missing: known.iter().filter(|one| !had.contains(*one)).cloned().collect(),
            unknown,
            needs: needs.filter(|one| !known.contains(one)),
        })
    }
}

/// The migrations that this program knows, in order.
#[must_use]
pub fn names() -> Vec<String> {
    Migrator::migrations().iter().map(|one| one.name().to_owned()).collect()
}

async fn had<C: ConnectionTrait>(db: &C) -> Result<HashSet<String>, DbErr> {
    let rows = texts(db, "SELECT version FROM seaql_migrations").await?;
    Ok(rows.into_iter().collect())
}

async fn needs<C: ConnectionTrait>(db: &C) -> Result<Option<String>, DbErr> {
    Ok(texts(db, "SELECT migration FROM schema_needs").await?.pop())
}

async fn has_table<C: ConnectionTrait>(db: &C, name: &str) -> Result<bool, DbErr> {
    let ask = match db.get_database_backend() {
        DbBackend::Postgres => format!("SELECT '' WHERE to_regclass('{name}') IS NOT NULL"),
        _ => format!("SELECT '' FROM sqlite_master WHERE name = '{name}'"),
    };
    Ok(!texts(db, &ask).await?.is_empty())
}

/// The first column of each row.
async fn texts<C: ConnectionTrait>(db: &C, ask: &str) -> Result<Vec<String>, DbErr> {
    let rows = db.query_all_raw(Statement::from_string(db.get_database_backend(), ask)).await?;
    rows.iter().map(|row| row.try_get_by_index(0)).collect()
}
