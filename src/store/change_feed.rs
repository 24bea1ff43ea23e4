//! The change feed: an instance polls the database for changes that it may have missed, on whatever instance they
//! happened.
//!
//! A poll costs as much as there was traffic, however many rooms and sockets there are: new rows are found by ids,
//! which grow, and edits and deletions by an index of their own. An id is drawn before its commit, so each poll begins
//! where an older poll ended, to find late commits.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use sea_orm::{ConnectionTrait, DatabaseTransaction, DbErr, QueryResult, Statement, Value};

use super::epoch::EpochNumber;
use super::sql::IDS_MAX;
use super::transaction::begin_snapshot;
use super::{Store, StoreError};
use crate::domain::clock::micros;
use crate::domain::{ChatroomId, ChatterId, Version};

/// The longest time between drawing an id, or timing an edit, and its commit.
const LATE_COMMIT_MAX: Duration = Duration::from_secs(10);
/// The most chats that one poll scans, and the least to which a database that answers too late lowers that.
const SCAN_MAX: i64 = 200_000;
const SCAN_MIN: i64 = 1_000;
/// How far below the newest ids the first poll begins, since it knows nothing of commits in progress. The writer draws
/// 512 chat ids at a time.
const IN_PROGRESS: Ids = Ids { chat: 64 * 512, room: 64, ending: 64 };
/// How long the table keeps endings.
const ENDINGS_KEPT: Duration = Duration::from_secs(3_600);

/// How far an instance has polled the feed.
#[derive(Debug)]
pub struct FeedPosition {
    /// The newest ids at earlier polls; the oldest poll is further back than any late commit.
    newest: VecDeque<(Instant, Ids)>,
    /// The last chat that a poll scanned when there were too many for one poll.
    resume_at: Option<i64>,
    /// The database's clock at the last poll, in microseconds.
    polled_at: i64,
    /// The most chats that the next poll scans.
    scan_max: i64,
    /// The epoch of the ids.
    epoch: EpochNumber,
}

/// The newest ids at one moment, as bare numbers, since a poll begins a distance below them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Ids {
    chat: i64,
    room: i64,
    ending: i64,
}

/// The result of a poll. Since polls overlap, most of it has been found before.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Poll {
    /// New rooms, and rooms whose chats changed, each once and in no order.
    pub rooms: Vec<ChangedRoom>,
    /// Deleted rooms and ended access, oldest first.
    pub endings: Vec<Ending>,
    /// How many new chats the poll scanned.
    pub scanned: usize,
    /// Whether there were too many chats for one poll.
    pub has_more: bool,
}

/// A room that changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChangedRoom {
    /// The room is new, or has a new, edited or deleted chat.
    pub chatroom_id: ChatroomId,
    /// The room's chatters, the lower id first; the same twice in notes to self.
    pub pair: [ChatterId; 2],
    /// The room's version in the poll's snapshot.
    pub version: Version,
    /// Whether the room itself is new.
    pub created: bool,
}

/// Something that ended and left no row of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The room of these two was deleted.
    Room(ChatroomId, [ChatterId; 2]),
    /// Sign-ins of the chatter ended, or the account did.
    Access(ChatterId),
}

/// What one poll read besides the changes.
struct Bounds {
    scanned: i64,
    newest: Ids,
    now: i64,
}

impl FeedPosition {
    fn new(at: Instant, newest: Ids, now: i64, epoch: EpochNumber) -> Self {
        let begin = Ids {
            chat: newest.chat - IN_PROGRESS.chat,
            room: newest.room - IN_PROGRESS.room,
            ending: newest.ending - IN_PROGRESS.ending,
        };
        Self { newest: VecDeque::from([(at, begin)]), resume_at: None, polled_at: now, scan_max: SCAN_MAX, epoch }
    }

    /// Rows above these ids may have been committed since the last poll.
    fn from(&self) -> Ids {
        let oldest = self.newest.front().map(|(_, newest)| *newest).unwrap_or_default();
        Ids { chat: self.resume_at.unwrap_or(oldest.chat), ..oldest }
    }

    fn advance(&mut self, at: Instant, newest: Ids, now: i64, has_more: bool) {
        self.resume_at = has_more.then_some(newest.chat);
        (self.polled_at, self.scan_max) = (now, SCAN_MAX);
        self.newest.push_back((at, newest));
        while self.newest.get(1).is_some_and(|(polled, _)| at.duration_since(*polled) >= LATE_COMMIT_MAX) {
            self.newest.pop_front();
        }
    }
}

impl Store {
    /// The feed's position now: later polls find what is committed from now on.
    pub async fn feed_position(&self) -> Result<FeedPosition, StoreError> {
        let (at, epoch) = (Instant::now(), self.epochs().number());
        let sql = format!("SELECT CAST(0 AS BIGINT), (SELECT coalesce(max(id), 0) FROM chats), {}", self.bounds_sql());
        let bounds = bounds_of(self.row(self.sql(&sql, [])).await?)?;
        Ok(FeedPosition::new(at, bounds.newest, bounds.now, epoch))
    }

    /// Whether the position is one of the current epoch; another one finds nothing, or the wrong things.
    #[must_use]
    pub fn is_of_this_epoch(&self, position: &FeedPosition) -> bool {
        position.epoch == self.epochs().number()
    }

    /// Reads the changes since some time before the last poll, and moves the position.
    pub async fn poll(&self, position: &mut FeedPosition) -> Result<Poll, StoreError> {
        let (from, at, scan_max) = (position.from(), Instant::now(), position.scan_max);
        // Until the database has answered in time.
        position.scan_max = (scan_max / 2).max(SCAN_MIN);
        let sql = format!(
            "SELECT count(*), coalesce(max(id), (SELECT coalesce(max(id), 0) FROM chats)), {}
             FROM (SELECT id FROM chats WHERE id > $1 ORDER BY id LIMIT $2) page",
            self.bounds_sql()
        );
        let bounds = self.sql(&sql, [from.chat.into(), scan_max.into()]);
        let changed_since = position.polled_at - micros(LATE_COMMIT_MAX);
        let (bounds, rooms, endings) = self
            .reads
            .run(async |db| {
                let snapshot = begin_snapshot(db).await?;
                let bounds = bounds_of(snapshot.query_one_raw(bounds).await?)?;
                let rooms = self.changed_rooms(&snapshot, from, bounds.newest.chat, changed_since).await?;
                let endings = self.endings(&snapshot, from).await?;
                snapshot.commit().await?;
                Ok((bounds, rooms, endings))
            })
            .await?;
        let has_more = bounds.scanned == scan_max;
        position.advance(at, bounds.newest, bounds.now, has_more);
        Ok(Poll { rooms, endings, scanned: usize::try_from(bounds.scanned).unwrap_or(0), has_more })
    }

    /// The newest room and ending, and the time; [`bounds_of`] reads them.
    fn bounds_sql(&self) -> String {
        let now = self.clock_sql();
        format!("(SELECT coalesce(max(id), 0) FROM chatrooms), (SELECT coalesce(max(id), 0) FROM endings), {now}")
    }

    async fn changed_rooms(
        &self,
        snapshot: &DatabaseTransaction,
        from: Ids,
        to: i64,
        changed_since: i64,
    ) -> Result<Vec<ChangedRoom>, DbErr> {
        let sql = "SELECT r.id, r.pair_low, r.pair_high, r.version, r.id > $3 FROM chatrooms r WHERE r.id IN (
                     SELECT chatroom_id FROM chats WHERE id > $1 AND id <= $2
                     UNION SELECT id FROM chatrooms WHERE id > $3
                     UNION SELECT chatroom_id FROM chats
                       WHERE (edit_time IS NOT NULL OR delete_time IS NOT NULL)
                         AND coalesce(delete_time, edit_time) > $4)";
        let values: [Value; 4] = [from.chat.into(), to.into(), from.room.into(), changed_since.into()];
        let rows = snapshot.query_all_raw(self.sql(sql, values)).await?;
        let changed = rows.iter().map(|row| {
            Ok(ChangedRoom {
                chatroom_id: row.try_get_by_index(0)?,
                pair: [row.try_get_by_index(1)?, row.try_get_by_index(2)?],
                version: row.try_get_by_index(3)?,
                created: row.try_get_by_index(4)?,
            })
        });
        changed.collect()
    }

    async fn endings(&self, snapshot: &DatabaseTransaction, from: Ids) -> Result<Vec<Ending>, DbErr> {
        let sql = "SELECT chatroom_id, pair_low, pair_high FROM endings WHERE id > $1 ORDER BY id";
        let rows = snapshot.query_all_raw(self.sql(sql, [from.ending.into()])).await?;
        let ending = |row: &QueryResult| {
            let room: Option<ChatroomId> = row.try_get_by_index(0)?;
            let pair: [ChatterId; 2] = [row.try_get_by_index(1)?, row.try_get_by_index(2)?];
            Ok(room.map_or(Ending::Access(pair[0]), |room| Ending::Room(room, pair)))
        };
        rows.iter().map(ending).collect()
    }

    /// Records endings within the transaction that causes them, for instances that miss the message.
    pub(super) async fn record_endings(&self, tx: &DatabaseTransaction, endings: &[Ending]) -> Result<(), DbErr> {
        let now = self.clock_sql();
        for endings in endings.chunks(IDS_MAX) {
            let place = |at: usize| format!("(${}, ${}, ${}, {now})", 3 * at + 1, 3 * at + 2, 3 * at + 3);
            let places = (0..endings.len()).map(place).collect::<Vec<_>>().join(", ");
            let sql = format!("INSERT INTO endings (chatroom_id, pair_low, pair_high, create_time) VALUES {places}");
            let values = endings.iter().flat_map(|ending| -> [Value; 3] {
                let (room, [low, high]) = match *ending {
                    Ending::Room(room, pair) => (Some(room), pair),
                    Ending::Access(chatter) => (None, [chatter; 2]),
                };
                [room.into(), low.into(), high.into()]
            });
            tx.execute_raw(self.sql(&sql, values)).await?;
        }
        Ok(())
    }

    /// Deletes the endings that every instance has polled by now.
    pub(super) fn delete_old_endings(&self) -> Statement {
        let sql = format!("DELETE FROM endings WHERE create_time < {} - {}", self.clock_sql(), micros(ENDINGS_KEPT));
        self.sql(&sql, [])
    }
}

fn bounds_of(row: Option<QueryResult>) -> Result<Bounds, DbErr> {
    let row = row.ok_or_else(|| DbErr::RecordNotFound("the newest ids".to_owned()))?;
    Ok(Bounds {
        scanned: row.try_get_by_index(0)?,
        newest: Ids {
            chat: row.try_get_by_index(1)?,
            room: row.try_get_by_index(2)?,
            ending: row.try_get_by_index(3)?,
        },
        now: row.try_get_by_index(4)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(n: i64) -> Ids {
        Ids { chat: n, room: n, ending: n }
    }

    #[test]
    fn a_poll_begins_where_a_poll_before_any_late_commit_ended() {
        let start = Instant::now();
        let mut position = FeedPosition::new(start, ids(100_000), 0, EpochNumber::default());
        assert_eq!(position.from(), Ids { chat: 100_000 - 32_768, room: 99_936, ending: 99_936 });
        for (s, n) in [(1, 110_000), (5, 120_000), (9, 130_000), (15, 140_000)] {
            position.advance(start + Duration::from_secs(s), ids(n), 0, false);
        }
        assert_eq!(position.from(), ids(120_000), "at 15 s, the newest ids of 5 s");
    }

    #[test]
    fn a_poll_with_too_many_chats_is_resumed_and_then_begun_again() {
        let start = Instant::now();
        let mut position = FeedPosition::new(start, ids(100_000), 0, EpochNumber::default());
        let begin = position.from();
        position.advance(start, Ids { chat: 90_000, ..ids(7) }, 0, true);
        assert_eq!(position.from(), Ids { chat: 90_000, ..begin });
        position.advance(start, ids(100_100), 0, false);
        assert_eq!(position.from(), begin, "a commit may still come late");
    }
}
