//! What changed lately, whoever changed it: what an instance asks that may have missed something.
//!
//! The cost follows the traffic, not the rooms or sockets: what is new is found by ids, which grow, and what was edited or
//! deleted by an index of its own. An id is drawn before its commit, so each look begins where an older one has ended.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use sea_orm::{ConnectionTrait, DatabaseTransaction, DbErr, QueryResult, Statement, Value};

use super::{IDS_MAX, Store, StoreError};
use crate::domain::clock::micros;
use crate::domain::{ChatroomId, ChatterId, Version};

/// A commit is not later than this after its ids were drawn, or its change was timed.
const LATE_MAX: Duration = Duration::from_secs(10);
/// The most chats that one look passes over, and the fewest to which that is lowered where the database takes too long.
const PAGE: i64 = 200_000;
const PAGE_MIN: i64 = 1_000;
/// Before the first look nothing is known of commits under way: so many of the newest ids are looked at again. A batch draws
/// 512 of them at once.
const UNDER_WAY: Newest = Newest { chat: 64 * 512, room: 64, ending: 64 };
/// How long it is kept what has ended.
const ENDINGS_KEPT: Duration = Duration::from_secs(3_600);

/// How far an instance has looked.
#[derive(Debug)]
pub struct Watch {
    /// What was newest at some moments, the oldest of them longer ago than any commit takes.
    newest: VecDeque<(Instant, Newest)>,
    /// The chat up to which a look got that could not pass over all.
    page: Option<i64>,
    /// The database's clock at the last look, in microseconds.
    at: i64,
    /// The most chats that the next look passes over.
    most: i64,
}

/// The newest ids, as bare numbers: a look begins so many below them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Newest {
    chat: i64,
    room: i64,
    ending: i64,
}

/// What a look has found; most of it is known already.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Seen {
    pub rooms: Vec<Changed>,
    pub endings: Vec<Ending>,
    /// How many chats were passed over for that.
    pub passed: usize,
    /// There were too many of them for one look.
    pub has_more: bool,
}

/// A room that changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Changed {
    pub chatroom_id: ChatroomId,
    pub pair: [ChatterId; 2],
    pub version: Version,
    /// Whether it is the room itself that is new.
    pub made: bool,
}

/// What has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The room was deleted.
    Room(ChatroomId, [ChatterId; 2]),
    /// Sign-ins of the chatter have ended, or the account has.
    Access(ChatterId),
}

impl Watch {
    fn new(now: Instant, newest: Newest, at: i64) -> Self {
        let begin = Newest {
            chat: newest.chat - UNDER_WAY.chat,
            room: newest.room - UNDER_WAY.room,
            ending: newest.ending - UNDER_WAY.ending,
        };
        Self { newest: VecDeque::from([(now, begin)]), page: None, at, most: PAGE }
    }

    /// What is above may have been stored since the last look.
    fn from(&self) -> Newest {
        let oldest = self.newest.front().map(|(_, newest)| *newest).unwrap_or_default();
        Newest { chat: self.page.unwrap_or(oldest.chat), ..oldest }
    }

    fn looked(&mut self, now: Instant, newest: Newest, at: i64, has_more: bool) {
        self.page = has_more.then_some(newest.chat);
        (self.at, self.most) = (at, PAGE);
        self.newest.push_back((now, newest));
        while self.newest.get(1).is_some_and(|(at, _)| now.duration_since(*at) >= LATE_MAX) {
            self.newest.pop_front();
        }
    }
}

impl Store {
    /// Begins to watch: what is stored from now on is seen.
    pub async fn watch(&self) -> Result<Watch, StoreError> {
        let now = Instant::now();
        let sql = format!("SELECT (SELECT coalesce(max(id), 0) FROM chats), {}", self.others_newest_sql());
        let question = self.sql(&sql, []);
        let row = self.reads.run(async |db| db.query_one_raw(question).await).await?;
        let row = row.ok_or_else(|| DbErr::RecordNotFound("numbers".to_owned()))?;
        let newest = Newest { chat: row.try_get_by_index(0)?, ..others_newest(&row, 1)? };
        Ok(Watch::new(now, newest, row.try_get_by_index(3)?))
    }

    /// What changed since some time before the last look.
    pub async fn changed(&self, watch: &mut Watch) -> Result<Seen, StoreError> {
        let (from, asked, most) = (watch.from(), Instant::now(), watch.most);
        watch.most = (most / 2).max(PAGE_MIN);
        let bounds = format!(
            "SELECT count(*), coalesce(max(id), (SELECT coalesce(max(id), 0) FROM chats)), {}
             FROM (SELECT id FROM chats WHERE id > $1 ORDER BY id LIMIT $2) page",
            self.others_newest_sql()
        );
        let bounds = self.sql(&bounds, [from.chat.into(), most.into()]);
        let altered = watch.at - micros(LATE_MAX);
        let (newest, at, has_more, seen) = self
            .reads
            .run(async |db| {
                let snapshot = self.snapshot(db).await?;
                let row = snapshot.query_one_raw(bounds).await?;
                let row = row.ok_or_else(|| DbErr::RecordNotFound("numbers".to_owned()))?;
                let (count, chat): (i64, i64) = (row.try_get_by_index(0)?, row.try_get_by_index(1)?);
                let newest = Newest { chat, ..others_newest(&row, 2)? };
                let has_more = count == most;
                let rooms = self.rooms_changed(&snapshot, from, chat, altered).await?;
                let endings = self.endings(&snapshot, from).await?;
                snapshot.commit().await?;
                Ok((
                    newest,
                    row.try_get_by_index(4)?,
                    has_more,
                    Seen { rooms, endings, passed: usize::try_from(count).unwrap_or(0), has_more },
                ))
            })
            .await?;
        watch.looked(asked, newest, at, has_more);
        Ok(seen)
    }

    /// The newest room and ending, and the time.
    fn others_newest_sql(&self) -> String {
        let now = self.now_sql();
        format!("(SELECT coalesce(max(id), 0) FROM chatrooms), (SELECT coalesce(max(id), 0) FROM endings), {now}")
    }

    async fn rooms_changed(
        &self,
        snapshot: &DatabaseTransaction,
        from: Newest,
        to: i64,
        altered: i64,
    ) -> Result<Vec<Changed>, DbErr> {
        let sql = "SELECT r.id, r.pair_low, r.pair_high, r.version, r.id > $3 FROM chatrooms r WHERE r.id IN (
                     SELECT chatroom_id FROM chats WHERE id > $1 AND id <= $2
                     UNION SELECT id FROM chatrooms WHERE id > $3
                     UNION SELECT chatroom_id FROM chats
                       WHERE (edit_time IS NOT NULL OR delete_time IS NOT NULL) AND coalesce(delete_time, edit_time) > $4)";
        let values: [Value; 4] = [from.chat.into(), to.into(), from.room.into(), altered.into()];
        let rows = snapshot.query_all_raw(self.sql(sql, values)).await?;
        let changed = rows.iter().map(|row| {
            Ok(Changed {
                chatroom_id: row.try_get_by_index(0)?,
                pair: [row.try_get_by_index(1)?, row.try_get_by_index(2)?],
                version: row.try_get_by_index(3)?,
                made: row.try_get_by_index(4)?,
            })
        });
        changed.collect()
    }

    async fn endings(&self, snapshot: &DatabaseTransaction, from: Newest) -> Result<Vec<Ending>, DbErr> {
        let sql = "SELECT chatroom_id, pair_low, pair_high FROM endings WHERE id > $1 ORDER BY id";
        let rows = snapshot.query_all_raw(self.sql(sql, [from.ending.into()])).await?;
        let ending = |row: &QueryResult| {
            let room: Option<ChatroomId> = row.try_get_by_index(0)?;
            let pair: [ChatterId; 2] = [row.try_get_by_index(1)?, row.try_get_by_index(2)?];
            Ok(room.map_or(Ending::Access(pair[0]), |room| Ending::Room(room, pair)))
        };
        rows.iter().map(ending).collect()
    }

    /// Notes what ends with this transaction, for instances that cannot be told.
    pub(super) async fn note_endings(&self, tx: &DatabaseTransaction, endings: &[Ending]) -> Result<(), DbErr> {
        let now = self.now_sql();
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

    /// Takes away the notes that every instance has seen by now.
    pub(super) fn old_endings(&self) -> Statement {
        let sql = format!("DELETE FROM endings WHERE create_time < {} - {}", self.now_sql(), micros(ENDINGS_KEPT));
        self.sql(&sql, [])
    }
}

fn others_newest(row: &QueryResult, at: usize) -> Result<Newest, DbErr> {
    Ok(Newest { chat: 0, room: row.try_get_by_index(at)?, ending: row.try_get_by_index(at + 1)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn newest(n: i64) -> Newest {
        Newest { chat: n, room: n, ending: n }
    }

    #[test]
    fn a_look_begins_where_one_has_ended_that_no_commit_is_later_than() {
        let start = Instant::now();
        let mut watch = Watch::new(start, newest(100_000), 0);
        assert_eq!(watch.from(), Newest { chat: 100_000 - 32_768, room: 99_936, ending: 99_936 });
        for (s, n) in [(1, 110_000), (5, 120_000), (9, 130_000), (15, 140_000)] {
            watch.looked(start + Duration::from_secs(s), newest(n), 0, false);
        }
        assert_eq!(watch.from(), newest(120_000), "at 15 s, what was newest at 5 s");
    }

    #[test]
    fn what_is_too_much_for_one_look_is_gone_on_with_and_then_begun_again() {
        let start = Instant::now();
        let mut watch = Watch::new(start, newest(100_000), 0);
        let begin = watch.from();
        watch.looked(start, Newest { chat: 90_000, ..newest(7) }, 0, true);
        assert_eq!(watch.from(), Newest { chat: 90_000, ..begin });
        watch.looked(start, newest(100_100), 0, false);
        assert_eq!(watch.from(), begin, "a commit may still come late");
    }
}
