//! The schema at the start: one instance at a time brings it up to date, and a schema that this program cannot work
//! with is refused.

use std::time::Duration;

use migration::Found;
use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend, Statement};
use tokio::time::Instant;

use super::error::OpenError;
use super::options::Options;

/// The advisory lock under which migrations run: an arbitrary number that nothing else in this database uses.
const LOCK: i64 = 0x6879_7065_7263_6861;
/// Pause between two tries to get the lock.
const LOCK_PAUSE: Duration = Duration::from_millis(100);

/// Whether no migration is missing.
pub(super) async fn is_current(db: &DatabaseConnection) -> Result<bool, OpenError> {
    Ok(missing(db).await?.is_empty())
}

/// Checks the schema and brings it up to date if the options say so. `db` is a single connection: on PostgreSQL it
/// keeps the lock until it is closed, and if it dies, lock and migration end together.
pub(super) async fn prepare(db: &DatabaseConnection, options: &Options) -> Result<(), OpenError> {
    let found = missing(db).await?;
    if found.is_empty() {
        return Ok(());
    }
    if !options.migrate {
        return Err(OpenError::Behind(found));
    }
    if db.get_database_backend() == DbBackend::Postgres {
        lock(db, options.migration_wait).await?;
        // Another instance may have migrated meanwhile, even beyond what this program can work with.
        missing(db).await?;
        // Building an index of a long table outlasts the server's statement timeout.
        db.execute_unprepared("SET statement_timeout = 0").await.map_err(OpenError::Connect)?;
    }
    migration::up(db).await.map_err(OpenError::Migrate)
}

/// The migrations that have yet to run; refuses a schema that needs a newer program.
pub(super) async fn missing(db: &DatabaseConnection) -> Result<Vec<String>, OpenError> {
    let found = Found::read(db).await.map_err(OpenError::Connect)?;
    if let Some(needs) = found.needs {
        return Err(OpenError::Incompatible { needs, newest: migration::names().pop().unwrap_or_default() });
    }
    if !found.unknown.is_empty() {
        tracing::info!(migrations = found.unknown.join(", "), "the schema has migrations of a later release");
    }
    Ok(found.missing)
}

/// Tries until it has the lock. Waiting for it inside PostgreSQL would hold up whatever waits for all older
/// transactions, such as the index that the other instance is building.
async fn lock(db: &DatabaseConnection, wait: Duration) -> Result<(), OpenError> {
    let until = Instant::now() + wait;
    let mut logged = false;
    loop {
        let sql = format!("SELECT pg_try_advisory_lock({LOCK})");
        let row = db.query_one_raw(Statement::from_string(DbBackend::Postgres, sql)).await;
        let row = row.map_err(OpenError::Connect)?;
        if row.is_some_and(|row| row.try_get_by_index(0).unwrap_or(false)) {
            return Ok(());
        }
        if Instant::now() >= until {
            return Err(OpenError::Migrating(wait));
        }
        if !logged {
            tracing::info!("another instance is bringing the schema up to date");
            logged = true;
        }
        tokio::time::sleep(LOCK_PAUSE).await;
    }
}
