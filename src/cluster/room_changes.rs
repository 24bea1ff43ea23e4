//! Rooms that were created or deleted on other instances, brought to the connections and rooms of this one.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::connections::device::RoomAnnouncement;
use crate::connections::registry::ConnectionRegistry;
use crate::domain::{ChatroomId, ChatterId};
use crate::rooms::command::Command;
use crate::rooms::registry::Registry;

/// Makes the frame that announces a new room to a chatter; none if the room was deleted again.
pub type TellOfRoom =
    Box<dyn Fn(ChatterId, ChatroomId) -> Pin<Box<dyn Future<Output = Option<RoomAnnouncement>>>> + Send + Sync>;

/// Announces new rooms and closes deleted ones.
pub(super) struct RoomChanges {
    connections: Arc<ConnectionRegistry>,
    rooms: Arc<Registry>,
    tell_of_room: TellOfRoom,
    /// The rooms that other instances have created, with their participants.
    created: Mutex<HashMap<ChatroomId, [ChatterId; 2]>>,
    added: Notify,
}

impl RoomChanges {
    pub(super) fn new(connections: Arc<ConnectionRegistry>, rooms: Arc<Registry>, tell_of_room: TellOfRoom) -> Self {
        Self { connections, rooms, tell_of_room, created: Mutex::default(), added: Notify::new() }
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
        for chatter in participants {
            if self.connections.lacks_announcement(chatter, room)
                && let Some(announcement) = (self.tell_of_room)(chatter, room).await
            {
                self.connections.announce_room(chatter, room, &announcement);
            }
        }
    }

    /// Closes a deleted room on this instance.
    pub(super) fn deleted(&self, room: ChatroomId, participants: [ChatterId; 2]) {
        self.connections.close_room(room, participants);
        self.rooms.send_if_running(room, Command::Deleted);
    }
}
