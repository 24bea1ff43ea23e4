//! The queue of watermark updates: coalesced per room and chatter, and written at most 250 ms late.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use crate::domain::{ChatroomId, ChatterId, Seq};
use crate::store::epoch::EpochObserver;

/// How long an update waits for others.
const LATE_MAX: Duration = Duration::from_millis(250);
/// The most rows that wait for an unavailable database. Beyond that updates are dropped: later proofs and receipts
/// replace them.
const PUT_BACK_MAX: usize = 100_000;

/// One update of a watermark. Watermarks move forward only; a stale update changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WatermarkUpdate {
    /// A connection proved that its client received every chat from `from` to `to`. Moves `delivered_seq` only if
    /// no older chat is undelivered.
    Received {
        /// The first chat that the connection was sent.
        from: Seq,
        /// The newest chat that the proof covers.
        to: Seq,
    },
    /// The client confirmed every chat up to here, or read the history up to here.
    Delivered(Seq),
    /// The person has seen every chat up to here.
    Read(Seq),
    /// The chatter sent a chat: what was delivered to them counts as read.
    Sent,
}

/// A watermark that moved, and whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MovedWatermark {
    /// The room in which it moved.
    pub chatroom_id: ChatroomId,
    /// The participant who received or read.
    pub chatter_id: ChatterId,
    /// The other person of the room; the chatter itself in notes to self.
    pub other_id: ChatterId,
    /// The chatter has received all chats up to here.
    pub delivered_seq: Seq,
    /// The chatter has read all chats up to here.
    pub read_seq: Seq,
    /// Whether the update was to move `read_seq`, and the unread count with it.
    pub read: bool,
    /// Whether the other person sees the chatter's receipts.
    pub shown: bool,
}

impl MovedWatermark {
    pub(super) fn key(&self) -> (ChatroomId, ChatterId) {
        (self.chatroom_id, self.chatter_id)
    }
}

/// The observer of watermarks that moved. The writer calls it on its own thread, after the commit: it must not wait.
pub trait WatermarkObserver: Send + Sync {
    /// Takes at least one watermark, each with its row as it is now.
    fn moved(&self, moved: Vec<MovedWatermark>);
}

/// The updates of one chatter in one room, as the statement takes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct WatermarkRow {
    pub(super) chatroom_id: ChatroomId,
    pub(super) chatter_id: ChatterId,
    /// The first seq of a proof; 1 where none is needed.
    pub(super) from: Seq,
    pub(super) delivered: Seq,
    pub(super) read: Seq,
    /// The most that had been delivered when the chatter last sent a chat.
    pub(super) sent_at: Option<Seq>,
}

impl WatermarkRow {
    fn new(chatroom_id: ChatroomId, chatter_id: ChatterId) -> Self {
        Self { chatroom_id, chatter_id, from: Seq::FIRST, delivered: Seq::ZERO, read: Seq::ZERO, sent_at: None }
    }

    /// `sent_at` as the statement takes it: -1 where no chat was sent.
    pub(super) fn sent_at_or_minus_1(&self) -> i64 {
        self.sent_at.map_or(-1, Seq::get)
    }

    pub(super) fn key(&self) -> (ChatroomId, ChatterId) {
        (self.chatroom_id, self.chatter_id)
    }

    /// Whether it may move `read_seq`.
    pub(super) fn updates_read(&self) -> bool {
        self.read > Seq::ZERO || self.sent_at.is_some()
    }

    /// Whether its only update is that the chatter sent a chat.
    fn is_sent_only(&self) -> bool {
        *self == Self { sent_at: Some(Seq::ZERO), ..Self::new(self.chatroom_id, self.chatter_id) }
    }

    /// Merges an update, or returns it where one row cannot hold both: two proofs with a gap between them.
    fn merge(&mut self, update: WatermarkUpdate) -> Result<(), WatermarkUpdate> {
        match update {
            // Chats that are delivered later are not read by this.
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
            WatermarkUpdate::Received { .. } => return Err(update),
        }
        Ok(())
    }
}

/// The waiting rows; rooms add updates and the writer takes rows.
#[derive(Default)]
pub(super) struct WatermarkQueue {
    waiting: Mutex<Waiting>,
    added: Notify,
}

#[derive(Default)]
struct Waiting {
    rows: HashMap<(ChatroomId, ChatterId), WatermarkRow>,
    /// Older rows, which are taken first.
    older: Vec<WatermarkRow>,
    since: Option<Instant>,
}

impl WatermarkQueue {
    pub(super) fn add(&self, chatroom_id: ChatroomId, chatter_id: ChatterId, update: WatermarkUpdate) {
        let mut waiting = self.waiting.lock();
        let row =
            waiting.rows.entry((chatroom_id, chatter_id)).or_insert_with(|| WatermarkRow::new(chatroom_id, chatter_id));
        if let Err(update) = row.merge(update) {
            let older = std::mem::replace(row, WatermarkRow::new(chatroom_id, chatter_id));
            let merged = row.merge(update);
            debug_assert!(merged.is_ok(), "an empty row takes any update");
            waiting.older.push(older);
        }
        if waiting.since.is_none() {
            waiting.since = Some(Instant::now());
            self.added.notify_one();
        }
    }

    /// Returns when an update has waited long enough.
    pub(super) async fn due(&self) {
        loop {
            let since = self.waiting.lock().since;
            match since {
                Some(since) => return sleep_until(since + LATE_MAX).await,
                None => self.added.notified().await,
            }
        }
    }

    /// The rows, if an update has waited long enough.
    pub(super) fn take_due(&self) -> Option<Vec<WatermarkRow>> {
        let due = self.waiting.lock().since.is_some_and(|since| since.elapsed() >= LATE_MAX);
        due.then(|| self.take())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.lock().since.is_none()
    }

    /// Takes one row per room and chatter, the oldest; sorted, so that two instances lock rows in one order.
    pub(super) fn take(&self) -> Vec<WatermarkRow> {
        let mut waiting = self.waiting.lock();
        let mut rows: HashMap<(ChatroomId, ChatterId), WatermarkRow> = HashMap::new();
        let mut rest: Vec<WatermarkRow> = Vec::new();
        let mut newest: HashMap<(ChatroomId, ChatterId), usize> = HashMap::new();
        let (older, newer) = (std::mem::take(&mut waiting.older), std::mem::take(&mut waiting.rows));
        for row in older.into_iter().chain(newer.into_values()) {
            let key = row.key();
            match rows.entry(key) {
                Entry::Vacant(vacant) => {
                    vacant.insert(row);
                }
                // Sending while the database is unavailable leaves many of these.
                Entry::Occupied(mut first) if row.is_sent_only() => {
                    let last = newest.get(&key).and_then(|at| rest.get_mut(*at)).unwrap_or(first.get_mut());
                    let merged = last.merge(WatermarkUpdate::Sent);
                    debug_assert!(merged.is_ok(), "only proofs may not merge");
                }
                Entry::Occupied(_) => {
                    newest.insert(key, rest.len());
                    rest.push(row);
                }
            }
        }
        waiting.since = (!rest.is_empty()).then(Instant::now);
        waiting.older = rest;
        let mut rows: Vec<WatermarkRow> = rows.into_values().collect();
        rows.sort_unstable_by_key(WatermarkRow::key);
        rows
    }

    /// Puts rows back after a failed try, unless too many wait already.
    pub(super) fn put_back(&self, rows: Vec<WatermarkRow>) {
        let mut waiting = self.waiting.lock();
        if waiting.older.len() < PUT_BACK_MAX {
            waiting.older.splice(0..0, rows);
        }
        waiting.since = Some(Instant::now());
    }
}

impl EpochObserver for WatermarkQueue {
    /// The waiting watermarks are those of other chats now.
    fn epoch_changed(&self) {
        *self.waiting.lock() = Waiting::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(queue: &WatermarkQueue) -> Vec<(i64, i64, i64, i64)> {
        let numbers = |r: WatermarkRow| (r.from.get(), r.delivered.get(), r.read.get(), r.sent_at_or_minus_1());
        queue.take().into_iter().map(numbers).collect()
    }

    #[test]
    fn updates_of_one_chatter_become_one_row() {
        let queue = WatermarkQueue::default();
        for update in [
            WatermarkUpdate::Received { from: Seq::new(5), to: Seq::new(6) },
            WatermarkUpdate::Received { from: Seq::new(5), to: Seq::new(9) },
            WatermarkUpdate::Read(Seq::new(3)),
            WatermarkUpdate::Read(Seq::new(2)),
            WatermarkUpdate::Sent,
        ] {
            queue.add(ChatroomId::new(1), ChatterId::new(2), update);
        }
        assert_eq!(taken(&queue), [(5, 9, 3, 9)]);
        assert_eq!(taken(&queue), []);
    }

    #[test]
    fn a_chat_delivered_after_sending_stays_unread() {
        let queue = WatermarkQueue::default();
        for update in
            [WatermarkUpdate::Delivered(Seq::new(2)), WatermarkUpdate::Sent, WatermarkUpdate::Delivered(Seq::new(7))]
        {
            queue.add(ChatroomId::new(1), ChatterId::new(2), update);
        }
        assert_eq!(taken(&queue), [(1, 7, 0, 2)]);
    }

    #[test]
    fn two_proofs_with_a_gap_between_them_stay_two_rows() {
        let queue = WatermarkQueue::default();
        queue.add(
            ChatroomId::new(1),
            ChatterId::new(2),
            WatermarkUpdate::Received { from: Seq::new(1), to: Seq::new(5) },
        );
        queue.add(
            ChatroomId::new(1),
            ChatterId::new(2),
            WatermarkUpdate::Received { from: Seq::new(8), to: Seq::new(10) },
        );
        assert_eq!(taken(&queue), [(1, 5, 0, -1)]);
        assert_eq!(taken(&queue), [(8, 10, 0, -1)]);
    }

    #[test]
    fn chats_sent_during_an_outage_become_one_row() {
        let queue = WatermarkQueue::default();
        queue.add(ChatroomId::new(1), ChatterId::new(2), WatermarkUpdate::Delivered(Seq::new(4)));
        for _ in 0..50 {
            let tried = queue.take();
            queue.add(ChatroomId::new(1), ChatterId::new(2), WatermarkUpdate::Sent);
            queue.put_back(tried);
        }
        assert_eq!(taken(&queue), [(1, 4, 0, 4)]);
        assert_eq!(taken(&queue), []);
    }

    #[test]
    fn a_confirmation_needs_no_proof() {
        let queue = WatermarkQueue::default();
        queue.add(
            ChatroomId::new(1),
            ChatterId::new(2),
            WatermarkUpdate::Received { from: Seq::new(8), to: Seq::new(10) },
        );
        queue.add(ChatroomId::new(1), ChatterId::new(2), WatermarkUpdate::Delivered(Seq::new(9)));
        assert_eq!(taken(&queue), [(1, 10, 0, -1)], "everything up to 9 is confirmed and 8 to 10 proven");
    }
}
