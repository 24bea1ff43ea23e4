//! The writer's statements on PostgreSQL.

use std::sync::LazyLock;

use crate::store::sql::{columns, postgres_clock, select_chats};
use crate::store::writer::client_ids::HAS_ROOM;
use crate::store::writer::watermark_sql::move_sql;

/// The statement that stores new chats, without and with the columns that only some chats have.
///
/// $1 rooms, $2 chats of each, $3 chats of the rooms before it; $4 room, $5 receiver and $6 place of each pending push,
/// $7 their grace; per chat $8 room, $9 place, $10 sender, $11 content, then the `$more` columns. It returns one row a
/// room.
///
/// CTEs are planned without statistics, so grouping and counting is done by the caller. `count(*)` drains `l`, so id
/// and clock are taken under all locks, and ids grow with seq. `num_nulls` keeps the planner on a fresh database from
/// expecting a single room (with `IS NULL` it looped over the outbox), and the scalar subquery on devices keeps it from
/// hashing that whole table.
macro_rules! append_sql {
    ($more:literal, $from:literal, $arrays:literal) => {
        concat!(
            "WITH l AS MATERIALIZED (
  SELECT c.id, p.n, p.off
  FROM unnest($1::bigint[], $2::bigint[], $3::bigint[]) p(id, n, off) JOIN chatrooms c ON c.id = p.id
  WHERE num_nulls(c.closed_time) <> 0 ORDER BY c.id FOR UPDATE OF c SKIP LOCKED
), b AS MATERIALIZED (
  SELECT CASE WHEN count(*) > 0 THEN nextval('chats_id_seq') END AS base,
    ",
            postgres_clock!(),
            " AS now FROM l
), u AS (
  UPDATE chatrooms c SET last_seq = c.last_seq + l.n, version = c.version + l.n,
    last_chat_time = greatest(c.last_chat_time, (SELECT now FROM b))
  FROM l WHERE c.id = l.id
  RETURNING c.id, c.last_seq - l.n AS seq, c.version - l.n AS version, c.last_chat_time AS t,
    (SELECT base FROM b) + l.off - 1 AS chat
), o AS (
  INSERT INTO push_outbox (chatroom_id, receiver_id, to_seq, create_time, due_time)
  SELECT u.id, r.receiver, u.seq + r.k, u.t, (SELECT now FROM b) + $7
  FROM unnest($4::bigint[], $5::bigint[], $6::bigint[]) r(room, receiver, k) JOIN u ON u.id = r.room
  WHERE (SELECT true FROM devices d WHERE d.chatter_id = r.receiver LIMIT 1)
  ON CONFLICT (chatroom_id, receiver_id) DO UPDATE SET to_seq = excluded.to_seq RETURNING true AS pending
), i AS (
  INSERT INTO chats (id, chatroom_id, seq, version, sender_id, content, create_time",
            $more,
            ")
  SELECT u.chat + x.k, u.id, u.seq + x.k, u.version + x.k, x.sender, x.content, u.t",
            $from,
            "
  FROM unnest($8::bigint[], $9::bigint[], $10::bigint[], $11::text[]",
            $arrays,
            ") x(room, k, sender, content",
            $more,
            ")
    JOIN u ON u.id = x.room
)
SELECT id, seq + 1 AS first_seq, version + 1 AS first_version, t AS create_time, chat + 1 AS first_id,
  EXISTS (SELECT 1 FROM o) AS push_pending FROM u"
        )
    };
}

pub(super) const APPEND_PLAIN: &str = append_sql!("", "", "");
pub(super) const APPEND_FULL: &str = append_sql!(
    ", client_id, client_key, first_hash",
    ", x.client_id, x.client_key, x.first_hash",
    ", $12::text[], $13::bytea[], $14::bigint[]"
);

/// Edits or deletes a chat: $1 room, $2 chat, $3 its sender, $4 content, $5 whether it is deleted. The room is locked
/// before the chat, and its version grows only if there is such a chat. `folded` is a copy of the content in rows of
/// former releases.
pub(super) static MUTATE: LazyLock<String> = LazyLock::new(|| {
    format!(
        "WITH r AS MATERIALIZED (
  SELECT id FROM chatrooms WHERE id = $1 FOR UPDATE SKIP LOCKED
), c AS MATERIALIZED (
  SELECT chats.id FROM chats JOIN r ON chats.chatroom_id = r.id
  WHERE chats.id = $2 AND chats.sender_id = $3 AND chats.delete_time IS NULL FOR UPDATE OF chats
), v AS (
  UPDATE chatrooms SET version = version + 1 FROM c WHERE chatrooms.id = $1
  RETURNING version, {} AS now
)
UPDATE chats SET content = $4, folded = NULL, version = v.version,
  edit_time = CASE WHEN $5 THEN chats.edit_time ELSE v.now END, delete_time = CASE WHEN $5 THEN v.now END
FROM v WHERE chats.id = $2
RETURNING {}",
        postgres_clock!(),
        columns::<::entity::chat::Entity>("chats")
    )
});

/// The chats that are stored under client_ids: $1 their keys.
pub(super) static FIND_CLIENT_IDS: LazyLock<String> =
    LazyLock::new(|| select_chats(&format!("client_key = ANY($1::bytea[]) AND {HAS_ROOM}")));

/// Deletes the chats of deleted rooms that are stored under client_ids: $1 their keys.
pub(super) static FREE_CLIENT_IDS: LazyLock<String> =
    LazyLock::new(|| format!("DELETE FROM chats WHERE client_key = ANY($1::bytea[]) AND {HAS_ROOM} IS NULL"));

/// Moves watermarks: $1 to $6 are the columns of the input.
pub(super) static MOVE_WATERMARKS: LazyLock<String> = LazyLock::new(|| {
    move_sql(
        "SELECT chatroom_id, chatter_id, proof_from, delivered, read, sent_at
  FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[])
    u(chatroom_id, chatter_id, proof_from, delivered, read, sent_at)",
    )
});
