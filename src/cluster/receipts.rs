//! Watermarks that moved, on their way to the device sockets of the two: what the other one has read, what oneself has not.
//!
//! The writer calls [`Receipts`] after each statement; what has to be counted for it is counted by one task on this
//! instance, started by `app`, so that counts of one chatter reach their devices in order.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::sleep;

use crate::broker::State;
use crate::connections::registry::ConnectionRegistry;
use crate::domain::{ChatroomId, ChatterId};
use crate::protocol::device::server::{ServerFrame, UnreadBody};
use crate::store::Store;
use crate::store::writer::{MovedWatermark, WatermarkObserver};
use crate::websocket::framing::text_frame;

/// Tells of watermarks that moved.
pub struct Receipts {
    store: Arc<Store>,
    connections: Arc<ConnectionRegistry>,
    /// What has to be counted for, by chatter and room: of several steps the last says all.
    to_count: Mutex<HashMap<ChatterId, HashMap<ChatroomId, MovedWatermark>>>,
    added: Notify,
    /// What other instances may not have heard.
    late: Mutex<Late>,
    /// How far back they did not, where that has yet to be made up for.
    unheard: Mutex<Option<Duration>>,
    asked: Notify,
}

/// What is kept for other instances to be told again: the newest of each room and chatter, in two halves, so that the older one
/// can be let go at once. What is no longer kept, their devices see with the next step or sign-in.
#[derive(Default)]
struct Late {
    newer: HashMap<(ChatroomId, ChatterId), (Instant, MovedWatermark)>,
    older: HashMap<(ChatroomId, ChatterId), (Instant, MovedWatermark)>,
    /// When the newer half was begun.
    since: Option<Instant>,
}

/// What one half keeps.
const LATE_MAX: usize = 10_000;
/// How long a half is added to while the other instances hear: an instance that alone heard nothing for so long is told all.
const LATE_KEPT: Duration = Duration::from_secs(60);

/// Several instances may ask at once for what they missed.
const GATHER: Duration = Duration::from_millis(500);
/// What is told again at once, and the pause behind it: what is new shall find room in the relay's queue.
const AGAIN_AT_ONCE: usize = 500;
const AGAIN_PAUSE: Duration = Duration::from_millis(50);

impl Late {
    fn keep(&mut self, moved: &MovedWatermark) {
        let now = Instant::now();
        let key = (moved.chatroom_id, moved.chatter_id);
        // A step that was only delivered shall not hide one that was read.
        let before = self.newer.get(&key).or_else(|| self.older.get(&key));
        let read = moved.read || before.is_some_and(|(_, before)| before.read);
        if self.newer.len() >= LATE_MAX {
            self.turn();
        }
        self.since.get_or_insert(now);
        self.older.remove(&key);
        self.newer.insert(key, (now, MovedWatermark { read, ..*moved }));
    }

    fn turn(&mut self) {
        self.older = std::mem::take(&mut self.newer);
        self.since = None;
    }

    fn of(&self, within: Duration) -> Vec<MovedWatermark> {
        let all = self.older.values().chain(self.newer.values());
        all.filter(|(at, _)| at.elapsed() <= within).map(|(_, moved)| *moved).collect()
    }
}

impl Receipts {
    /// Nothing has moved yet.
    #[must_use]
    pub fn new(store: Arc<Store>, connections: Arc<ConnectionRegistry>) -> Arc<Self> {
        Arc::new(Self {
            store,
            connections,
            to_count: Mutex::default(),
            added: Notify::new(),
            late: Mutex::default(),
            unheard: Mutex::default(),
            asked: Notify::new(),
        })
    }

    /// Counts, and tells again, for as long as the instance runs.
    pub async fn run(self: Arc<Self>) {
        tokio::join!(self.count_for_ever(), self.tell_again_for_ever());
    }

    async fn count_for_ever(&self) {
        loop {
            self.added.notified().await;
            let all = std::mem::take(&mut *self.to_count.lock());
            for (chatter_id, moved) in all {
                self.count(chatter_id, moved).await;
            }
        }
    }

    /// Tells again what moved within this time. Called when other instances hear again that did not, or this one is heard.
    pub fn tell_again(&self, within: Duration) {
        let mut unheard = self.unheard.lock();
        *unheard = (*unheard).max(Some(within));
        self.asked.notify_one();
    }

    async fn tell_again_for_ever(&self) {
        loop {
            self.asked.notified().await;
            sleep(GATHER).await;
            let within = self.unheard.lock().take().unwrap_or_default() + GATHER;
            let late = self.late.lock().of(within);
            for some in late.chunks(AGAIN_AT_ONCE) {
                self.tell(some);
                sleep(AGAIN_PAUSE).await;
            }
        }
    }

    /// Lets go of what moved long ago. Called while all instances hear.
    pub fn were_heard(&self) {
        let mut late = self.late.lock();
        if late.since.is_some_and(|since| since.elapsed() >= LATE_KEPT) {
            late.turn();
        }
    }

    async fn count(&self, chatter_id: ChatterId, mut moved: HashMap<ChatroomId, MovedWatermark>) {
        let rooms: Vec<ChatroomId> = moved.keys().copied().collect();
        // Without an answer the client goes by what it can see itself.
        for (room, unread) in self.store.unread(chatter_id, &rooms).await.unwrap_or_default() {
            if let Some(mut moved) = moved.remove(&room) {
                // Another instance may have moved them further, and then this is what the count belongs to.
                (moved.delivered_seq, moved.read_seq) = (unread.marks.delivered_seq, unread.marks.read_seq);
                let unread = UnreadBody {
                    unread_count: unread.unread_count,
                    unread_total: unread.unread_total,
                    version: unread.version,
                    last_seq: unread.last_seq,
                };
                self.connections.send_durable(chatter_id, &text_frame(&frame(&moved, Some(unread))));
            }
        }
        for moved in moved.values() {
            self.connections.send_durable(chatter_id, &text_frame(&frame(moved, None)));
        }
    }
}

impl WatermarkObserver for Receipts {
    fn moved(&self, moved: Vec<MovedWatermark>) {
        if self.connections.broker().state() != State::Single {
            // Also while Redis seems to be there: that it is gone is known a little later.
            let mut late = self.late.lock();
            moved.iter().for_each(|moved| late.keep(moved));
        }
        self.tell(&moved);
    }
}

impl Receipts {
    fn tell(&self, moved: &[MovedWatermark]) {
        let mut counts = false;
        for &moved in moved {
            if moved.shown && moved.other_id != moved.chatter_id && self.connections.may_have_device(moved.other_id) {
                self.connections.send_durable(moved.other_id, &text_frame(&frame(&moved, None)));
            }
            if moved.read && self.connections.may_have_device(moved.chatter_id) {
                counts = true;
                self.to_count.lock().entry(moved.chatter_id).or_default().insert(moved.chatroom_id, moved);
            }
        }
        if counts {
            self.added.notify_one();
        }
    }
}

fn frame(moved: &MovedWatermark, unread: Option<UnreadBody>) -> ServerFrame<'static> {
    ServerFrame::Receipt {
        chatroom_id: moved.chatroom_id,
        chatter_id: moved.chatter_id,
        delivered_seq: moved.delivered_seq,
        read_seq: moved.read_seq,
        unread,
    }
}
