//! Which rooms changed lately, whoever changed them: what an instance asks when it may have missed something.
//!
//! The cost follows the traffic, not the rooms: chats are found by their ids, which grow, and changed ones by an index of
//! their own. A chat's id is drawn before its commit, so each look begins where an older one has ended.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use sea_orm::{ConnectionTrait, DbErr, Value};

use super::{Store, StoreError};
use crate::domain::clock::micros;
use crate::domain::{ChatId, ChatroomId, ChatterId, Version};

/// A commit is not later than this after its ids were drawn, or its change was timed.
const LATE_MAX: Duration = Duration::from_secs(10);

/// How far an instance has looked.
#[derive(Debug, Default)]
pub struct Watch {
    /// The newest chat at some moments, the oldest of them longer ago than any commit takes.
    newest: VecDeque<(Instant, ChatId)>,
}

/// A room that changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Changed {
    pub chatroom_id: ChatroomId,
    pub pair: [ChatterId; 2],
    pub version: Version,
}

impl Watch {
    /// Chats above this one may have been stored since the last look.
    fn from(&self) -> Option<ChatId> {
        self.newest.front().map(|(_, id)| *id)
    }

    fn looked(&mut self, now: Instant, newest: ChatId) {
        self.newest.push_back((now, newest));
        while self.newest.get(1).is_some_and(|(at, _)| now.duration_since(*at) >= LATE_MAX) {
            self.newest.pop_front();
        }
    }
}

impl Store {
    /// The rooms that changed since some time before the last look; none at the first.
    pub async fn changed(&self, watch: &mut Watch) -> Result<Vec<Changed>, StoreError> {
        let (from, asked) = (watch.from(), Instant::now());
        let newest = self.sql("SELECT coalesce(max(id), 0) FROM chats", []);
        let since = format!("({} - {})", self.now_sql(), micros(LATE_MAX * 2));
        let rooms = format!(
            "SELECT r.id, r.pair_low, r.pair_high, r.version FROM chatrooms r WHERE r.id IN (
               SELECT chatroom_id FROM chats WHERE id > $1
               UNION SELECT chatroom_id FROM chats
                 WHERE (edit_time IS NOT NULL OR delete_time IS NOT NULL) AND coalesce(delete_time, edit_time) > {since})"
        );
        let rooms = self.sql(&rooms, [Value::from(from.unwrap_or(ChatId::MAX))]);
        let (newest, rows) = self
            .reads
            .run(async |db| {
                let newest = db.query_one_raw(newest.clone()).await?;
                let newest: ChatId =
                    newest.ok_or_else(|| DbErr::RecordNotFound("a number".to_owned()))?.try_get_by_index(0)?;
                Ok((newest, db.query_all_raw(rooms.clone()).await?))
            })
            .await?;
        watch.looked(asked, newest);
        let changed = rows.iter().map(|row| {
            Ok::<_, DbErr>(Changed {
                chatroom_id: row.try_get_by_index(0)?,
                pair: [row.try_get_by_index(1)?, row.try_get_by_index(2)?],
                version: row.try_get_by_index(3)?,
            })
        });
        Ok(changed.collect::<Result<_, _>>()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_begins_where_one_has_ended_that_no_commit_is_later_than() {
        let (mut watch, start) = (Watch::default(), Instant::now());
        assert_eq!(watch.from(), None);
        for (s, newest) in [(0, 10), (5, 20), (9, 30), (15, 40)] {
            watch.looked(start + Duration::from_secs(s), newest);
        }
        assert_eq!(watch.from(), Some(20), "at 15 s, what was newest at 5 s");
    }
}
