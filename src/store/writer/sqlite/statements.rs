//! The writer's SQL texts on SQLite, for 1, 2, 4 … 64 rows each, so that a few prepared texts serve any number of rows.
//!
//! A query costs two switches between threads, far more than a row; so several statements go as one text. A text for
//! more rows than there are is padded with rows of chatroom 0, which does not exist.

use std::sync::Arc;

use crate::store::writer::watermark_sql::move_sql;

/// The most rows of one text, far below SQLite's limit of 32,766 parameters.
pub(super) const ROWS_MAX: usize = 64;

/// The texts by number of rows.
pub(super) struct Statements {
    /// New chats in a transaction of their own.
    pub(super) whole: AppendTexts,
    /// New chats as a part of a larger transaction.
    pub(super) part: AppendTexts,
    /// Watermarks.
    pub(super) watermarks: Sized,
}

/// The texts that store new chats.
pub(super) struct AppendTexts {
    /// The statements of each text, in order.
    pub(super) steps: &'static [Step],
    pub(super) sized: Sized,
}

/// One statement of a text that stores new chats.
#[derive(Clone, Copy)]
pub(super) enum Step {
    Begin,
    UpdateRooms,
    InsertChats,
    UpsertPushes,
    Commit,
}

/// One text per size.
pub(super) struct Sized(Vec<Arc<str>>);

impl Statements {
    pub(super) fn new() -> Self {
        use Step::{Begin, Commit, InsertChats, UpdateRooms, UpsertPushes};
        Self {
            whole: AppendTexts::of(&[Begin, UpdateRooms, InsertChats, UpsertPushes, Commit]),
            part: AppendTexts::of(&[UpdateRooms, InsertChats, UpsertPushes]),
            watermarks: Sized::of(|rows| {
                let values = format!("VALUES {}", places(rows, 6));
                move_sql(&values).replace("GREATEST(", "max(").replace("LEAST(", "min(")
            }),
        }
    }
}

impl AppendTexts {
    fn of(steps: &'static [Step]) -> Self {
        let text = |rows| steps.iter().map(|step| step.sql(rows)).collect::<Vec<_>>().join(";\n");
        Self { steps, sized: Sized::of(text) }
    }
}

impl Step {
    fn sql(self, rows: usize) -> String {
        match self {
            Self::Begin => "BEGIN IMMEDIATE".to_owned(),
            Self::UpdateRooms => update_rooms(rows),
            Self::InsertChats => insert_chats(rows),
            Self::UpsertPushes => upsert_pushes(rows),
            Self::Commit => "COMMIT".to_owned(),
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

/// How many rows the smallest text has that holds this many.
pub(super) fn size_for(rows: usize) -> usize {
    rows.clamp(1, ROWS_MAX).next_power_of_two()
}

/// `(?,?),(?,?)` for this many rows of this many columns.
fn places(rows: usize, columns: usize) -> String {
    let row = format!("({})", vec!["?"; columns].join(","));
    vec![row; rows].join(",")
}

/// Parameters: per room its id and how many chats it gets, then the clock.
fn update_rooms(rows: usize) -> String {
    format!(
        "WITH i(id, n) AS (VALUES {})
UPDATE chatrooms SET last_seq = last_seq + i.n, version = version + i.n, last_chat_time = max(last_chat_time, ?)
FROM i WHERE chatrooms.id = i.id AND closed_time IS NULL
RETURNING chatrooms.id, last_seq, version, last_chat_time",
        places(rows, 2)
    )
}

/// Parameters: per chat its room, how many chats follow it there, sender, content, client_id, client_key and
/// first_hash. CROSS JOIN keeps their order, so that ids grow with seq.
fn insert_chats(rows: usize) -> String {
    format!(
        "WITH c(room, after, sender, content, client_id, client_key, first_hash) AS (VALUES {})
INSERT INTO chats (chatroom_id, seq, version, sender_id, content, create_time, client_id, client_key, first_hash)
SELECT r.id, r.last_seq - c.after, r.version - c.after, c.sender, c.content, r.last_chat_time, c.client_id,
  c.client_key, c.first_hash
FROM c CROSS JOIN chatrooms r WHERE r.id = c.room AND r.closed_time IS NULL",
        places(rows, 7)
    )
}

/// Parameters: per push its room, receiver and how many chats follow there, then the clock and the due time.
fn upsert_pushes(rows: usize) -> String {
    format!(
        "WITH o(room, receiver, after) AS (VALUES {})
INSERT INTO push_outbox (chatroom_id, receiver_id, to_seq, create_time, due_time)
SELECT r.id, o.receiver, r.last_seq - o.after, ?, ? FROM o CROSS JOIN chatrooms r
WHERE r.id = o.room AND r.closed_time IS NULL AND EXISTS (SELECT 1 FROM devices WHERE chatter_id = o.receiver)
ON CONFLICT (chatroom_id, receiver_id) DO UPDATE SET to_seq = excluded.to_seq",
        places(rows, 3)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_number_of_rows_has_a_text_that_holds_it() {
        let sizes: Vec<usize> = [0, 1, 2, 3, 5, 33, 64, 65].into_iter().map(size_for).collect();
        assert_eq!(sizes, [1, 1, 2, 4, 8, 64, 64, 64]);
        let statements = Statements::new();
        assert_eq!(statements.watermarks.text(4).matches("(?,?,?,?,?,?)").count(), 4);
        assert_eq!(places(2, 3), "(?,?,?),(?,?,?)");
    }
}
