//! Watermarks that moved, on their way to the device sockets of the two: what the other one has read, what oneself has not.
//!
//! The writer calls [`Receipts`] after each statement; what has to be counted for it is counted by one task on this
//! instance, started by `app`, so that counts of one chatter reach their devices in order.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::session::frame::text_frame;
use super::sessions::Sessions;
use crate::domain::{ChatroomId, ChatterId};
use crate::relay::State;
use crate::store::Store;
use crate::store::writer::{Moved, Watcher};
use crate::wire::device::server::{ServerFrame, UnreadBody};

/// Tells of watermarks that moved.
pub struct Receipts {
    store: Arc<Store>,
    sessions: Arc<Sessions>,
    /// What has to be counted for, by chatter and room: of several steps the last says all.
    to_count: Mutex<HashMap<ChatterId, HashMap<ChatroomId, Moved>>>,
    added: Notify,
    /// What other instances may not have heard, and since when.
    late: Mutex<HashMap<(ChatroomId, ChatterId), (Instant, Moved)>>,
}

/// What is kept for other instances to be told later: beyond, their devices see it with the next step or sign-in.
const LATE_MAX: usize = 10_000;

impl Receipts {
    /// Nothing has moved yet.
    #[must_use]
    pub fn new(store: Arc<Store>, sessions: Arc<Sessions>) -> Arc<Self> {
        Arc::new(Self { store, sessions, to_count: Mutex::default(), added: Notify::new(), late: Mutex::default() })
    }

    /// Counts for as long as the instance runs.
    pub async fn run(self: Arc<Self>) {
        loop {
            self.added.notified().await;
            let all = std::mem::take(&mut *self.to_count.lock());
            for (chatter_id, moved) in all {
                self.count(chatter_id, moved).await;
            }
        }
    }

    /// Tells the other instances what they may not have heard at its time. Called when they hear again.
    pub fn tell_late(&self) {
        let late = std::mem::take(&mut *self.late.lock());
        if !late.is_empty() {
            self.moved(late.into_values().map(|(_, moved)| moved).collect());
        }
    }

    /// What was told so long ago was heard. Called while the other instances hear.
    pub fn were_heard(&self, ago: Duration) {
        self.late.lock().retain(|_, (at, _)| at.elapsed() < ago);
    }

    fn keep_for_later(&self, moved: &Moved) {
        let mut late = self.late.lock();
        let key = (moved.chatroom_id, moved.chatter_id);
        if late.len() < LATE_MAX || late.contains_key(&key) {
            // A step that was only delivered shall not hide one that was read.
            let read = moved.read || late.get(&key).is_some_and(|(_, before)| before.read);
            late.insert(key, (Instant::now(), Moved { read, ..*moved }));
        }
    }

    async fn count(&self, chatter_id: ChatterId, mut moved: HashMap<ChatroomId, Moved>) {
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
                self.sessions.announce(chatter_id, &text_frame(&frame(&moved, Some(unread))));
            }
        }
        for moved in moved.values() {
            self.sessions.announce(chatter_id, &text_frame(&frame(moved, None)));
        }
    }
}

impl Watcher for Receipts {
    fn moved(&self, moved: Vec<Moved>) {
        let mut counts = false;
        // Also while Redis seems to be there: that it is gone is known a little later.
        let is_alone = self.sessions.relay().state() == State::Single;
        for moved in moved {
            if !is_alone {
                self.keep_for_later(&moved);
            }
            if moved.shown && moved.other_id != moved.chatter_id && self.sessions.may_have_device(moved.other_id) {
                self.sessions.announce(moved.other_id, &text_frame(&frame(&moved, None)));
            }
            if moved.read && self.sessions.may_have_device(moved.chatter_id) {
                counts = true;
                self.to_count.lock().entry(moved.chatter_id).or_default().insert(moved.chatroom_id, moved);
            }
        }
        if counts {
            self.added.notify_one();
        }
    }
}

fn frame(moved: &Moved, unread: Option<UnreadBody>) -> ServerFrame<'static> {
    ServerFrame::Receipt {
        chatroom_id: moved.chatroom_id,
        chatter_id: moved.chatter_id,
        delivered_seq: moved.delivered_seq,
        read_seq: moved.read_seq,
        unread,
    }
}
