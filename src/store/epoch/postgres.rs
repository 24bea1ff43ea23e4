//! The epoch on PostgreSQL: every new connection compares the server with the place where the epoch was last seen.
//!
//! A place is the row's table, the cluster's system identifier and the timeline. The table changes when a dump is
//! loaded, the system identifier when the rows come from another cluster, the timeline when a standby is promoted or a
//! recovery ends. A standby has no timeline of its own yet, so its connections are refused: one of them could outlive
//! the promotion without noticing it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use sea_orm::sqlx::pool::PoolOptions;
use sea_orm::sqlx::postgres::{PgConnection, PgRow};
use sea_orm::sqlx::{self, Postgres, Row as _};

use super::{Epoch, Epochs, new_name};
use crate::domain::clock::Micros;
use crate::store::sql::postgres_clock;

/// The row, whether the server is a standby, and the place of this server. `pg_control_checkpoint()` would give the
/// timeline of the last checkpoint, which is the old one for a while after a promotion.
const FULL: &str = "SELECT name, place, begin_time, pg_is_in_recovery(), concat_ws('/', tableoid,
    (SELECT system_identifier FROM pg_control_system()),
    CASE WHEN pg_is_in_recovery() THEN NULL ELSE left(pg_walfile_name(pg_current_wal_lsn()), 8) END) FROM epoch";
/// The same where the server refuses the functions, as managed ones may.
const ROW_ONLY: &str = "SELECT name, place, begin_time, pg_is_in_recovery(), tableoid::text FROM epoch";
/// SQLSTATE: insufficient privilege, undefined function, feature not supported.
const REFUSED: [&str; 3] = ["42501", "42883", "0A000"];

/// Whether the functions of [`FULL`] were refused; the log says so once.
static FUNCTIONS_REFUSED: AtomicBool = AtomicBool::new(false);
/// Whether the log has said that the server is a standby, since a server last was none.
static STANDBY_LOGGED: AtomicBool = AtomicBool::new(false);

/// Has a pool drop the connections that are older than the current epoch.
pub(in crate::store) fn refuse_older(pool: PoolOptions<Postgres>, epochs: Arc<Epochs>) -> PoolOptions<Postgres> {
    pool.before_acquire(move |_, connection| {
        let is_current = Instant::now().checked_sub(connection.age).is_none_or(|at| epochs.is_current_since(at));
        Box::pin(std::future::ready(Ok(is_current)))
    })
}

/// What the row and the server say.
struct Found {
    epoch: Epoch,
    /// Where the epoch was last seen.
    place: Option<String>,
    is_standby: bool,
    /// Where it is now.
    here: String,
}

/// How the place of a server compares with the recorded one.
#[derive(Debug, PartialEq, Eq)]
enum Comparison {
    Same,
    /// The same as far as the record goes, which says less.
    LessRecorded,
    Different,
}

/// Reads the epoch on this connection. Begins a new one if the server is another than the recorded one.
pub(in crate::store) async fn check(connection: &mut PgConnection, epochs: &Epochs) -> Result<(), sqlx::Error> {
    let questioned = Instant::now();
    let mut found = read(connection).await?;
    if found.is_standby {
        if !STANDBY_LOGGED.swap(true, Ordering::Relaxed) {
            tracing::warn!("the database is a standby: nothing is read or stored until it is promoted");
        }
        return Err(sqlx::Error::Protocol("the database is a standby".to_owned()));
    }
    STANDBY_LOGGED.store(false, Ordering::Relaxed);
    match compare(found.place.as_deref(), &found.here) {
        Comparison::Same => {}
        Comparison::LessRecorded => record_place(connection, &found).await?,
        Comparison::Different => {
            begin_new(connection, &found).await?;
            found = read(connection).await?;
        }
    }
    epochs.found(found.epoch, questioned).map_err(|superseded| sqlx::Error::Protocol(superseded.to_string()))
}

fn compare(recorded: Option<&str>, here: &str) -> Comparison {
    let Some(recorded) = recorded else { return Comparison::LessRecorded };
    let (before, now): (Vec<_>, Vec<_>) = (recorded.split('/').collect(), here.split('/').collect());
    if before.iter().zip(&now).any(|(before, now)| before != now) {
        Comparison::Different
    } else if before.len() < now.len() {
        Comparison::LessRecorded
    } else {
        Comparison::Same
    }
}

async fn read(connection: &mut PgConnection) -> Result<Found, sqlx::Error> {
    if !FUNCTIONS_REFUSED.load(Ordering::Relaxed) {
        match sqlx::query(FULL).persistent(false).fetch_one(&mut *connection).await {
            Ok(row) => return found(&row),
            Err(error) if is_refused(&error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "the database does not say its system identifier and timeline: after a promotion or a recovery \
                     that lost chats, run `hyper-chat epoch --new`"
                );
                FUNCTIONS_REFUSED.store(true, Ordering::Relaxed);
            }
            Err(error) => return Err(error),
        }
    }
    found(&sqlx::query(ROW_ONLY).persistent(false).fetch_one(connection).await?)
}

fn is_refused(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Database(e) if e.code().is_some_and(|code| REFUSED.contains(&&*code)))
}

fn found(row: &PgRow) -> Result<Found, sqlx::Error> {
    let name: String = row.try_get(0)?;
    Ok(Found {
        epoch: Epoch { name: Arc::from(name), begin_time: Micros(row.try_get(2)?) },
        place: row.try_get(1)?,
        is_standby: row.try_get(3)?,
        here: row.try_get(4)?,
    })
}

async fn record_place(connection: &mut PgConnection, found: &Found) -> Result<(), sqlx::Error> {
    let update = sqlx::query("UPDATE epoch SET place = $1 WHERE name = $2 AND place IS NOT DISTINCT FROM $3");
    let update = update.bind(&found.here).bind(&*found.epoch.name).bind(&found.place);
    update.persistent(false).execute(connection).await.map(|_| ())
}

/// Begins a new epoch here, unless another connection has done so meanwhile.
async fn begin_new(connection: &mut PgConnection, found: &Found) -> Result<(), sqlx::Error> {
    let update = concat!(
        "UPDATE epoch SET name = $1, place = $2, begin_time = ",
        postgres_clock!(),
        " WHERE name = $3 AND place IS NOT DISTINCT FROM $4"
    );
    let update = sqlx::query(update).bind(new_name()).bind(&found.here);
    update.bind(&*found.epoch.name).bind(&found.place).persistent(false).execute(connection).await.map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_differs_where_any_part_that_both_know_differs() {
        assert_eq!(compare(None, "7/1/1"), Comparison::LessRecorded);
        assert_eq!(compare(Some("7"), "7/1/1"), Comparison::LessRecorded);
        assert_eq!(compare(Some("7/1/1"), "7"), Comparison::Same, "a server that refuses the functions");
        assert_eq!(compare(Some("7/1/1"), "7/1/1"), Comparison::Same);
        for other in ["8/1/1", "7/2/1", "7/1/2", "8"] {
            assert_eq!(compare(Some("7/1/1"), other), Comparison::Different, "{other}");
        }
    }
}
