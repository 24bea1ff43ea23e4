//! Searching a room: pages of bounded bytes that are read by the database and compared here.
//!
//! Each page is one short statement on a pool of its own. Comparing takes time that is linear in the page's bytes.

use ::entity::chat::{Column, Entity};
use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder, Value};

use super::rows::chat_in;
use super::{Store, StoreError};
use crate::domain::Seq;
use crate::domain::chat::Chat;
use crate::domain::chatroom::Chatroom;
use crate::domain::fold::{Folded, Needle};

/// The bytes of contents on a page; one chat may be more.
const PAGE_BYTES: i64 = 256 * 1024;
/// The places in the room that the first page of a search covers. Each page covers twice as many as the one before, so
/// that a frequent word costs little.
const FIRST_PAGE: i64 = 256;
/// The most places that a page covers, deleted chats included.
const PAGE_MAX: i64 = 4_096;

/// One search of a room, from the newest chat back.
pub struct RoomSearch {
    room: Chatroom,
    needle: Needle,
    /// The next page is below this seq.
    before: Seq,
    page: i64,
    folded: Folded,
}

/// What a search found on one page.
#[derive(Debug)]
pub struct Examined {
    /// The chats that contain the needle, newest first.
    pub chats: Vec<Chat>,
    /// The bytes of contents that were compared.
    pub bytes: u64,
    /// The places in the room that the page covered, deleted chats included.
    pub places: u64,
    /// The next page is below this seq; none when the whole room has been searched.
    pub before: Option<Seq>,
}

impl RoomSearch {
    /// A search of this room below `before`, or from its newest chat.
    #[must_use]
    pub fn new(room: Chatroom, needle: Needle, before: Option<Seq>) -> Self {
        let end = room.last_seq.next();
        Self {
            before: before.map_or(end, |before| before.min(end)),
            room,
            needle,
            page: FIRST_PAGE,
            folded: Folded::default(),
        }
    }
}

impl Store {
    /// Examines the next page of a search, up to this many matches.
    pub async fn search(&self, search: &mut RoomSearch, limit: usize) -> Result<Examined, StoreError> {
        let (room, before) = (search.room.id, search.before);
        let floor = (before - search.page).max(Seq::FIRST);
        let values: [Value; 4] = [room.into(), before.into(), floor.into(), PAGE_BYTES.into()];
        let rows = self.search.run(async |db| db.query_all_raw(self.sql(PAGE, values)).await).await?;
        let (mut bytes, mut end, mut found) = (0, floor, Vec::new());
        for row in &rows {
            let (seq, content): (Seq, String) = (row.try_get_by_index(0)?, row.try_get_by_index(1)?);
            bytes += content.len() as u64;
            if search.needle.is_in(&content, &mut search.folded) {
                found.push(seq);
            }
            // The page ends here: it has its matches, or the statement has left out the chats below.
            if found.len() >= limit || bytes >= PAGE_BYTES as u64 {
                end = seq;
                break;
            }
        }
        search.before = end;
        search.page = (search.page * 2).min(PAGE_MAX);
        let chats = if found.is_empty() { Vec::new() } else { self.found(search, found).await? };
        let places = u64::try_from(before - end).unwrap_or_default();
        Ok(Examined { chats, bytes, places, before: (end > Seq::FIRST).then_some(end) })
    }

    /// The matches in full. A chat that was edited or deleted meanwhile is compared again.
    async fn found(&self, search: &mut RoomSearch, seqs: Vec<Seq>) -> Result<Vec<Chat>, StoreError> {
        let of_room = Entity::find().filter(Column::ChatroomId.eq(search.room.id)).filter(Column::Seq.is_in(seqs));
        let query = of_room.filter(Column::DeleteTime.is_null()).order_by_desc(Column::Seq);
        let rows = self.search.run(async |db| query.all(db).await).await?;
        let RoomSearch { room, needle, folded, .. } = search;
        let rows = rows.into_iter().filter(|row| needle.is_in(&row.content, folded));
        Ok(rows.map(|row| chat_in(room, row)).collect())
    }
}

/// The contents of a page, newest first: $1 room, $2 below this seq, $3 down to this seq, $4 bytes. Lengths are read
/// without the contents, so that no chat below the last one is read; most pages are short enough as a whole.
/// The chats of a deleted room are there for a while.
const PAGE: &str = "SELECT seq, content FROM chats
WHERE chatroom_id = $1 AND seq < $2 AND seq >= $3 AND delete_time IS NULL
AND EXISTS (SELECT 1 FROM chatrooms WHERE id = $1) AND seq >= CASE WHEN (
  SELECT coalesce(sum(octet_length(content)), 0) FROM chats
  WHERE chatroom_id = $1 AND seq < $2 AND seq >= $3 AND delete_time IS NULL
) < $4 THEN $3 ELSE (
  SELECT min(seq) FROM (
    SELECT seq, sum(octet_length(content)) OVER (ORDER BY seq DESC ROWS UNBOUNDED PRECEDING)
      - octet_length(content) AS above
    FROM chats WHERE chatroom_id = $1 AND seq < $2 AND seq >= $3 AND delete_time IS NULL
  ) AS page WHERE above < $4
) END ORDER BY seq DESC";
