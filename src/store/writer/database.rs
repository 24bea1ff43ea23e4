//! One transaction of the writer on either database, and what happens when it fails.

use std::collections::HashSet;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use sea_orm::DbBackend;

use super::client_ids::{ClientKey, keys_among};
use super::command::{Attempt, Command, Refusal};
use super::postgres::Postgres;
use super::sqlite::Sqlite;
use super::watermarks::{MovedWatermark, WatermarkRow};
use crate::store::epoch::{EpochNumber, Epochs};
use crate::store::error::{StoreError, Unique, violates};
use crate::store::health::Health;
use crate::store::pool::Pool;

/// The database as the writer uses it.
pub(super) struct Database {
    driver: Driver,
    health: Arc<Health>,
}

enum Driver {
    Sqlite(Box<Sqlite>),
    Postgres(Box<Postgres>),
}

impl Database {
    pub(super) fn new(backend: DbBackend, writes: &Pool, push_grace: Duration, epochs: &Arc<Epochs>) -> Self {
        let driver = match backend {
            DbBackend::Postgres => {
                Driver::Postgres(Box::new(Postgres::new(writes.clone(), push_grace, epochs.clone())))
            }
            _ => Driver::Sqlite(Box::new(Sqlite::new(writes.clone(), push_grace))),
        };
        Self { driver, health: writes.health().clone() }
    }

    /// Carries out the commands of this epoch, one attempt each, in their order.
    pub(super) async fn commit(&mut self, epoch: EpochNumber, commands: &[&Command]) -> Vec<Attempt> {
        let mut tried = self.try_commit(epoch, commands).await;
        if matches!(&tried, Err(error) if is_duplicate(error)) {
            // A deleted room still has a chat with one of these client_ids.
            let keys = keys_among(commands);
            if let Err(error) = self.free_client_ids(epoch, &keys).await {
                tracing::warn!(error = &error as &dyn Error, "the client_ids of deleted rooms could not be freed");
            }
            // Or another instance has stored one since the look-up; the second look-up finds it.
            if commands.len() > 1 {
                tried = self.try_commit(epoch, commands).await;
            }
        }
        match tried {
            Ok(attempts) => attempts,
            Err(StoreError::Unavailable(error)) => {
                let error = error.as_ref().map(ToString::to_string);
                tracing::warn!(error, commands = commands.len(), "commands were refused: the database does not answer");
                commands.iter().map(|_| Attempt::refused(Refusal::Unavailable)).collect()
            }
            // The same for a single command, whose next try comes a moment later.
            Err(error) if commands.len() == 1 && is_duplicate(&error) => vec![Attempt::Locked],
            Err(error) if commands.len() == 1 => {
                tracing::error!(error = &error as &dyn Error, "a chat could not be stored");
                let never = matches!(error, StoreError::Impossible(_));
                vec![Attempt::refused(if never { Refusal::Impossible } else { Refusal::Failed })]
            }
            Err(_) => self.commit_each(epoch, commands).await,
        }
    }

    /// Carries out each command in a transaction of its own, so that one bad row does not fail the others; stops when
    /// the database no longer answers.
    async fn commit_each(&mut self, epoch: EpochNumber, commands: &[&Command]) -> Vec<Attempt> {
        let mut attempts = Vec::with_capacity(commands.len());
        let mut locked = HashSet::new();
        let mut answers = true;
        for command in commands {
            let room = command.chatroom_id();
            let attempt = if !answers {
                Attempt::refused(Refusal::Unavailable)
            } else if locked.contains(&room) {
                // It keeps its place behind a command of its room that has to wait.
                Attempt::Locked
            } else {
                Box::pin(self.commit(epoch, &[command])).await.pop().unwrap_or(Attempt::refused(Refusal::Failed))
            };
            match &attempt {
                Attempt::Locked => {
                    locked.insert(room);
                }
                Attempt::Done(outcome) => answers = answers && !matches!(outcome, Err(Refusal::Unavailable)),
            }
            attempts.push(attempt);
        }
        attempts
    }

    async fn try_commit(&mut self, epoch: EpochNumber, commands: &[&Command]) -> Result<Vec<Attempt>, StoreError> {
        if self.health.is_corrupt() {
            return Err(StoreError::Unavailable(None));
        }
        let tried = match &mut self.driver {
            // The epoch of a SQLite file does not change while a server has it open.
            Driver::Sqlite(sqlite) => sqlite.commit(commands).await,
            Driver::Postgres(postgres) => postgres.commit(epoch, commands).await,
        };
        match &tried {
            Ok(attempts) if attempts.iter().any(|attempt| matches!(attempt, Attempt::Done(Ok(_)))) => {
                self.health.stored();
            }
            Ok(_) => {}
            Err(error) => self.health.write_failed(error),
        }
        tried
    }

    /// Deletes the chats of deleted rooms that have these client_ids.
    async fn free_client_ids(&mut self, epoch: EpochNumber, keys: &[ClientKey]) -> Result<(), StoreError> {
        match &mut self.driver {
            Driver::Sqlite(sqlite) => sqlite.free_client_ids(keys).await,
            Driver::Postgres(postgres) => postgres.free_client_ids(epoch, keys).await,
        }
    }

    /// Moves watermarks of this epoch; `moved` gets those that moved, also when a later statement fails.
    pub(super) async fn move_watermarks(
        &mut self,
        epoch: EpochNumber,
        rows: &[WatermarkRow],
        moved: &mut Vec<MovedWatermark>,
    ) -> Result<(), StoreError> {
        if self.health.is_corrupt() {
            return Err(StoreError::Unavailable(None));
        }
        match &mut self.driver {
            Driver::Sqlite(sqlite) => sqlite.move_watermarks(rows, moved).await,
            Driver::Postgres(postgres) => postgres.move_watermarks(epoch, rows, moved).await,
        }
    }
}

/// Whether another chat has the same `client_id`; any other index has no such meaning.
fn is_duplicate(error: &StoreError) -> bool {
    matches!(error, StoreError::Failed(error) if violates(error, Unique::ClientId))
}
