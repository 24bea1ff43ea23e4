//! Watermarks that moved, on their way to the device sockets of the two: what the other one has read, what oneself has not.
//!
//! The writer calls [`Receipts`] after each statement; what has to be counted for it is counted by one task on this
//! instance, started by `app`, so that counts of one chatter reach their devices in order.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::session::frame::text_frame;
use super::sessions::Sessions;
use crate::domain::{ChatroomId, ChatterId};
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
}

impl Receipts {
    /// Nothing has moved yet.
    #[must_use]
    pub fn new(store: Arc<Store>, sessions: Arc<Sessions>) -> Arc<Self> {
        Arc::new(Self { store, sessions, to_count: Mutex::default(), added: Notify::new() })
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

    async fn count(&self, chatter_id: ChatterId, mut moved: HashMap<ChatroomId, Moved>) {
        let rooms: Vec<ChatroomId> = moved.keys().copied().collect();
        // Without an answer the client goes by what it can see itself.
        for (room, unread) in self.store.unread(chatter_id, &rooms).await.unwrap_or_default() {
            if let Some(moved) = moved.remove(&room) {
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
        for moved in moved {
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
