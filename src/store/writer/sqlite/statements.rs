//! The SQL texts of the writer on SQLite, for 1, 2, 4 … 64 rows each, so that a few prepared texts serve every batch.
//!
//! A question costs two switches between threads, far more than a row; so what belongs together goes as one text. A
//! text for more rows than there are is filled up with rows of chatroom 0, which does not exist.

use std::sync::Arc;

use crate::store::writer::watermarks::MOVE_SQL;

/// The most rows of one text, far below SQLite's 32,766 parameters.
pub(super) const ROWS_MAX: usize = 64;

/// Which text, by the number of rows: 1, 2, 4 … 64.
pub(super) struct Statements {
    /// A batch of its own: BEGIN, rooms, chats, pushes owed, COMMIT.
    pub(super) whole: Sized,
    /// The same without BEGIN and COMMIT: a part of a larger batch.
    pub(super) part: Sized,
    /// Watermarks.
    pub(super) moves: Sized,
}

/// One text per size.
pub(super) struct Sized(Vec<Arc<str>>);

impl Statements {
    pub(super) fn new() -> Self {
        Self {
            whole: Sized::of(|rows| format!("BEGIN IMMEDIATE; {}; COMMIT", append(rows))),
            part: Sized::of(append),
            moves: Sized::of(moves),
        }
    }
}

impl Sized {
    fn of(text: impl Fn(usize) -> String) -> Self {
        Self((0..=ROWS_MAX.ilog2()).map(|power| text(1 << power).into()).collect())
    }

    /// The text for a number of rows that is a power of two.
    pub(super) fn text(&self, rows: usize) -> Arc<str> {
        let power = usize::try_from(rows.max(1).ilog2()).unwrap_or(0);
        self.0[power.min(self.0.len() - 1)].clone()
    }
}

/// How many rows the text for so many has.
pub(super) fn size_for(rows: usize) -> usize {
    rows.clamp(1, ROWS_MAX).next_power_of_two()
}

/// `(?,?),(?,?)` for this many rows of this many columns.
fn places(rows: usize, columns: usize) -> String {
    let row = format!("({})", vec!["?"; columns].join(","));
    vec![row; rows].join(",")
}

/// Parameters: per room id and count, then the clock; per chat room, how many follow it in its room, sender, content,
/// folded, client_id, client_key, first_hash; per push owed room, receiver, how many chats follow, then clock and due time.
/// CROSS JOIN keeps the order, so that ids grow with seq.
fn append(rows: usize) -> String {
    let (rooms, chats, owed) = (places(rows, 2), places(rows, 8), places(rows, 3));
    format!(
        "WITH i(id, n) AS (VALUES {rooms})
UPDATE chatrooms SET last_seq = last_seq + i.n, version = version + i.n, last_chat_time = max(last_chat_time, ?)
FROM i WHERE chatrooms.id = i.id AND closed_time IS NULL
RETURNING chatrooms.id, last_seq, version, last_chat_time;
WITH c(room, after, sender, content, folded, client_id, client_key, first_hash) AS (VALUES {chats})
INSERT INTO chats (chatroom_id, seq, version, sender_id, content, create_time, folded, client_id, client_key, first_hash)
SELECT r.id, r.last_seq - c.after, r.version - c.after, c.sender, c.content, r.last_chat_time, c.folded, c.client_id,
  c.client_key, c.first_hash
FROM c CROSS JOIN chatrooms r WHERE r.id = c.room AND r.closed_time IS NULL;
WITH o(room, receiver, after) AS (VALUES {owed})
INSERT INTO push_outbox (chatroom_id, receiver_id, to_seq, create_time, due_time)
SELECT r.id, o.receiver, r.last_seq - o.after, ?, ? FROM o CROSS JOIN chatrooms r
WHERE r.id = o.room AND r.closed_time IS NULL AND EXISTS (SELECT 1 FROM devices WHERE chatter_id = o.receiver)
ON CONFLICT (chatroom_id, receiver_id) DO UPDATE SET to_seq = excluded.to_seq"
    )
}

fn moves(rows: usize) -> String {
    let input = format!(
        "(SELECT column1 AS chatroom_id, column2 AS chatter_id, column3 AS proof_from, column4 AS delivered,
         column5 AS read, column6 AS sent_at FROM (VALUES {})) i",
        places(rows, 6)
    );
    MOVE_SQL.replace("GREATEST(", "max(").replace("LEAST(", "min(").replace("{input}", &input)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_number_of_rows_has_a_text_that_holds_it() {
        let sizes: Vec<usize> = [0, 1, 2, 3, 5, 33, 64, 65].into_iter().map(size_for).collect();
        assert_eq!(sizes, [1, 1, 2, 4, 8, 64, 64, 64]);
        let statements = Statements::new();
        assert_eq!(statements.moves.text(4).matches("(?,?,?,?,?,?)").count(), 4);
        assert_eq!(places(2, 3), "(?,?,?),(?,?,?)");
    }
}
