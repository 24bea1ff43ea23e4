//! Reading chats: one by id, the history in pages, search, and the changes above a version.
//!
//! Every list is a keyset page: a short query by `seq` or `version`, never an open cursor.

use ::entity::chat::{Column, Entity, Model};
use sea_orm::{
    ColumnTrait, ConnectionTrait, DbBackend, EntityTrait, FromQueryResult, QueryFilter, QueryOrder, QuerySelect, Value,
};

use super::rows::{chat_in, chatroom_of};
use super::sql::columns;
use super::transaction::begin_snapshot;
use super::{Store, StoreError};
use crate::domain::chat::Chat;
use crate::domain::chatroom::Chatroom;
use crate::domain::{ChatId, ChatroomId, Seq, Version};

/// How many chats one search query scans.
const SEARCH_WINDOW: i64 = 20_000;

/// Which part of a room's history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Page {
    /// The chats above this seq, oldest first.
    After(Seq),
    /// The newest chats below this seq.
    Before(Seq),
    /// The chats on both sides of this seq, including it.
    Around(Seq),
}

/// The changes in a room above a version; rows and head come from one snapshot.
#[derive(Clone, Debug)]
pub struct Changes {
    /// By version; a deleted chat is a tombstone.
    pub chats: Vec<Chat>,
    /// The last row's version while there are more, else the room's.
    pub version: Version,
    /// Whether rows above `version` remain for the next page.
    pub has_more: bool,
}

/// The result of one search query.
#[derive(Clone, Debug)]
pub struct Found {
    /// Newest first.
    pub chats: Vec<Chat>,
    /// The next query searches below this seq; none when the whole room has been searched.
    pub before: Option<Seq>,
}

impl Store {
    /// A chat and its room, tombstones included. The caller checks whether the viewer may see it.
    pub async fn chat(&self, id: ChatId) -> Result<Option<(Chat, Chatroom)>, StoreError> {
        self.reads
            .run(async |db| {
                let Some(row) = Entity::find_by_id(id.get()).one(db).await? else { return Ok(None) };
                let room = ::entity::chatroom::Entity::find_by_id(row.chatroom_id).one(db).await?;
                let Some(room) = room.map(chatroom_of) else { return Ok(None) };
                Ok(Some((chat_in(&room, row), room)))
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

    /// The newest chats, ascending by seq and without tombstones, with the room's version in the same snapshot; none if
    /// the room has been deleted.
    pub async fn newest(&self, room: &Chatroom, limit: u64) -> Result<Option<(Vec<Chat>, Version)>, StoreError> {
        let of_room = Entity::find().filter(Column::ChatroomId.eq(room.id)).filter(Column::DeleteTime.is_null());
        let answer = self.reads.run(async |db| {
            let snapshot = begin_snapshot(db).await?;
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

    /// The room that a chat is in, tombstones included.
    pub async fn chatroom_of_chat(&self, chat: ChatId) -> Result<Option<ChatroomId>, StoreError> {
        let row = self.row(self.sql("SELECT chatroom_id FROM chats WHERE id = $1", [chat.into()])).await?;
        Ok(row.map(|row| row.try_get_by_index(0)).transpose()?)
    }

    /// Chats whose folded text contains `folded`, newest first; scans a bounded number of rows below `before`.
    pub async fn search(
        &self,
        room: &Chatroom,
        folded: &str,
        before: Option<Seq>,
        limit: u64,
    ) -> Result<Found, StoreError> {
        let before = before.unwrap_or(room.last_seq.next()).min(room.last_seq.next());
        let floor = (before - SEARCH_WINDOW).max(Seq::FIRST);
        let position = if self.backend == DbBackend::Postgres { "strpos" } else { "instr" };
        let sql = format!(
            "SELECT {} FROM chats WHERE chatroom_id = $1 AND seq < $2 AND seq >= $3 AND delete_time IS NULL
             AND {position}(coalesce(folded, content), $4) > 0 ORDER BY seq DESC LIMIT $5",
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
        let rows = self.reads.run(async move |db| Entity::find().from_raw_sql(statement).all(db).await).await?;
        let full = rows.len() as u64 >= limit;
        let next = if full { rows.last().map(|row| Seq::new(row.seq)) } else { (floor > Seq::FIRST).then_some(floor) };
        Ok(Found { chats: rows.into_iter().map(|row| chat_in(room, row)).collect(), before: next })
    }

    /// The changes above `since`; none if the room has been deleted.
    pub async fn changes(&self, room: &Chatroom, since: Version, limit: u64) -> Result<Option<Changes>, StoreError> {
        let answer = self.reads.run(async |db| {
            let snapshot = begin_snapshot(db).await?;
            let Some(head) = ::entity::chatroom::Entity::find_by_id(room.id.get()).one(&snapshot).await? else {
                return Ok(None);
            };
            // The version of a chat that was never changed grows with its seq, so few rows are read.
            let untouched_above = head.last_seq - (head.version - since.get());
            let all = columns::<Entity>("chats");
            let sql = format!(
                "WITH changed AS (
                   SELECT {all} FROM chats WHERE chatroom_id = $1 AND version > $2
                     AND (edit_time IS NOT NULL OR delete_time IS NOT NULL) ORDER BY version LIMIT $4
                 ), untouched AS (
                   SELECT {all} FROM chats WHERE chatroom_id = $1 AND seq > $3 AND version > $2
                     AND edit_time IS NULL AND delete_time IS NULL ORDER BY seq LIMIT $4
                 )
                 SELECT {} FROM changed UNION ALL SELECT {} FROM untouched ORDER BY version LIMIT $4",
                columns::<Entity>("changed"),
                columns::<Entity>("untouched")
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

fn reversed(mut rows: Vec<Model>) -> Vec<Model> {
    rows.reverse();
    rows
}
