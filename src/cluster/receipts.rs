//! Receipts: sends watermarks that moved to the device sockets of both participants. The other participant sees what
//! was delivered and read; the chatter's own devices see what is still unread.
//!
//! The store's writer calls [`Receipts`] after each statement. One task of this instance, started by `app`, queries the
//! unread counts, so that the counts of one chatter reach their devices in order.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::sleep;

use crate::broker::{Broker, State};
use crate::connections::broadcaster::Broadcaster;
use crate::domain::{ChatroomId, ChatterId};
use crate::protocol::device::server::{ServerFrame, UnreadBody};
use crate::store::Store;
use crate::store::writer::{MovedWatermark, WatermarkObserver};
use crate::websocket::framing::text_frame;

/// The most watermarks that one generation of the recent ones keeps.
const RECENT_MAX: usize = 10_000;
/// How long a generation grows while all messages go through. An instance that alone missed messages for less time than
/// this is sent all of them.
const RECENT_KEPT: Duration = Duration::from_secs(60);
/// Several instances may ask for a repetition at once.
const GATHER: Duration = Duration::from_millis(500);
/// How many receipts are repeated at once, and the pause after them: the broker's queue needs room for new messages.
const REPEAT_AT_ONCE: usize = 500;
const REPEAT_PAUSE: Duration = Duration::from_millis(50);

/// Sends receipts.
pub struct Receipts {
    store: Arc<Store>,
    broadcaster: Broadcaster,
    broker: Arc<dyn Broker>,
    /// The watermarks whose unread counts have to be queried, by chatter and room. The latest one includes the others.
    to_count: Mutex<HashMap<ChatterId, HashMap<ChatroomId, MovedWatermark>>>,
    count_wanted: Notify,
    /// What the other instances may not have received.
    recent: Mutex<Recent>,
    /// How far back receipts have to be repeated, if they have to.
    to_repeat: Mutex<Option<Duration>>,
    repeat_wanted: Notify,
}

/// The watermarks that moved lately, the latest of each room and chatter. They are kept in two generations, so that the
/// older one can be dropped as a whole. Devices see a watermark that was dropped with its next move, or at their next
/// sign-in.
#[derive(Default)]
struct Recent {
    newer: Generation,
    older: Generation,
    /// When the newer generation was begun.
    since: Option<Instant>,
}

type Generation = HashMap<(ChatroomId, ChatterId), (Instant, MovedWatermark)>;

impl Recent {
    fn keep(&mut self, moved: &MovedWatermark) {
        let now = Instant::now();
        let key = (moved.chatroom_id, moved.chatter_id);
        // A move of `delivered_seq` alone must not hide an earlier one of `read_seq`.
        let before = self.newer.get(&key).or_else(|| self.older.get(&key));
        let read = moved.read || before.is_some_and(|(_, before)| before.read);
        if self.newer.len() >= RECENT_MAX {
            self.begin_generation();
        }
        self.since.get_or_insert(now);
        self.older.remove(&key);
        self.newer.insert(key, (now, MovedWatermark { read, ..*moved }));
    }

    fn begin_generation(&mut self) {
        self.older = std::mem::take(&mut self.newer);
        self.since = None;
    }

    /// Drops the watermarks that moved long ago.
    fn release_old(&mut self) {
        if self.since.is_some_and(|since| since.elapsed() >= RECENT_KEPT) {
            self.begin_generation();
        }
    }

    /// The watermarks that moved within this time.
    fn within(&self, time: Duration) -> Vec<MovedWatermark> {
        let all = self.older.values().chain(self.newer.values());
        all.filter(|(at, _)| at.elapsed() <= time).map(|(_, moved)| *moved).collect()
    }
}

impl Receipts {
    /// Nothing has moved yet.
    #[must_use]
    pub fn new(store: Arc<Store>, broadcaster: Broadcaster, broker: Arc<dyn Broker>) -> Arc<Self> {
        Arc::new(Self {
            store,
            broadcaster,
            broker,
            to_count: Mutex::default(),
            count_wanted: Notify::new(),
            recent: Mutex::default(),
            to_repeat: Mutex::default(),
            repeat_wanted: Notify::new(),
        })
    }

    /// Queries unread counts, and repeats receipts, for as long as the instance runs.
    pub async fn run(self: Arc<Self>) {
        tokio::join!(self.keep_counting(), self.keep_repeating());
    }

    async fn keep_counting(&self) {
        loop {
            self.count_wanted.notified().await;
            let all = std::mem::take(&mut *self.to_count.lock());
            for (chatter_id, moved) in all {
                self.count(chatter_id, moved).await;
            }
        }
    }

    /// Has the receipts of the last `within` repeated, as other instances may not have received them.
    pub fn repeat(&self, within: Duration) {
        let mut to_repeat = self.to_repeat.lock();
        *to_repeat = (*to_repeat).max(Some(within));
        self.repeat_wanted.notify_one();
    }

    async fn keep_repeating(&self) {
        loop {
            self.repeat_wanted.notified().await;
            sleep(GATHER).await;
            let within = self.to_repeat.lock().take().unwrap_or_default() + GATHER;
            let recent = self.recent.lock().within(within);
            for some in recent.chunks(REPEAT_AT_ONCE) {
                self.send(some);
                sleep(REPEAT_PAUSE).await;
            }
        }
    }

    /// Drops all watermarks: they are those of an earlier epoch of the database.
    pub fn forget(&self) {
        *self.recent.lock() = Recent::default();
        self.to_count.lock().clear();
    }

    /// Drops the watermarks that moved long ago. Called while all messages go through.
    pub fn release_old(&self) {
        self.recent.lock().release_old();
    }

    /// Sends a chatter's own devices the unread counts of these rooms.
    async fn count(&self, chatter_id: ChatterId, mut moved: HashMap<ChatroomId, MovedWatermark>) {
        let rooms: Vec<ChatroomId> = moved.keys().copied().collect();
        // Without the database, the receipts go out without counts: the client then counts the chats that it has.
        for (room, unread) in self.store.unread(chatter_id, &rooms).await.unwrap_or_default() {
            if let Some(mut moved) = moved.remove(&room) {
                // The counts belong to these watermarks, which another instance may have moved further meanwhile.
                (moved.delivered_seq, moved.read_seq) = (unread.marks.delivered_seq, unread.marks.read_seq);
                let unread = UnreadBody {
                    unread_count: unread.unread_count,
                    unread_total: unread.unread_total,
                    version: unread.version,
                    last_seq: unread.last_seq,
                };
                self.broadcaster.send_durable(chatter_id, &text_frame(&frame(&moved, Some(unread))));
            }
        }
        for moved in moved.values() {
            self.broadcaster.send_durable(chatter_id, &text_frame(&frame(moved, None)));
        }
    }

    fn send(&self, moved: &[MovedWatermark]) {
        let mut needs_count = false;
        for &moved in moved {
            if moved.shown && moved.other_id != moved.chatter_id && self.broadcaster.may_have_device(moved.other_id) {
                self.broadcaster.send_durable(moved.other_id, &text_frame(&frame(&moved, None)));
            }
            if moved.read && self.broadcaster.may_have_device(moved.chatter_id) {
                needs_count = true;
                self.to_count.lock().entry(moved.chatter_id).or_default().insert(moved.chatroom_id, moved);
            }
        }
        if needs_count {
            self.count_wanted.notify_one();
        }
    }
}

impl WatermarkObserver for Receipts {
    fn moved(&self, moved: Vec<MovedWatermark>) {
        if self.broker.state() != State::Single {
            // Also while Redis seems to be reachable, since an outage is noticed late.
            let mut recent = self.recent.lock();
            moved.iter().for_each(|moved| recent.keep(moved));
        }
        self.send(&moved);
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
