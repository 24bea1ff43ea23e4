//! The writer's own connection: opened when it is needed, dropped when it may not be sound.

use std::sync::Arc;
use std::time::Instant;

use sea_orm::sqlx;
use sea_orm::sqlx::postgres::PgConnection;

use crate::store::epoch::{EpochNumber, Epochs};
use crate::store::error::StoreError;
use crate::store::pool::{DEADLINE, Pool};

pub(super) struct Connection {
    writes: Pool,
    /// With the generation of the pool that it was taken from, and the epoch: after a failover it would lead to the old
    /// server.
    open: Option<((u64, EpochNumber), PgConnection)>,
    epochs: Arc<Epochs>,
}

impl Connection {
    pub(super) fn new(writes: Pool, epochs: Arc<Epochs>) -> Self {
        Self { writes, open: None, epochs }
    }

    /// Draws the conclusions of an error that a command met on its own.
    pub(super) fn report(&mut self, error: &StoreError, broken: bool) {
        if broken {
            self.open = None;
        }
        self.writes.health().write_failed(error);
        self.writes.report(error);
    }

    /// Runs on the writer's own connection, which is dropped if it failed or did not answer. Fails in another
    /// epoch.
    pub(super) async fn within_deadline<T>(
        &mut self,
        epoch: EpochNumber,
        query: impl AsyncFnOnce(&mut PgConnection) -> Result<T, sqlx::Error>,
    ) -> Result<T, StoreError> {
        let begun = Instant::now();
        let (writes, slot, epochs) = (self.writes.clone(), &mut self.open, &self.epochs);
        let answer = tokio::time::timeout(DEADLINE, async move {
            let leads_to = (writes.generation(), epoch);
            let mut connection = match slot.take() {
                Some((of, connection)) if of == leads_to => connection,
                _ => connect(&writes).await?,
            };
            // Connecting may have found a new epoch, in which the rows of this query may be those of others.
            if epochs.number() != epoch {
                return Err(sqlx::Error::PoolClosed);
            }
            let answer = query(&mut connection).await;
            if answer.as_ref().err().is_none_or(is_sound) {
                *slot = Some((leads_to, connection));
            }
            answer
        });
        let error = match answer.await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => StoreError::from(error),
            Err(_) => {
                self.writes.replace(begun);
                StoreError::Unavailable(None)
            }
        };
        self.writes.report(&error);
        Err(error)
    }
}

/// Whether a connection can be used after this error. Of all errors only a refusal by the database leaves it sound, and
/// not if it ends the connection (57P01 and its like), says that a table has changed under the prepared plans (0A000),
/// or that this server takes no writes (25006).
pub(super) fn is_sound(error: &sqlx::Error) -> bool {
    let sqlx::Error::Database(error) = error else { return false };
    !error.code().is_some_and(|code| code.starts_with("57P") || code == "0A000" || code == "25006")
}

/// Opens the writer's own connection; its few statements are planned once, whatever their parameters.
async fn connect(writes: &Pool) -> Result<PgConnection, sqlx::Error> {
    let mut connection = writes.db().get_postgres_connection_pool().acquire().await?.detach();
    sqlx::query("SET plan_cache_mode = force_generic_plan").execute(&mut connection).await?;
    Ok(connection)
}
