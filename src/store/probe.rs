//! The answer to "can a chat be stored?": from the writer's last outcome, or by a write of its own where that is old.
//!
//! The probe has a connection of its own. While no chats arrive it writes one small row every five seconds at most, and
//! while the database takes no writes one row as large as the largest chat every second.

use std::path::Path;
use std::time::{Duration, Instant};

use sea_orm::{ConnectionTrait, DbBackend, DbErr, Statement, Value};
use tokio::sync::Mutex;

use super::error::StoreError;
use super::file_identity::FileIdentity;
use super::health::Trouble;
use super::pool::Pool;
use super::servers::IS_READ_ONLY;
use crate::domain::clock::Micros;

/// While the database takes no writes, the pause between two attempts.
const PAUSE: Duration = Duration::from_secs(1);
/// What a chat of the greatest length takes with its index entries and its text for search.
const FILLER_BYTES: usize = 65_536;

pub(super) struct Probe {
    backend: DbBackend,
    pool: Pool,
    file: Option<FileIdentity>,
    /// When the last write was tried. One probe runs at a time: those who wait behind it take its result.
    tried_at: Mutex<Option<Instant>>,
}

impl Probe {
    pub(super) fn new(backend: DbBackend, pool: Pool, file: Option<&Path>) -> Self {
        Self { backend, pool, file: file.and_then(FileIdentity::at), tried_at: Mutex::new(None) }
    }

    pub(super) async fn readiness(&self) -> Result<(), Trouble> {
        let health = self.pool.health().clone();
        if self.file.as_ref().is_some_and(|file| !file.is_there()) {
            return Err(Trouble::Away);
        }
        let mut tried_at = self.tried_at.lock().await;
        self.ask().await?;
        let trouble = health.trouble();
        let is_due = tried_at.is_none_or(|at| at.elapsed() >= PAUSE);
        match trouble {
            Some(Trouble::Corrupt) => return Err(Trouble::Corrupt),
            None if health.is_proven() => return Ok(()),
            Some(trouble) if !is_due => return Err(trouble),
            _ => {}
        }
        match self.write(trouble.is_some()).await {
            Ok(()) => health.stored(),
            // The writer is in a long transaction: its outcome will say more.
            Err(error) if error.is_busy() => {}
            Err(error) => health.write_failed(&error),
        }
        *tried_at = Some(Instant::now());
        health.trouble().map_or(Ok(()), Err)
    }

    /// Whether the database answers, and on PostgreSQL whether the session may write.
    async fn ask(&self) -> Result<(), Trouble> {
        let query = if self.backend == DbBackend::Postgres { IS_READ_ONLY } else { "SELECT false" };
        let statement = Statement::from_string(self.backend, query);
        let row = self.pool.run(async |db| db.query_one_raw(statement).await).await;
        let row = row.map_err(|error| error.trouble().unwrap_or(Trouble::Away))?;
        if row.is_some_and(|row| row.try_get_by_index(0).unwrap_or(false)) {
            self.pool.search_writable();
            return Err(Trouble::ReadOnly);
        }
        Ok(())
    }

    /// Writes a row; a large one, which is deleted again, where the last write failed.
    async fn write(&self, large: bool) -> Result<(), StoreError> {
        let now = Micros::now().0;
        let (id, filler) = if large { (now, Some("x".repeat(FILLER_BYTES))) } else { (1, None) };
        let upsert = "INSERT INTO write_probe (id, time, filler) VALUES ($1, $2, $3)
                      ON CONFLICT (id) DO UPDATE SET time = excluded.time";
        let values: [Value; 3] = [id.into(), now.into(), filler.into()];
        let upsert = Statement::from_sql_and_values(self.backend, upsert, values);
        let written = async |db: &sea_orm::DatabaseConnection| -> Result<(), DbErr> {
            db.execute_raw(upsert).await?;
            if large {
                db.execute_unprepared("DELETE FROM write_probe WHERE id <> 1").await?;
            }
            Ok(())
        };
        self.pool.run(written).await
    }
}
