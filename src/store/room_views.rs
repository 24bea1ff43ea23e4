//! Rooms as their viewer sees them: one, or pages of the list, bounded in rows and in bytes.

use std::collections::HashMap;

use ::entity::chatroom::{Entity, Model};
use sea_orm::{ConnectionTrait, DbErr, FromQueryResult, Statement, Value};

use super::bytes::{CONTENT_BYTES, Length, PAGE_BYTES, fitting, lengths_of};
use super::chats::chats_of;
use super::rows::{chat_in, chatroom_of};
use super::sql::{columns, id_list, select_chats};
use super::transaction::begin_snapshot;
use super::unread::unread_counts;
use super::{Store, StoreError};
use crate::domain::chat::Chat;
use crate::domain::chatroom::{Chatroom, Watermarks};
use crate::domain::clock::Micros;
use crate::domain::{ChatId, ChatroomId, ChatterId};

/// The bytes of a room with its two chatters, beside its last chat.
const ROOM_BYTES: usize = 1_024;

/// The unit of `chatrooms.listed`, by which lists are ordered first: a minute in microseconds.
const LISTED_US: i64 = 60_000_000;

/// A room as its viewer sees it.
#[derive(Clone, Debug)]
pub struct RoomView {
    /// What is the same for both participants.
    pub room: Chatroom,
    /// The newest chat that is not deleted.
    pub last_chat: Option<Chat>,
    /// Chats of the other person above the viewer's `read_seq`, counted up to 1,000.
    pub unread_count: i64,
    /// Without the other person's if they hide their receipts.
    pub receipts: HashMap<ChatterId, Watermarks>,
}

/// Where a page of rooms begins. The default is the beginning of the list.
///
/// The pages of a list are read one after the other, and a room that gets a chat meanwhile moves to the front, out of
/// the pages that are still to come. So a cursor remembers the newest chat at the beginning; behind the last page
/// follow the rooms that have moved since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoomCursor {
    /// The last room of the page before: its newest chat, and its id. None at the beginning.
    pub after: Option<(Micros, ChatroomId)>,
    /// Only rooms whose newest chat is later. 0 lists all of them.
    pub since: Micros,
    /// The newest chat of all the viewer's rooms at the beginning; none if it is not known.
    pub newest: Option<Micros>,
}

impl Default for RoomCursor {
    fn default() -> Self {
        Self { after: None, since: Micros(0), newest: None }
    }
}

/// A page of rooms.
#[derive(Clone, Debug)]
pub struct RoomsPage {
    /// Newest chat first; fewer than the limit where their last chats are large.
    pub rooms: Vec<RoomView>,
    /// Where the next page begins; none at the end.
    pub next: Option<RoomCursor>,
}

impl Store {
    /// One room as its viewer sees it; `None` if it was deleted.
    pub async fn room_view(&self, viewer: ChatterId, id: ChatroomId) -> Result<Option<RoomView>, StoreError> {
        let sql = format!("SELECT {} FROM chatrooms r WHERE r.id = $1", columns::<Entity>("r"));
        let statement = self.sql(&sql, [id.into()]);
        Ok(self.room_views(viewer, statement).await?.0.pop())
    }

    /// One page of the viewer's rooms, newest chat first.
    pub async fn rooms_of(&self, viewer: ChatterId, from: RoomCursor, limit: u64) -> Result<RoomsPage, StoreError> {
        let (time, id) = from.after.unwrap_or((Micros(i64::MAX), ChatroomId::new(i64::MAX)));
        // The minutes come in the order of an index, so the rows of a few minutes are read and sorted.
        let of = |pair: &str| {
            let rooms = format!(
                "FROM chatrooms WHERE {pair} AND listed <= $2 / {LISTED_US} AND (last_chat_time, id) < ($2, $3)
                   AND listed >= $5 / {LISTED_US} AND last_chat_time > $5"
            );
            format!(
                "SELECT {} {rooms} AND listed >= (
                   SELECT coalesce(min(page.listed), 0)
                   FROM (SELECT listed {rooms} ORDER BY listed DESC LIMIT $4) page)",
                columns::<Entity>("chatrooms")
            )
        };
        // Notes have the same chatter twice.
        let (low, high) = (of("pair_low = $1"), of("pair_high = $1 AND pair_low <> $1"));
        let sql = format!("{low} UNION ALL {high} ORDER BY last_chat_time DESC, id DESC LIMIT $4");
        let rows_max = i64::try_from(limit).unwrap_or(i64::MAX);
        let values: [Value; 5] = [viewer.into(), time.0.into(), id.into(), rows_max.into(), from.since.0.into()];
        let (rooms, found) = self.room_views(viewer, self.sql(&sql, values)).await?;
        let next = if found > rooms.len() || found as u64 == limit {
            let first = rooms.first().map_or(from.since, |first| first.room.last_chat_time);
            let newest = if from.after.is_none() { Some(first) } else { from.newest };
            let after = rooms.last().map(|last| (last.room.last_chat_time, last.room.id));
            after.map(|after| RoomCursor { after: Some(after), newest, ..from })
        } else if let (Some(_), Some(newest)) = (from.after, from.newest)
            && self.has_rooms_since(viewer, newest).await?
        {
            Some(RoomCursor { since: newest, ..RoomCursor::default() })
        } else {
            None
        };
        Ok(RoomsPage { rooms, next })
    }

    /// Whether any of the viewer's rooms has a later newest chat.
    async fn has_rooms_since(&self, viewer: ChatterId, since: Micros) -> Result<bool, StoreError> {
        let of = |side: &str| {
            format!(
                "SELECT 1 AS found FROM chatrooms
                 WHERE {side} = $1 AND listed >= $2 / {LISTED_US} AND last_chat_time > $2"
            )
        };
        let sql = format!("{} UNION ALL {} LIMIT 1", of("pair_low"), of("pair_high"));
        Ok(self.row(self.sql(&sql, [viewer.into(), since.0.into()])).await?.is_some())
    }

    /// The first of the rooms that a statement selects as the viewer sees them, as many as fit into a page, all from
    /// one snapshot; and how many the statement selects.
    async fn room_views(&self, viewer: ChatterId, rooms: Statement) -> Result<(Vec<RoomView>, usize), StoreError> {
        self.reads
            .run(async |db| {
                let snapshot = begin_snapshot(db).await?;
                let rows = snapshot.query_all_raw(rooms).await?;
                let found = rows.len();
                let rows = rows.iter().map(|row| Model::from_query_result(row, "")).collect::<Result<Vec<_>, _>>()?;
                let ids: Vec<ChatroomId> = rows.iter().map(|row| row.id.into()).collect();
                let mut last = last_chats(&snapshot, &ids).await?;
                let ids = &ids[..last.fit];
                let mut receipts = watermarks(&snapshot, viewer, ids).await?;
                let mut unread = unread_counts(&snapshot, viewer, ids).await?;
                snapshot.commit().await?;
                let view = |row: Model| {
                    let room = chatroom_of(row);
                    let last_chat = last.chats.remove(&room.id).map(|chat| chat_in(&room, chat));
                    let unread_count = unread.remove(&room.id).unwrap_or(0);
                    let receipts = receipts.remove(&room.id).unwrap_or_default();
                    RoomView { room, last_chat, unread_count, receipts }
                };
                Ok((rows.into_iter().take(last.fit).map(view).collect(), found))
            })
            .await
    }
}

/// The last chats of the first rooms.
struct LastChats {
    /// How many of the rooms fit into a page with their last chats.
    fit: usize,
    chats: HashMap<ChatroomId, ::entity::chat::Model>,
}

/// The newest chat of each room that is not deleted, for as many of the rooms as fit into a page.
async fn last_chats(db: &impl ConnectionTrait, ids: &[ChatroomId]) -> Result<LastChats, DbErr> {
    let (places, values) = id_list(ids, 0);
    // Chats are looked up one by one: as a join, PostgreSQL would rather read all chats there are.
    let sql = format!(
        "SELECT last.id, (SELECT {CONTENT_BYTES} FROM chats WHERE id = last.id), last.room FROM (
           SELECT r.id AS room, (SELECT c.id FROM chats c WHERE c.chatroom_id = r.id AND c.delete_time IS NULL
                                 ORDER BY c.seq DESC LIMIT 1) AS id
           FROM chatrooms r WHERE r.id IN ({places})) last
         WHERE last.id IS NOT NULL"
    );
    let statement = |sql, values| Statement::from_sql_and_values(db.get_database_backend(), sql, values);
    let rows = db.query_all_raw(statement(sql, values)).await?;
    let mut lengths: HashMap<ChatroomId, Length> = HashMap::new();
    for (row, length) in rows.iter().zip(lengths_of(&rows)?) {
        lengths.insert(row.try_get_by_index(2)?, length);
    }
    let fit = fitting(PAGE_BYTES, ids.iter().map(|id| lengths.get(id).map_or(0, |chat| chat.bytes) + ROOM_BYTES));
    let chat_ids: Vec<ChatId> =
        ids[..fit].iter().filter_map(|id| lengths.get(id)).map(|chat| ChatId::new(chat.key)).collect();
    if chat_ids.is_empty() {
        return Ok(LastChats { fit, chats: HashMap::new() });
    }
    let (places, values) = id_list(&chat_ids, 0);
    let rows = chats_of(db, statement(select_chats(&format!("id IN ({places})")), values));
    let chats = rows.await?.into_iter().map(|chat| (chat.chatroom_id.into(), chat)).collect();
    Ok(LastChats { fit, chats })
}

/// The watermarks of both chatters of each room, without those of a chatter who hides them.
async fn watermarks(
    db: &impl ConnectionTrait,
    viewer: ChatterId,
    ids: &[ChatroomId],
) -> Result<HashMap<ChatroomId, HashMap<ChatterId, Watermarks>>, DbErr> {
    let (places, of_ids) = id_list(ids, 1);
    let sql = format!(
        "SELECT m.chatroom_id, m.chatter_id, m.delivered_seq, m.read_seq
         FROM members m WHERE m.chatroom_id IN ({places})
         AND (m.chatter_id = $1 OR (SELECT c.show_receipts FROM chatters c WHERE c.id = m.chatter_id))"
    );
    let values = std::iter::once(viewer.into()).chain(of_ids);
    let rows = db.query_all_raw(Statement::from_sql_and_values(db.get_database_backend(), sql, values)).await?;
    let mut rooms: HashMap<ChatroomId, HashMap<ChatterId, Watermarks>> = HashMap::new();
    for row in rows {
        let marks = Watermarks { delivered_seq: row.try_get_by_index(2)?, read_seq: row.try_get_by_index(3)? };
        rooms.entry(row.try_get_by_index(0)?).or_default().insert(row.try_get_by_index(1)?, marks);
    }
    Ok(rooms)
}
