//! Rooms that were created or deleted on other instances, brought to the connections and rooms of this one.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::domain::{ChatroomId, ChatterId};
use crate::service::Service;

/// Announces new rooms and closes deleted ones.
pub(super) struct RoomChanges {
    service: Arc<Service>,
    /// The rooms that other instances have created, with their participants.
    created: Mutex<HashMap<ChatroomId, [ChatterId; 2]>>,
    added: Notify,
}

impl RoomChanges {
    pub(super) fn new(service: Arc<Service>) -> Self {
        Self { service, created: Mutex::default(), added: Notify::new() }
    }

    /// Has a new room announced soon.
    pub(super) fn created(&self, room: ChatroomId, participants: [ChatterId; 2]) {
        self.created.lock().insert(room, participants);
        self.added.notify_one();
    }

    /// Announces new rooms for as long as the instance runs.
    pub(super) async fn run(&self) {
        loop {
            self.added.notified().await;
            let created = std::mem::take(&mut *self.created.lock());
            for (room, participants) in created {
                // A room that could not be read is announced by the next poll.
                self.announce(room, participants).await;
            }
        }
    }

    /// Announces a new room to the device sockets that lack it.
    pub(super) async fn announce(&self, room: ChatroomId, participants: [ChatterId; 2]) {
        self.service.announce_chatroom_here(room, participants).await;
    }

    /// Closes a deleted room on this instance.
    pub(super) fn deleted(&self, room: ChatroomId, participants: [ChatterId; 2]) {
        self.service.chatroom_deleted_elsewhere(room, participants);
    }
}
