//! Reading chats: one by id, the history in pages, and the changes above a version.
//!
//! Every list is a keyset page, bounded in rows and in bytes: a short query by `seq` or `version`, never an open cursor.

use ::entity::chat::{Entity, Model};
use sea_orm::{ConnectionTrait, DbErr, EntityTrait, FromQueryResult, Statement, Value};

use super::bytes::{
    CHAT_BYTES, CONTENT_BYTES, Length, PAGE_BYTES, chat_json_bytes, fitting, lengths_of, may_grow_beyond,
};
use super::rows::{chat_in, chatroom_of};
use super::sql::{ROOM_EXISTS, columns, id_list};
use super::transaction::begin_snapshot;
use super::{Store, StoreError};
use crate::domain::chat::Chat;
use crate::domain::chatroom::Chatroom;
use crate::domain::{ChatId, ChatroomId, Seq, Version};

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

/// A part of a room's history.
#[derive(Clone, Debug)]
pub struct History {
    /// Ascending by seq, without tombstones; without a gap, but fewer than the limit where they are large.
    pub chats: Vec<Chat>,
    /// The next page begins behind this seq: older chats for [`Page::Before`], else newer ones. None at the end.
    pub next: Option<Seq>,
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

impl Store {
    /// A chat and its room, tombstones included. The caller checks whether the viewer may see it.
    pub async fn chat(&self, id: ChatId) -> Result<Option<(Chat, Chatroom)>, StoreError> {
        self.lookups
            .run(async |db| {
                let Some(row) = Entity::find_by_id(id.get()).one(db).await? else { return Ok(None) };
                let room = ::entity::chatroom::Entity::find_by_id(row.chatroom_id).one(db).await?;
                let Some(room) = room.map(chatroom_of) else { return Ok(None) };
                Ok(Some((chat_in(&room, row), room)))
            })
            .await
    }

    /// One page of the history.
    pub async fn history(&self, room: &Chatroom, page: Page, limit: u64) -> Result<History, StoreError> {
        let (rows, next) = self
            .reads
            .run(async move |db| match page {
                Page::After(seq) => span(db, room, Direction::Up(seq), limit, PAGE_BYTES).await,
                Page::Before(seq) => span(db, room, Direction::Down(seq), limit, PAGE_BYTES).await,
                Page::Around(seq) => {
                    let (mut rows, _) = span(db, room, Direction::Down(seq), limit / 2, PAGE_BYTES / 2).await?;
                    let rest = limit - rows.len() as u64;
                    let (up, next) = span(db, room, Direction::Up(seq - 1), rest, PAGE_BYTES / 2).await?;
                    rows.extend(up);
                    Ok((rows, next))
                }
            })
            .await?;
        Ok(History { chats: rows.into_iter().map(|row| chat_in(room, row)).collect(), next })
    }

    /// The newest chats, ascending by seq and without tombstones, with the room's version in the same snapshot; none if
    /// the room has been deleted.
    pub async fn newest(&self, room: &Chatroom, limit: u64) -> Result<Option<(Vec<Chat>, Version)>, StoreError> {
        let answer = self.reads.run(async |db| {
            let snapshot = begin_snapshot(db).await?;
            let Some(head) = ::entity::chatroom::Entity::find_by_id(room.id.get()).one(&snapshot).await? else {
                return Ok(None);
            };
            let (rows, _) = span(&snapshot, room, Direction::Down(Seq::MAX), limit, PAGE_BYTES).await?;
            snapshot.commit().await?;
            Ok(Some((rows, Version::new(head.version))))
        });
        let Some((rows, version)) = answer.await? else { return Ok(None) };
        Ok(Some((rows.into_iter().map(|row| chat_in(room, row)).collect(), version)))
    }

    /// The room that a chat is in, tombstones included; none if the room was deleted.
    pub async fn chatroom_of_chat(&self, chat: ChatId) -> Result<Option<ChatroomId>, StoreError> {
        let sql = "SELECT r.id FROM chats c JOIN chatrooms r ON r.id = c.chatroom_id WHERE c.id = $1";
        let row = self.row(self.sql(sql, [chat.into()])).await?;
        Ok(row.map(|row| row.try_get_by_index(0)).transpose()?)
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
            let sql = format!(
                "WITH changed AS (
                   SELECT id, {CONTENT_BYTES} AS bytes, version FROM chats WHERE chatroom_id = $1 AND version > $2
                     AND (edit_time IS NOT NULL OR delete_time IS NOT NULL) ORDER BY version LIMIT $4
                 ), untouched AS (
                   SELECT id, {CONTENT_BYTES} AS bytes, version FROM chats WHERE chatroom_id = $1 AND seq > $3
                     AND version > $2 AND edit_time IS NULL AND delete_time IS NULL ORDER BY seq LIMIT $4
                 )
                 SELECT id, bytes, version FROM changed UNION ALL SELECT id, bytes, version FROM untouched
                 ORDER BY version LIMIT $4"
            );
            let more = limit_value(limit + 1);
            let values: [Value; 4] = [room.id.into(), since.into(), untouched_above.into(), more];
            let lengths = lengths_of(&snapshot.query_all_raw(self.sql(&sql, values)).await?)?;
            let fit = fitting(PAGE_BYTES, lengths.iter().map(|row| row.bytes + CHAT_BYTES));
            let fit = fit.min(usize::try_from(limit).unwrap_or(usize::MAX));
            let ids: Vec<ChatId> = lengths[..fit].iter().map(|row| ChatId::new(row.key)).collect();
            let (mut rows, mut has_more) = (Vec::new(), lengths.len() > fit);
            if !ids.is_empty() {
                let (places, values) = id_list(&ids, 0);
                let sql =
                    format!("SELECT {} FROM chats WHERE id IN ({places}) ORDER BY version", columns::<Entity>("chats"));
                rows = chats_of(&snapshot, self.sql(&sql, values)).await?;
            }
            has_more |= shorten(&mut rows, &lengths[..fit], PAGE_BYTES, End::Last);
            snapshot.commit().await?;
            Ok(Some((rows, has_more, head.version)))
        });
        let Some((rows, has_more, head)) = answer.await? else { return Ok(None) };
        let version = Version::new(if has_more { rows.last().map_or(head, |row| row.version) } else { head });
        Ok(Some(Changes { chats: rows.into_iter().map(|row| chat_in(room, row)).collect(), version, has_more }))
    }
}

/// Which way a part of the history is read, and from which seq, which is not part of it.
#[derive(Clone, Copy)]
enum Direction {
    Up(Seq),
    Down(Seq),
}

/// The end of a page that is shortened.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    First,
    Last,
}

/// The chats that follow a seq in one direction, ascending, at most so many rows and bytes; and the seq behind which
/// there may be more in this direction.
async fn span(
    db: &impl ConnectionTrait,
    room: &Chatroom,
    direction: Direction,
    limit: u64,
    bytes_max: usize,
) -> Result<(Vec<Model>, Option<Seq>), DbErr> {
    let (seq, compared, order, up_to, end) = match direction {
        Direction::Up(seq) => (seq, ">", "ASC", "<=", End::Last),
        Direction::Down(seq) => (seq, "<", "DESC", ">=", End::First),
    };
    let of_room =
        format!("FROM chats WHERE chatroom_id = $1 AND seq {compared} $2 AND delete_time IS NULL AND {ROOM_EXISTS}");
    let sql = format!("SELECT seq, {CONTENT_BYTES} {of_room} ORDER BY seq {order} LIMIT $3");
    let statement = |sql: &str, third: Value| {
        let values: [Value; 3] = [room.id.into(), seq.into(), third];
        Statement::from_sql_and_values(db.get_database_backend(), sql, values)
    };
    let lengths = lengths_of(&db.query_all_raw(statement(&sql, limit_value(limit))).await?)?;
    let fit = fitting(bytes_max, lengths.iter().map(|row| row.bytes + CHAT_BYTES));
    let Some(last) = fit.checked_sub(1).map(|last| lengths[last].key) else { return Ok((Vec::new(), None)) };
    let sql = format!("SELECT {} {of_room} AND seq {up_to} $3 ORDER BY seq", columns::<Entity>("chats"));
    let mut rows = chats_of(db, statement(&sql, last.into())).await?;
    if shorten(&mut rows, &lengths[..fit], bytes_max, end) {
        let last = if end == End::First { rows.first() } else { rows.last() };
        let next = last.map(|row| Seq::new(row.seq));
        return Ok((rows, next));
    }
    let may_have_more = lengths.len() > fit || lengths.len() as u64 == limit;
    Ok((rows, may_have_more.then_some(Seq::new(last))))
}

/// Drops rows at this end of a page whose contents are much longer as JSON. True if it dropped any.
fn shorten(rows: &mut Vec<Model>, lengths: &[Length], bytes_max: usize, end: End) -> bool {
    if !may_grow_beyond(bytes_max, lengths.iter().map(|row| row.bytes).sum()) {
        return false;
    }
    let bytes = rows.iter().map(|row| chat_json_bytes(&row.content));
    let count = rows.len();
    match end {
        End::Last => rows.truncate(fitting(bytes_max, bytes)),
        End::First => {
            let fit = fitting(bytes_max, bytes.rev());
            rows.drain(..count - fit);
        }
    }
    rows.len() < count
}

pub(super) async fn chats_of(db: &impl ConnectionTrait, statement: Statement) -> Result<Vec<Model>, DbErr> {
    let rows = db.query_all_raw(statement).await?;
    rows.iter().map(|row| Model::from_query_result(row, "")).collect()
}

fn limit_value(limit: u64) -> Value {
    i64::try_from(limit).unwrap_or(i64::MAX).into()
}
