//! Watermarks that moved, on their way to the device sockets of the two: what the other one has read, what oneself has not.
//!
//! The writer calls [`Receipts`] after each statement; what has to be counted for it is counted by one task on this
//! instance, started by `app`, so that counts of one chatter reach their devices in order.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::mpsc;

use super::session::frame::text_frame;
use super::sessions::Sessions;
use crate::domain::{ChatroomId, ChatterId};
use crate::store::Store;
use crate::store::writer::{Moved, Watcher};
use crate::wire::device::server::{ServerFrame, UnreadBody};

/// Watermarks that wait to be counted for; beyond, devices are told without counts.
const QUEUE_MAX: usize = 4_096;
/// How many are counted for at once.
const BATCH_MAX: usize = 256;

/// Tells of watermarks that moved.
pub struct Receipts {
    sessions: Arc<Sessions>,
    to_count: mpsc::Sender<Moved>,
}

/// Counts what is unread for chatters who read something.
pub struct Counting {
    sessions: Arc<Sessions>,
    store: Arc<Store>,
    queue: mpsc::Receiver<Moved>,
}

/// The two halves: what the writer calls, and the task.
#[must_use]
pub fn new(store: Arc<Store>, sessions: Arc<Sessions>) -> (Arc<Receipts>, Counting) {
    let (to_count, queue) = mpsc::channel(QUEUE_MAX);
    (Arc::new(Receipts { sessions: sessions.clone(), to_count }), Counting { sessions, store, queue })
}

impl Watcher for Receipts {
    fn moved(&self, moved: Vec<Moved>) {
        for moved in moved {
            if moved.shown && self.sessions.has_device(moved.other_id) {
                self.sessions.announce(moved.other_id, &text_frame(&frame(&moved, None)));
            }
            if moved.read
                && self.sessions.has_device(moved.chatter_id)
                && let Err(refused) = self.to_count.try_send(moved)
            {
                let moved = refused.into_inner();
                self.sessions.announce(moved.chatter_id, &text_frame(&frame(&moved, None)));
            }
        }
    }
}

impl Counting {
    /// Counts for as long as the instance runs.
    pub async fn run(mut self) {
        let mut batch = Vec::new();
        while self.queue.recv_many(&mut batch, BATCH_MAX).await > 0 {
            // Of several steps of one chatter in one room the last says all.
            let last: HashMap<(ChatroomId, ChatterId), Moved> =
                batch.drain(..).map(|moved| ((moved.chatroom_id, moved.chatter_id), moved)).collect();
            for moved in last.into_values() {
                // Without an answer the client goes by what it can see itself.
                let unread = self.store.unread(moved.chatter_id, moved.chatroom_id).await.ok().flatten();
                let unread = unread.map(|unread| UnreadBody {
                    unread_count: unread.unread_count,
                    unread_total: unread.unread_total,
                    version: unread.version,
                    last_seq: unread.last_seq,
                });
                self.sessions.announce(moved.chatter_id, &text_frame(&frame(&moved, unread)));
            }
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
