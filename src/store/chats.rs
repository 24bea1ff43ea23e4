//! Reading chats: one, the history in pages, search, and what changed since a version.
//!
//! Every list is a keyset page: a short query by `seq` or `version`, never an open statement.

use std::collections::HashMap;

use ::entity::chat::{Column, Entity, Model};
use sea_orm::{
    ColumnTrait, ConnectionTrait, DbBackend, DbErr, EntityTrait, FromQueryResult, QueryFilter, QueryOrder, QueryResult,
    QuerySelect, Value, sqlx,
};

use super::writer::{Append, ClientKey, Known};
use super::{Store, StoreError, columns};
use crate::domain::chat::Chat;
use crate::domain::chatroom::Chatroom;
use crate::domain::clock::Micros;
use crate::domain::{ChatId, ChatroomId, ChatterId, Seq, Version};

/// How many chats one search query looks at.
const SEARCH_WINDOW: i64 = 20_000;

/// Which part of a room's history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Page {
    /// Those above this seq, the oldest first.
    After(Seq),
    /// The newest ones below this seq.
    Before(Seq),
    /// Those on both sides of this seq, itself included.
    Around(Seq),
}

/// What changed in a room above a version; rows and head come from one snapshot.
#[derive(Clone, Debug)]
pub struct Changes {
    /// By version; a tombstone for a deleted chat.
    pub chats: Vec<Chat>,
    /// The last row's version while there is more, else the room's.
    pub version: Version,
    pub has_more: bool,
}

/// What one search query found.
#[derive(Clone, Debug)]
pub struct Found {
    /// Newest first.
    pub chats: Vec<Chat>,
    /// Where to search on: below this seq; none when the room is searched through.
    pub before: Option<Seq>,
}

impl Store {
    /// A chat and its room, tombstones included; whether the asker may see it is the caller's question.
    pub async fn chat(&self, id: ChatId) -> Result<Option<(Chat, Chatroom)>, StoreError> {
        self.reads
            .run(async |db| {
                let Some(row) = Entity::find_by_id(id.get()).one(db).await? else { return Ok(None) };
                let Some(room) = ::entity::chatroom::Entity::find_by_id(row.chatroom_id).one(db).await? else {
                    return Ok(None);
                };
                let room = super::chatrooms::chatroom_of(room);
                let receiver = room.other(row.sender_id.into());
                Ok(Some((chat_of(row, receiver), room)))
            })
            .await
    }

    /// One page of the history, ascending by seq, without tombstones.
    pub async fn history(&self, room: &Chatroom, page: Page, limit: u64) -> Result<Vec<Chat>, StoreError> {
        let of_room = || Entity::find().filter(Column::ChatroomId.eq(room.id)).filter(Column::DeleteTime.is_null());
        let up = |from: Seq, n: u64| of_room().filter(Column::Seq.gt(from)).order_by_asc(Column::Seq).limit(n);
        let down = |to: Seq, n: u64| of_room().filter(Column::Seq.lt(to)).order_by_desc(Column::Seq).limit(n);
        let rows = self
            .reads
            .run(async move |db| match page {
                Page::After(seq) => up(seq, limit).all(db).await,
                Page::Before(seq) => Ok(reversed(down(seq, limit).all(db).await?)),
                Page::Around(seq) => {
                    let mut rows = reversed(down(seq, limit / 2).all(db).await?);
                    let rest = limit - rows.len() as u64;
                    rows.extend(up(seq - 1, rest).all(db).await?);
                    Ok(rows)
                }
            })
            .await?;
        Ok(rows.into_iter().map(|row| chat_in(room, row)).collect())
    }

    /// The newest chats, ascending by seq and without tombstones, with the room's version of the same snapshot; none if the
    /// room is gone.
    pub async fn newest(&self, room: &Chatroom, limit: u64) -> Result<Option<(Vec<Chat>, Version)>, StoreError> {
        let of_room = Entity::find().filter(Column::ChatroomId.eq(room.id)).filter(Column::DeleteTime.is_null());
        let answer = self.reads.run(async |db| {
            let snapshot = self.snapshot(db).await?;
            let Some(head) = ::entity::chatroom::Entity::find_by_id(room.id.get()).one(&snapshot).await? else {
                return Ok(None);
            };
            let rows = of_room.order_by_desc(Column::Seq).limit(limit).all(&snapshot).await?;
            snapshot.commit().await?;
            Ok(Some((reversed(rows), Version::new(head.version))))
        });
        let Some((rows, version)) = answer.await? else { return Ok(None) };
        Ok(Some((rows.into_iter().map(|row| chat_in(room, row)).collect(), version)))
    }

    /// Which room a chat is in, tombstones included.
    pub async fn chatroom_of_chat(&self, chat: ChatId) -> Result<Option<ChatroomId>, StoreError> {
        let statement = self.sql("SELECT chatroom_id FROM chats WHERE id = $1", [chat.into()]);
        let row = self.reads.run(async |db| db.query_one_raw(statement).await).await?;
        Ok(row.map(|row| row.try_get_by_index(0)).transpose()?)
    }

    /// Chats whose folded text has `folded` in it, newest first, looking at a bounded number of rows below `before`.
    pub async fn search(
        &self,
        room: &Chatroom,
        folded: &str,
        before: Option<Seq>,
        limit: u64,
    ) -> Result<Found, StoreError> {
        let before = before.unwrap_or(room.last_seq.next()).min(room.last_seq.next());
        let floor = (before - SEARCH_WINDOW).max(Seq::FIRST);
        let find = if self.backend == DbBackend::Postgres { "strpos" } else { "instr" };
        let sql = format!(
            "SELECT {} FROM chats WHERE chatroom_id = $1 AND seq < $2 AND seq >= $3 AND delete_time IS NULL
             AND {find}(coalesce(folded, content), $4) > 0 ORDER BY seq DESC LIMIT $5",
            columns::<Entity>("chats")
        );
        let values: [Value; 5] = [
            room.id.into(),
            before.into(),
            floor.into(),
            folded.into(),
            i64::try_from(limit).unwrap_or(i64::MAX).into(),
        ];
        let statement = self.sql(&sql, values);
        let rows = self.reads.run(async move |db| Entity::find().from_raw_sql(statement.clone()).all(db).await).await?;
        let full = rows.len() as u64 >= limit;
        let next = if full { rows.last().map(|row| Seq::new(row.seq)) } else { (floor > Seq::FIRST).then_some(floor) };
        Ok(Found { chats: rows.into_iter().map(|row| chat_in(room, row)).collect(), before: next })
    }

    /// What changed above `since`; none if the room is gone.
    pub async fn changes(&self, room: &Chatroom, since: Version, limit: u64) -> Result<Option<Changes>, StoreError> {
        let answer = self.reads.run(async |db| {
            let snapshot = self.snapshot(db).await?;
            let Some(head) = ::entity::chatroom::Entity::find_by_id(room.id.get()).one(&snapshot).await? else {
                return Ok(None);
            };
            // A chat that was never changed has a version that grows with its seq, so few rows are looked at.
            let untouched_above = head.last_seq - (head.version - since.get());
            let all = columns::<Entity>("chats");
            let sql = format!(
                "SELECT * FROM (
                  SELECT * FROM (SELECT {all} FROM chats WHERE chatroom_id = $1 AND version > $2
                    AND (edit_time IS NOT NULL OR delete_time IS NOT NULL) ORDER BY version LIMIT $4) changed
                  UNION ALL
                  SELECT * FROM (SELECT {all} FROM chats WHERE chatroom_id = $1 AND seq > $3 AND version > $2
                    AND edit_time IS NULL AND delete_time IS NULL ORDER BY seq LIMIT $4) untouched
                ) rows ORDER BY version LIMIT $4"
            );
            let values: [Value; 4] = [
                room.id.into(),
                since.into(),
                untouched_above.into(),
                i64::try_from(limit + 1).unwrap_or(i64::MAX).into(),
            ];
            let rows = snapshot.query_all_raw(self.sql(&sql, values)).await?;
            let rows = rows.iter().map(|row| Model::from_query_result(row, "")).collect::<Result<Vec<_>, _>>()?;
            snapshot.commit().await?;
            Ok(Some((rows, head.version)))
        });
        let Some((mut rows, head)) = answer.await? else { return Ok(None) };
        let has_more = rows.len() as u64 > limit;
        rows.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        let version = Version::new(if has_more { rows.last().map_or(head, |row| row.version) } else { head });
        Ok(Some(Changes { chats: rows.into_iter().map(|row| chat_in(room, row)).collect(), version, has_more }))
    }
}

/// What finds chats by this condition, for the writer's own connection.
pub(super) fn find_sql(condition: &str) -> String {
    format!("SELECT {} FROM chats WHERE {condition}", columns::<Entity>("chats"))
}

/// A row that the writer's own connection gave.
pub(super) fn model_of(row: impl Into<QueryResult>) -> Result<Model, sqlx::Error> {
    Model::from_query_result(&row.into(), "").map_err(|error| sqlx::Error::Decode(Box::new(error)))
}

/// A row as the rest of the program knows it.
pub(super) fn chat_of(row: Model, receiver_id: ChatterId) -> Chat {
    Chat {
        id: row.id.into(),
        chatroom_id: row.chatroom_id.into(),
        seq: row.seq.into(),
        version: row.version.into(),
        sender_id: row.sender_id.into(),
        receiver_id,
        content: row.content,
        client_id: row.client_id,
        create_time: Micros(row.create_time),
        edit_time: row.edit_time.map(Micros),
        delete_time: row.delete_time.map(Micros),
    }
}

fn chat_in(room: &Chatroom, row: Model) -> Chat {
    let receiver = room.other(row.sender_id.into());
    chat_of(row, receiver)
}

/// The rows that a look-up of client_ids found, by key.
pub(super) fn known_of(rows: Vec<Model>, appends: &[&Append], keys: &[Option<ClientKey>]) -> HashMap<ClientKey, Known> {
    let mut known = HashMap::with_capacity(rows.len());
    for row in rows {
        let Some(key) = row.client_key.as_deref().and_then(|key| ClientKey::try_from(key).ok()) else { continue };
        let Some(at) = keys.iter().position(|k| *k == Some(key)) else { continue };
        let first_hash = row.first_hash.unwrap_or_default();
        known.insert(key, Known { chat: chat_of(row, appends[at].receiver_id), first_hash });
    }
    known
}

fn reversed(mut rows: Vec<Model>) -> Vec<Model> {
    rows.reverse();
    rows
}

/// Whether an error is a broken unique index.
pub(super) fn is_duplicate(error: &DbErr) -> bool {
    matches!(error.sql_err(), Some(sea_orm::SqlErr::UniqueConstraintViolation(_)))
}
