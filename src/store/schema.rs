//! The schema at the start: brought up to date by one instance at a time, and refused where this program cannot work on it.

use std::time::Duration;

use migration::Found;
use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend, Statement};
use tokio::time::Instant;

use super::connect::{OpenError, Options};

/// The advisory lock under which migrations run; any number that is nobody else's in this database.
const LOCK: i64 = 0x6879_7065_7263_6861;
/// Between two tries to get it.
const LOCK_PAUSE: Duration = Duration::from_millis(100);

/// Whether there is nothing to be done.
pub(super) async fn is_current(db: &DatabaseConnection) -> Result<bool, OpenError> {
    Ok(look(db).await?.missing.is_empty())
}

/// Checks the schema and, if it should, brings it up to date. `db` is a single connection: on PostgreSQL it keeps the lock
/// until it is closed, and should it die, lock and migration end together.
pub(super) async fn prepare(db: &DatabaseConnection, options: &Options) -> Result<(), OpenError> {
    let missing = look(db).await?.missing;
    if missing.is_empty() {
        return Ok(());
    }
    if !options.migrate {
        return Err(OpenError::Behind(missing));
    }
    if db.get_database_backend() == DbBackend::Postgres {
        lock(db, options.migration_wait).await?;
        // Who had the lock may have done it, or more than this program can work with.
        look(db).await?;
        // An index of a long table takes its time; a lock that is not to be had is tried for again.
        db.execute_unprepared("SET statement_timeout = 0").await.map_err(OpenError::Connect)?;
    }
    migration::up(db).await.map_err(OpenError::Migrate)
}

async fn look(db: &DatabaseConnection) -> Result<Found, OpenError> {
    let found = Found::read(db).await.map_err(OpenError::Connect)?;
    if let Some(needs) = found.needs {
        return Err(OpenError::Incompatible { needs, newest: migration::names().pop().unwrap_or_default() });
    }
    if !found.unknown.is_empty() {
        tracing::info!(migrations = found.unknown.join(", "), "the schema has migrations of a later release");
    }
    Ok(found)
}

/// Asks again and again: who waits in PostgreSQL itself holds up what waits for all older transactions, such as an index
/// that the other instance makes.
async fn lock(db: &DatabaseConnection, wait: Duration) -> Result<(), OpenError> {
    let until = Instant::now() + wait;
    let mut said = false;
    loop {
        let ask = Statement::from_string(DbBackend::Postgres, format!("SELECT pg_try_advisory_lock({LOCK})"));
        let row = db.query_one_raw(ask).await.map_err(OpenError::Connect)?;
        if row.is_some_and(|row| row.try_get_by_index(0).unwrap_or(false)) {
            return Ok(());
        }
        if Instant::now() >= until {
            return Err(OpenError::Migrating(wait));
        }
        if !said {
            tracing::info!("another instance is bringing the schema up to date");
            said = true;
        }
        tokio::time::sleep(LOCK_PAUSE).await;
    }
}
