//! Which chatters see the presence of which, and when a chatter was last seen.

use std::collections::HashSet;
use std::time::Duration;

use sea_orm::{ConnectionTrait, DbBackend, QueryResult, TryGetable};

use super::sql::{IDS_MAX, id_list};
use super::{Store, StoreError};
use crate::domain::ChatterId;
use crate::domain::clock::{Micros, micros};

/// The most chatters whose rooms one statement reads; each may have thousands of rooms.
const WATCHED_MAX: usize = 64;

impl Store {
    /// The watchers of these chatters' presence: pairs of such a chatter and the other person of a room. Chatters who
    /// hide their presence have none, and notes to self add none.
    pub async fn watchers_of(&self, chatters: &[ChatterId]) -> Result<Vec<(ChatterId, ChatterId)>, StoreError> {
        let mut pairs = Vec::new();
        for ids in chatters.chunks(WATCHED_MAX) {
            let (places, values) = id_list(ids, 0);
            let sql = format!(
                "WITH shows AS MATERIALIZED (SELECT id FROM chatters WHERE id IN ({places}) AND show_last_seen)
                 SELECT s.id, r.pair_high FROM shows s JOIN chatrooms r ON r.pair_low = s.id WHERE r.pair_high <> s.id
                 UNION ALL
                 SELECT s.id, r.pair_low FROM shows s JOIN chatrooms r ON r.pair_high = s.id WHERE r.pair_low <> s.id"
            );
            pairs.append(&mut pairs_of(&self.rows(self.sql(&sql, values)).await?)?);
        }
        Ok(pairs)
    }

    /// Records that these chatters were last seen this long ago, by the database's clock, unless a later time is
    /// recorded. Returns the recorded times, without those of deleted accounts.
    pub async fn record_last_seen(
        &self,
        chatters: &[ChatterId],
        ago: Duration,
    ) -> Result<Vec<(ChatterId, Micros)>, StoreError> {
        let mut seen = Vec::with_capacity(chatters.len());
        let time = format!("({} - {})", self.clock_sql(), micros(ago));
        for ids in chatters.chunks(IDS_MAX) {
            let (places, values) = id_list(ids, 0);
            // Rows are locked in id order, so that two instances do not deadlock.
            let lock = if self.backend == DbBackend::Postgres { "ORDER BY id FOR NO KEY UPDATE" } else { "" };
            let sql = format!(
                "WITH here AS (SELECT id FROM chatters WHERE id IN ({places}) AND delete_time IS NULL {lock})
                 UPDATE chatters SET last_seen = CASE WHEN last_seen > {time} THEN last_seen ELSE {time} END
                 WHERE id IN (SELECT id FROM here) RETURNING id, last_seen"
            );
            let statement = self.sql(&sql, values);
            let rows = self.writes.run(async |db| db.query_all_raw(statement).await).await?;
            seen.extend(pairs_of(&rows)?.into_iter().map(|(id, time)| (id, Micros(time))));
        }
        Ok(seen)
    }

    /// When these chatters were last seen; a chatter who never connected is left out.
    pub async fn last_seen(&self, chatters: &[ChatterId]) -> Result<Vec<(ChatterId, Micros)>, StoreError> {
        let mut seen = Vec::with_capacity(chatters.len());
        for ids in chatters.chunks(IDS_MAX) {
            let (places, values) = id_list(ids, 0);
            let sql = format!("SELECT id, last_seen FROM chatters WHERE id IN ({places}) AND last_seen IS NOT NULL");
            let rows = self.rows(self.sql(&sql, values)).await?;
            seen.extend(pairs_of(&rows)?.into_iter().map(|(id, time)| (id, Micros(time))));
        }
        Ok(seen)
    }

    /// Which of these chatters share a room with the viewer.
    pub async fn sharing(&self, viewer: ChatterId, ids: &[ChatterId]) -> Result<HashSet<ChatterId>, StoreError> {
        let mut shared = HashSet::new();
        for ids in ids.chunks(IDS_MAX) {
            let (places, of_ids) = id_list(ids, 1);
            let sql = format!(
                "SELECT pair_high FROM chatrooms WHERE pair_low = $1 AND pair_high IN ({places})
                 UNION ALL SELECT pair_low FROM chatrooms WHERE pair_high = $1 AND pair_low IN ({places})"
            );
            let statement = self.sql(&sql, std::iter::once(viewer.into()).chain(of_ids));
            for row in self.rows(statement).await? {
                shared.insert(row.try_get_by_index(0)?);
            }
        }
        Ok(shared)
    }
}

/// The rows of a query with two columns.
fn pairs_of<A: TryGetable, B: TryGetable>(rows: &[QueryResult]) -> Result<Vec<(A, B)>, StoreError> {
    rows.iter().map(|row| Ok((row.try_get_by_index(0)?, row.try_get_by_index(1)?))).collect()
}
