//! Watermarks that wait to be written: coalesced per room and chatter, at most 250 ms late.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::time::Duration;

use parking_lot::Mutex;
use sea_orm::sqlx;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::MovedWatermark;
use crate::domain::{ChatroomId, ChatterId, Seq};

/// How long a watermark may wait for company.
const LATE_MAX: Duration = Duration::from_millis(250);
/// Rows that wait for a database that is gone; beyond, the next proofs and receipts have to do.
const PUT_BACK_MAX: usize = 100_000;

/// One step of a watermark; forward only, stale steps change nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WatermarkUpdate {
    /// A socket proved that its client received every chat from `from` to `to`. Moves `delivered_seq` only if
    /// nothing older is undelivered.
    Received { from: Seq, to: Seq },
    /// The client said so, or read the history up to here.
    Delivered(Seq),
    /// The person has seen everything up to here.
    Read(Seq),
    /// The chatter sent something: what was delivered to them counts as read.
    Sent,
}

/// What one statement row carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) chatroom_id: ChatroomId,
    pub(super) chatter_id: ChatterId,
    /// First seq of a proof; 1 where the delivery needs none.
    pub(super) from: Seq,
    pub(super) delivered: Seq,
    pub(super) read: Seq,
    /// The chatter sent something when this much, at most, had been delivered.
    pub(super) sent_at: Option<Seq>,
}

impl Row {
    fn new(chatroom_id: ChatroomId, chatter_id: ChatterId) -> Self {
        Self { chatroom_id, chatter_id, from: Seq::FIRST, delivered: Seq::ZERO, read: Seq::ZERO, sent_at: None }
    }

    /// `sent_at` as the statement takes it: -1 where nothing was sent.
    pub(super) fn sent_at_or_minus_1(&self) -> i64 {
        self.sent_at.map_or(-1, Seq::get)
    }

    /// Whether all it says is that the chatter sent something.
    fn is_sent_only(&self) -> bool {
        *self == Self { sent_at: Some(Seq::ZERO), ..Self::new(self.chatroom_id, self.chatter_id) }
    }

    /// Takes the step in, or gives it back where one row cannot say both: two proofs with a gap between them.
    fn merge(&mut self, step: WatermarkUpdate) -> Result<(), WatermarkUpdate> {
        match step {
            // What is delivered after it is not read by it.
            WatermarkUpdate::Sent => self.sent_at = Some(self.delivered.max(self.read)),
            WatermarkUpdate::Read(seq) => self.read = self.read.max(seq),
            WatermarkUpdate::Delivered(seq) => (self.from, self.delivered) = (Seq::FIRST, self.delivered.max(seq)),
            WatermarkUpdate::Received { from, to } if self.delivered == Seq::ZERO => {
                (self.from, self.delivered) = (from, to)
            }
            WatermarkUpdate::Received { from, to } if from <= self.delivered.next() && to >= self.from - 1 => {
                self.from = self.from.min(from);
                self.delivered = self.delivered.max(to);
            }
            WatermarkUpdate::Received { .. } => return Err(step),
        }
        Ok(())
    }
}

/// The waiting rows, shared by the rooms that add and the writer that takes.
#[derive(Default)]
pub(super) struct WatermarkQueue {
    waiting: Mutex<Waiting>,
    added: Notify,
}

#[derive(Default)]
struct Waiting {
    rows: HashMap<(ChatroomId, ChatterId), Row>,
    /// Rows that could not be merged; they go first.
    full: Vec<Row>,
    since: Option<Instant>,
}

impl WatermarkQueue {
    pub(super) fn add(&self, chatroom_id: ChatroomId, chatter_id: ChatterId, step: WatermarkUpdate) {
        let mut waiting = self.waiting.lock();
        let row = waiting.rows.entry((chatroom_id, chatter_id)).or_insert_with(|| Row::new(chatroom_id, chatter_id));
        if let Err(step) = row.merge(step) {
            let full = std::mem::replace(row, Row::new(chatroom_id, chatter_id));
            let merged = row.merge(step);
            debug_assert!(merged.is_ok(), "an empty row takes any step");
            waiting.full.push(full);
        }
        if waiting.since.is_none() {
            waiting.since = Some(Instant::now());
            self.added.notify_one();
        }
    }

    /// Returns when something has waited long enough.
    pub(super) async fn due(&self) {
        loop {
            let since = self.waiting.lock().since;
            match since {
                Some(since) => return sleep_until(since + LATE_MAX).await,
                None => self.added.notified().await,
            }
        }
    }

    /// What has waited long enough.
    pub(super) fn take_due(&self) -> Option<Vec<Row>> {
        let due = self.waiting.lock().since.is_some_and(|since| since.elapsed() >= LATE_MAX);
        due.then(|| self.take())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.lock().since.is_none()
    }

    /// One row per room and chatter, the earliest steps first; sorted, so that two instances lock rows in one order.
    pub(super) fn take(&self) -> Vec<Row> {
        let mut waiting = self.waiting.lock();
        let mut rows: HashMap<(ChatroomId, ChatterId), Row> = HashMap::new();
        let mut rest: Vec<Row> = Vec::new();
        let mut newest: HashMap<(ChatroomId, ChatterId), usize> = HashMap::new();
        let (full, newer) = (std::mem::take(&mut waiting.full), std::mem::take(&mut waiting.rows));
        for row in full.into_iter().chain(newer.into_values()) {
            let key = (row.chatroom_id, row.chatter_id);
            match rows.entry(key) {
                Entry::Vacant(free) => drop(free.insert(row)),
                // Whoever tries to send while the database is gone leaves many of these.
                Entry::Occupied(mut first) if row.is_sent_only() => {
                    let last = newest.get(&key).and_then(|at| rest.get_mut(*at)).unwrap_or(first.get_mut());
                    let merged = last.merge(WatermarkUpdate::Sent);
                    debug_assert!(merged.is_ok(), "only proofs may not fit");
                }
                Entry::Occupied(_) => {
                    newest.insert(key, rest.len());
                    rest.push(row);
                }
            }
        }
        waiting.since = (!rest.is_empty()).then(Instant::now);
        waiting.full = rest;
        let mut rows: Vec<Row> = rows.into_values().collect();
        rows.sort_unstable_by_key(|row| (row.chatroom_id, row.chatter_id));
        rows
    }

    /// The database did not take them: they wait on, unless so many do that they are worth less than the memory.
    pub(super) fn put_back(&self, rows: Vec<Row>) {
        let mut waiting = self.waiting.lock();
        if waiting.full.len() < PUT_BACK_MAX {
            waiting.full.splice(0..0, rows);
        }
        waiting.since = Some(Instant::now());
    }
}

/// The statement that moves watermarks. `{input}` gives rows (chatroom_id, chatter_id, proof_from, delivered, read,
/// sent_at); `GREATEST` and `LEAST` are `max` and `min` on SQLite, which lets RETURNING see nothing of FROM. The rows that moved come
/// back as [`moved_of`] reads them.
pub(in crate::store::writer) const MOVE_SQL: &str = "
UPDATE members SET
  delivered_seq = GREATEST(members.delivered_seq, x.delivered),
  read_seq = GREATEST(members.read_seq, x.read)
FROM (
  SELECT y.chatroom_id, y.chatter_id, y.delivered, GREATEST(y.read,
      CASE WHEN y.sent_at >= 0 THEN GREATEST(y.before, LEAST(y.delivered, y.sent_at)) ELSE 0 END) AS read
  FROM (SELECT m.chatroom_id, m.chatter_id, i.sent_at, LEAST(r.last_seq, i.read) AS read, m.delivered_seq AS before,
    GREATEST(m.delivered_seq, LEAST(r.last_seq, i.read),
      CASE WHEN m.delivered_seq >= i.proof_from - 1 OR NOT EXISTS (
        SELECT 1 FROM chats c WHERE c.chatroom_id = m.chatroom_id AND c.seq > m.delivered_seq AND c.seq < i.proof_from
          AND c.sender_id <> m.chatter_id AND c.delete_time IS NULL
      ) THEN LEAST(r.last_seq, i.delivered) ELSE 0 END) AS delivered
  FROM {input} JOIN members m ON m.chatroom_id = i.chatroom_id AND m.chatter_id = i.chatter_id
    JOIN chatrooms r ON r.id = m.chatroom_id) y
) x
WHERE members.chatroom_id = x.chatroom_id AND members.chatter_id = x.chatter_id
  AND (members.delivered_seq < x.delivered OR members.read_seq < x.read)
RETURNING members.chatroom_id, members.chatter_id,
  (SELECT r.pair_low + r.pair_high - members.chatter_id FROM chatrooms r WHERE r.id = members.chatroom_id),
  members.delivered_seq, members.read_seq,
  coalesce((SELECT c.show_receipts FROM chatters c WHERE c.id = members.chatter_id), FALSE)";

/// A row that [`MOVE_SQL`] gave back.
pub(in crate::store::writer) fn moved_of<'r, R: sqlx::Row>(row: &'r R) -> Result<MovedWatermark, sqlx::Error>
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

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(moves: &WatermarkQueue) -> Vec<(i64, i64, i64, i64)> {
        let numbers = |r: Row| (r.from.get(), r.delivered.get(), r.read.get(), r.sent_at_or_minus_1());
        moves.take().into_iter().map(numbers).collect()
    }

    #[test]
    fn steps_of_one_chatter_become_one_row() {
        let moves = WatermarkQueue::default();
        for step in [
            WatermarkUpdate::Received { from: Seq::new(5), to: Seq::new(6) },
            WatermarkUpdate::Received { from: Seq::new(5), to: Seq::new(9) },
            WatermarkUpdate::Read(Seq::new(3)),
            WatermarkUpdate::Read(Seq::new(2)),
            WatermarkUpdate::Sent,
        ] {
            moves.add(ChatroomId::new(1), ChatterId::new(2), step);
        }
        assert_eq!(taken(&moves), [(5, 9, 3, 9)]);
        assert_eq!(taken(&moves), []);
    }

    #[test]
    fn what_is_delivered_after_sending_is_not_read_by_it() {
        let moves = WatermarkQueue::default();
        for step in
            [WatermarkUpdate::Delivered(Seq::new(2)), WatermarkUpdate::Sent, WatermarkUpdate::Delivered(Seq::new(7))]
        {
            moves.add(ChatroomId::new(1), ChatterId::new(2), step);
        }
        assert_eq!(taken(&moves), [(1, 7, 0, 2)]);
    }

    #[test]
    fn two_proofs_with_a_gap_between_them_stay_two() {
        let moves = WatermarkQueue::default();
        moves.add(
            ChatroomId::new(1),
            ChatterId::new(2),
            WatermarkUpdate::Received { from: Seq::new(1), to: Seq::new(5) },
        );
        moves.add(
            ChatroomId::new(1),
            ChatterId::new(2),
            WatermarkUpdate::Received { from: Seq::new(8), to: Seq::new(10) },
        );
        assert_eq!(taken(&moves), [(1, 5, 0, -1)]);
        assert_eq!(taken(&moves), [(8, 10, 0, -1)]);
    }

    #[test]
    fn what_was_sent_while_nothing_is_stored_is_one_row_afterwards() {
        let moves = WatermarkQueue::default();
        moves.add(ChatroomId::new(1), ChatterId::new(2), WatermarkUpdate::Delivered(Seq::new(4)));
        for _ in 0..50 {
            let tried = moves.take();
            moves.add(ChatroomId::new(1), ChatterId::new(2), WatermarkUpdate::Sent);
            moves.put_back(tried);
        }
        assert_eq!(taken(&moves), [(1, 4, 0, 4)]);
        assert_eq!(taken(&moves), []);
    }

    #[test]
    fn a_claim_needs_no_proof() {
        let moves = WatermarkQueue::default();
        moves.add(
            ChatroomId::new(1),
            ChatterId::new(2),
            WatermarkUpdate::Received { from: Seq::new(8), to: Seq::new(10) },
        );
        moves.add(ChatroomId::new(1), ChatterId::new(2), WatermarkUpdate::Delivered(Seq::new(9)));
        assert_eq!(taken(&moves), [(1, 10, 0, -1)], "everything up to 9 is claimed and 8 to 10 proven");
    }
}
