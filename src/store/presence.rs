//! Who may know whether a chatter is there, and when somebody was last seen.

use std::collections::HashSet;
use std::time::Duration;

use sea_orm::{ConnectionTrait, DbBackend, QueryResult, TryGetable};

use super::{IDS_MAX, Store, StoreError, id_list};
use crate::domain::ChatterId;
use crate::domain::clock::{Micros, micros};

/// Chatters whose rooms one statement reads: each may have thousands.
const WATCHED_MAX: usize = 64;

impl Store {
    /// Who is to be told when one of these comes or goes: pairs of such a chatter and the other person of a room, without
    /// chatters who keep it to themselves. A room with oneself has nobody to tell.
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
            let statement = self.sql(&sql, values);
            let rows = self.rows(statement).await?;
            pairs.append(&mut both(&rows)?);
        }
        Ok(pairs)
    }

    /// These chatters were here until so long ago, by the database's clock, or until a later time that is known; deleted
    /// ones are left out. Gives what stands there now.
    pub async fn seen(&self, chatters: &[ChatterId], ago: Duration) -> Result<Vec<(ChatterId, Micros)>, StoreError> {
        let mut seen = Vec::with_capacity(chatters.len());
        let time = format!("({} - {})", self.now_sql(), micros(ago));
        for ids in chatters.chunks(IDS_MAX) {
            let (places, values) = id_list(ids, 0);
            // Locked in one order, so that two instances do not wait for each other.
            let lock = if self.backend == DbBackend::Postgres { "ORDER BY id FOR NO KEY UPDATE" } else { "" };
            let sql = format!(
                "WITH here AS (SELECT id FROM chatters WHERE id IN ({places}) AND delete_time IS NULL {lock})
                 UPDATE chatters SET last_seen = CASE WHEN last_seen > {time} THEN last_seen ELSE {time} END
                 WHERE id IN (SELECT id FROM here) RETURNING id, last_seen"
            );
            let statement = self.sql(&sql, values);
            let rows = self.writes.run(async |db| db.query_all_raw(statement).await).await?;
            seen.extend(both(&rows)?.into_iter().map(|(id, time)| (id, Micros(time))));
        }
        Ok(seen)
    }

    /// When these chatters were last seen; without those who never were.
    pub async fn last_seen(&self, chatters: &[ChatterId]) -> Result<Vec<(ChatterId, Micros)>, StoreError> {
        let mut seen = Vec::with_capacity(chatters.len());
        for ids in chatters.chunks(IDS_MAX) {
            let (places, values) = id_list(ids, 0);
            let sql = format!("SELECT id, last_seen FROM chatters WHERE id IN ({places}) AND last_seen IS NOT NULL");
            let statement = self.sql(&sql, values);
            let rows = self.rows(statement).await?;
            seen.extend(both(&rows)?.into_iter().map(|(id, time)| (id, Micros(time))));
        }
        Ok(seen)
    }

    /// Which of these share a room with the viewer.
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

/// Rows of two columns.
fn both<A: TryGetable, B: TryGetable>(rows: &[QueryResult]) -> Result<Vec<(A, B)>, StoreError> {
    rows.iter().map(|row| Ok((row.try_get_by_index(0)?, row.try_get_by_index(1)?))).collect()
}
