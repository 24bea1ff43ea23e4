//! The statement that moves watermarks, shared by both databases.

use sea_orm::sqlx;

use super::watermarks::MovedWatermark;
use crate::domain::{ChatroomId, ChatterId, Seq};

/// The statement; `input` is the CTE's query for rows of (chatroom_id, chatter_id, proof_from, delivered, read,
/// sent_at). It returns the rows that moved, as [`moved_of`] reads them.
///
/// `steps` bounds each update by the room's last chat, and drops a proof above an undelivered chat. `targets` adds what
/// a sent chat reads. `GREATEST` and `LEAST` are `max` and `min` on SQLite, whose RETURNING sees no column of FROM.
pub(super) fn move_sql(input: &str) -> String {
    format!(
        "WITH input (chatroom_id, chatter_id, proof_from, delivered, read, sent_at) AS (
  {input}
), steps AS (
  SELECT m.chatroom_id, m.chatter_id, i.sent_at, m.delivered_seq AS before, LEAST(r.last_seq, i.read) AS read,
    GREATEST(m.delivered_seq, LEAST(r.last_seq, i.read),
      CASE WHEN m.delivered_seq >= i.proof_from - 1 OR NOT EXISTS (
        SELECT 1 FROM chats c WHERE c.chatroom_id = m.chatroom_id AND c.seq > m.delivered_seq AND c.seq < i.proof_from
          AND c.sender_id <> m.chatter_id AND c.delete_time IS NULL
      ) THEN LEAST(r.last_seq, i.delivered) ELSE 0 END) AS delivered
  FROM input i JOIN members m ON m.chatroom_id = i.chatroom_id AND m.chatter_id = i.chatter_id
    JOIN chatrooms r ON r.id = m.chatroom_id
), targets AS (
  SELECT s.chatroom_id, s.chatter_id, s.delivered, GREATEST(s.read,
    CASE WHEN s.sent_at >= 0 THEN GREATEST(s.before, LEAST(s.delivered, s.sent_at)) ELSE 0 END) AS read
  FROM steps s
)
UPDATE members SET
  delivered_seq = GREATEST(members.delivered_seq, t.delivered),
  read_seq = GREATEST(members.read_seq, t.read)
FROM targets t
WHERE members.chatroom_id = t.chatroom_id AND members.chatter_id = t.chatter_id
  AND (members.delivered_seq < t.delivered OR members.read_seq < t.read)
RETURNING members.chatroom_id, members.chatter_id,
  (SELECT r.pair_low + r.pair_high - members.chatter_id FROM chatrooms r WHERE r.id = members.chatroom_id),
  members.delivered_seq, members.read_seq,
  coalesce((SELECT c.show_receipts FROM chatters c WHERE c.id = members.chatter_id), FALSE)"
    )
}

/// A row that [`move_sql`] returns.
pub(super) fn moved_of<'r, R: sqlx::Row>(row: &'r R) -> Result<MovedWatermark, sqlx::Error>
where
    usize: sqlx::ColumnIndex<R>,
    i64: sqlx::Decode<'r, R::Database> + sqlx::Type<R::Database>,
    bool: sqlx::Decode<'r, R::Database> + sqlx::Type<R::Database>,
{
    Ok(MovedWatermark {
        chatroom_id: ChatroomId::new(row.try_get(0)?),
        chatter_id: ChatterId::new(row.try_get(1)?),
        other_id: ChatterId::new(row.try_get(2)?),
        delivered_seq: Seq::new(row.try_get(3)?),
        read_seq: Seq::new(row.try_get(4)?),
        read: false,
        shown: row.try_get(5)?,
    })
}
