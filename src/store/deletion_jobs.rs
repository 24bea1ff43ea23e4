//! The rows of `pending_deletions`, and the piece of chats that is deleted in one transaction.

use std::time::{Duration, Instant};

use sea_orm::{ConnectionTrait, DatabaseTransaction, DbErr, QueryResult, Value};

use super::Store;
use super::deletions::PendingDeletion;
use super::sql::id_list;

/// How many chats one statement deletes: few enough that the longest chats do not take long.
const CHATS_PER_STATEMENT: i64 = 50;
/// A piece begins no further statement after this time, or behind so many chats.
const PIECE_TIME: Duration = Duration::from_millis(5);
const PIECE_CHATS: i64 = 1_000;
/// The most deleted rooms whose chats are deleted in one piece.
const JOBS_MAX: i64 = 32;

/// What a pending deletion deletes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The chats of a room.
    Chats,
    /// The rooms of an account, which is deleted with them.
    Rooms,
    /// Nothing but notes to self: the rooms of an account are closed.
    RoomsClosing,
}

/// One row of `pending_deletions`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Job {
    pub(super) id: i64,
    pub(super) kind: Kind,
    /// The room's or the chatter's id.
    pub(super) subject_id: i64,
    /// The `seq`, or the room's id, up to which the work is done.
    pub(super) done: i64,
    /// The last one.
    pub(super) last: i64,
}

impl Kind {
    const ALL: [Self; 3] = [Self::Chats, Self::Rooms, Self::RoomsClosing];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Chats => "chats",
            Self::Rooms => "rooms",
            Self::RoomsClosing => "rooms_closing",
        }
    }
}

impl Store {
    /// Leaves pending deletions of one kind: of each the subject, and from where to where. Returns their rows' ids.
    pub(super) async fn add_jobs(
        &self,
        tx: &DatabaseTransaction,
        kind: Kind,
        jobs: &[(i64, i64, i64)],
    ) -> Result<Vec<PendingDeletion>, DbErr> {
        if jobs.is_empty() {
            return Ok(Vec::new());
        }
        let now = self.clock_sql();
        let place = |at: usize| format!("($1, ${}, ${}, ${}, {now})", 3 * at + 2, 3 * at + 3, 3 * at + 4);
        let places = (0..jobs.len()).map(place).collect::<Vec<_>>().join(", ");
        let sql = format!(
            "INSERT INTO pending_deletions (kind, subject_id, done, last, create_time) VALUES {places} RETURNING id"
        );
        let numbers = jobs.iter().flat_map(|(subject, done, last)| [*subject, *done, *last]);
        let values = std::iter::once(Value::from(kind.as_str())).chain(numbers.map(Value::from));
        let rows = tx.query_all_raw(self.sql(&sql, values)).await?;
        rows.iter().map(|row| row.try_get_by_index(0).map(PendingDeletion)).collect()
    }

    /// The first pending deletions; accounts come before chats, since people still see their rooms.
    pub(super) async fn next_jobs(&self, tx: &DatabaseTransaction) -> Result<Vec<Job>, DbErr> {
        let sql = "SELECT id, kind, subject_id, done, last FROM pending_deletions ORDER BY kind DESC, id LIMIT $1";
        let rows = tx.query_all_raw(self.sql(sql, [JOBS_MAX.into()])).await?;
        rows.iter().map(job_of).collect()
    }

    /// Deletes chats of these rooms until the time or the number of one piece is reached.
    pub(super) async fn delete_chats(&self, tx: &DatabaseTransaction, jobs: Vec<Job>) -> Result<(), DbErr> {
        let (begun, mut scanned) = (Instant::now(), 0);
        let is_full = |scanned: i64| scanned >= PIECE_CHATS || begun.elapsed() >= PIECE_TIME;
        let mut finished = Vec::new();
        for mut job in jobs.into_iter().filter(|job| job.kind == Kind::Chats) {
            while job.done < job.last && !is_full(scanned) {
                // A range of numbers instead of a LIMIT, which would read over what was deleted before.
                let to = job.last.min(job.done + CHATS_PER_STATEMENT);
                let sql = "DELETE FROM chats WHERE chatroom_id = $1 AND seq > $2 AND seq <= $3";
                let values = [job.subject_id.into(), job.done.into(), to.into()];
                let deleted = tx.execute_raw(self.sql(sql, values)).await?.rows_affected();
                self.deletions.metrics.chats.add(usize::try_from(deleted).unwrap_or(0));
                scanned += to - job.done;
                job.done = to;
            }
            if job.done < job.last {
                self.advance(tx, &job).await?;
                break;
            }
            finished.push(job.id);
        }
        self.finish(tx, &finished).await
    }

    /// Records how far a job has got.
    pub(super) async fn advance(&self, tx: &DatabaseTransaction, job: &Job) -> Result<(), DbErr> {
        let sql = "UPDATE pending_deletions SET done = $2 WHERE id = $1";
        tx.execute_raw(self.sql(sql, [job.id.into(), job.done.into()])).await.map(|_| ())
    }

    /// Removes jobs that have nothing left to do.
    pub(super) async fn finish(&self, tx: &DatabaseTransaction, jobs: &[i64]) -> Result<(), DbErr> {
        if jobs.is_empty() {
            return Ok(());
        }
        let (places, values) = id_list(jobs, 0);
        let sql = format!("DELETE FROM pending_deletions WHERE id IN ({places})");
        tx.execute_raw(self.sql(&sql, values)).await.map(|_| ())
    }
}

fn job_of(row: &QueryResult) -> Result<Job, DbErr> {
    let kind: String = row.try_get_by_index(1)?;
    let unknown = || DbErr::Type(format!("a pending deletion of the kind {kind}"));
    Ok(Job {
        id: row.try_get_by_index(0)?,
        kind: Kind::ALL.into_iter().find(|one| one.as_str() == kind).ok_or_else(unknown)?,
        subject_id: row.try_get_by_index(2)?,
        done: row.try_get_by_index(3)?,
        last: row.try_get_by_index(4)?,
    })
}
