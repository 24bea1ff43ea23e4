//! Unread counts and the states of rooms, always together with the version at which they were counted.
//!
//! The queries look up rooms and chatters one by one in subqueries. Joined to thousands of member rows, PostgreSQL
//! would rather read the whole table, and the cost would grow with the number of all rooms.

use std::collections::HashMap;

use sea_orm::{ConnectionTrait, DbErr, QueryResult, Statement, Value};

use super::sql::{IDS_MAX, id_list};
use super::{Store, StoreError};
use crate::domain::chatroom::Watermarks;
use crate::domain::{ChatroomId, ChatterId, Seq, Version};

/// The number of unread chats of member row `m`; it stops at 1,000, so that no count takes long.
const UNREAD_OF_M: &str =
    "(SELECT count(*) FROM (SELECT 1 FROM chats c WHERE c.chatroom_id = m.chatroom_id AND c.seq > m.read_seq
      AND c.sender_id <> m.chatter_id AND c.delete_time IS NULL LIMIT 1000) unread)";

/// A room as a device socket lists it after signing in; all from one snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoomState {
    /// Pages are ordered by it, ascending.
    pub id: ChatroomId,
    /// The room's version in the snapshot; the socket's cursor begins here.
    pub version: Version,
    /// The newest chat's `seq`; 0 in a room without chats.
    pub last_seq: Seq,
    /// Chats of the other person above the viewer's `read_seq`, counted up to 1,000.
    pub unread_count: i64,
    /// The viewer's, then the other person's unless they hide their receipts.
    pub receipts: Vec<(ChatterId, Watermarks)>,
}

/// Unread counts, with the state of the room and its viewer in the same snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unread {
    /// The viewer's own.
    pub marks: Watermarks,
    /// The room's version in the snapshot.
    pub version: Version,
    /// The newest chat's `seq`; 0 in a room without chats.
    pub last_seq: Seq,
    /// Chats of the other person above the viewer's `read_seq`, counted up to 1,000.
    pub unread_count: i64,
    /// Of all the viewer's rooms.
    pub unread_total: i64,
}

impl Store {
    /// One page of the viewer's rooms by id.
    pub async fn room_states(
        &self,
        viewer: ChatterId,
        after: Option<ChatroomId>,
        limit: u64,
    ) -> Result<Vec<RoomState>, StoreError> {
        let sql = format!(
            "SELECT m.chatroom_id, r.version, r.last_seq,
               CASE WHEN r.last_seq > m.read_seq THEN {UNREAD_OF_M} ELSE 0 END,
               m.delivered_seq, m.read_seq, o.chatter_id, o.delivered_seq, o.read_seq,
               (SELECT p.show_receipts FROM chatters p WHERE p.id = o.chatter_id)
             FROM (SELECT chatroom_id, chatter_id, delivered_seq, read_seq FROM members
                   WHERE chatter_id = $1 AND chatroom_id > $2 ORDER BY chatroom_id LIMIT $3) m
               JOIN chatrooms r ON r.id = m.chatroom_id
               LEFT JOIN members o ON o.chatroom_id = m.chatroom_id AND o.chatter_id <> m.chatter_id
             ORDER BY m.chatroom_id"
        );
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows =
            self.rows(self.sql(&sql, [viewer.into(), after.map_or(0, ChatroomId::get).into(), limit.into()])).await?;
        Ok(rows.iter().map(|row| state_of(row, viewer)).collect::<Result<_, _>>()?)
    }

    /// The number of unread chats in all the viewer's rooms.
    pub async fn unread_total(&self, viewer: ChatterId) -> Result<i64, StoreError> {
        let row = self.rows(self.sql(&format!("SELECT {}", total_sql()), [viewer.into()])).await?.pop();
        let missing = || DbErr::RecordNotFound("the sum of unread chats".to_owned());
        Ok(row.ok_or_else(missing)?.try_get_by_index(0)?)
    }

    /// The unread counts of each of these rooms that the viewer is in, and of all their rooms. A list longer than one
    /// statement takes is counted in parts, one after the other.
    pub async fn unread(
        &self,
        viewer: ChatterId,
        chatrooms: &[ChatroomId],
    ) -> Result<Vec<(ChatroomId, Unread)>, StoreError> {
        let mut counts = Vec::with_capacity(chatrooms.len());
        for ids in chatrooms.chunks(IDS_MAX) {
            let (places, of_ids) = id_list(ids, 1);
            let sql = format!(
                "SELECT r.id, r.version, r.last_seq, {UNREAD_OF_M}, {}, m.delivered_seq, m.read_seq
                 FROM members m JOIN chatrooms r ON r.id = m.chatroom_id
                 WHERE m.chatter_id = $1 AND m.chatroom_id IN ({places})",
                total_sql()
            );
            let statement = self.sql(&sql, std::iter::once(Value::from(viewer)).chain(of_ids));
            for row in &self.rows(statement).await? {
                counts.push(unread_of(row)?);
            }
        }
        Ok(counts)
    }
}

/// The number of unread chats in all rooms of `$1`; counts only the rooms that are not read to their end.
fn total_sql() -> String {
    format!(
        "(SELECT CAST(coalesce(sum(n), 0) AS BIGINT) FROM (SELECT {UNREAD_OF_M} AS n
          FROM members m WHERE m.chatter_id = $1
            AND m.read_seq < (SELECT r.last_seq FROM chatrooms r WHERE r.id = m.chatroom_id)) counts)"
    )
}

fn unread_of(row: &QueryResult) -> Result<(ChatroomId, Unread), DbErr> {
    let unread = Unread {
        marks: Watermarks { delivered_seq: row.try_get_by_index(5)?, read_seq: row.try_get_by_index(6)? },
        version: row.try_get_by_index(1)?,
        last_seq: row.try_get_by_index(2)?,
        unread_count: row.try_get_by_index(3)?,
        unread_total: row.try_get_by_index(4)?,
    };
    Ok((row.try_get_by_index(0)?, unread))
}

fn state_of(row: &QueryResult, viewer: ChatterId) -> Result<RoomState, DbErr> {
    let own = Watermarks { delivered_seq: row.try_get_by_index(4)?, read_seq: row.try_get_by_index(5)? };
    let mut receipts = vec![(viewer, own)];
    if let Some(other) = row.try_get_by_index::<Option<ChatterId>>(6)?
        && row.try_get_by_index::<Option<bool>>(9)? == Some(true)
    {
        let marks = Watermarks { delivered_seq: row.try_get_by_index(7)?, read_seq: row.try_get_by_index(8)? };
        receipts.push((other, marks));
    }
    Ok(RoomState {
        id: row.try_get_by_index(0)?,
        version: row.try_get_by_index(1)?,
        last_seq: row.try_get_by_index(2)?,
        unread_count: row.try_get_by_index(3)?,
        receipts,
    })
}

/// The number of unread chats in each of these rooms.
pub(super) async fn unread_counts(
    db: &impl ConnectionTrait,
    viewer: ChatterId,
    ids: &[ChatroomId],
) -> Result<HashMap<ChatroomId, i64>, DbErr> {
    let (places, of_ids) = id_list(ids, 1);
    let sql = format!(
        "SELECT m.chatroom_id, {UNREAD_OF_M} FROM members m WHERE m.chatter_id = $1 AND m.chatroom_id IN ({places})"
    );
    let values = std::iter::once(Value::from(viewer)).chain(of_ids);
    let rows = db.query_all_raw(Statement::from_sql_and_values(db.get_database_backend(), sql, values)).await?;
    rows.iter().map(|row| Ok((row.try_get_by_index(0)?, row.try_get_by_index(1)?))).collect()
}
