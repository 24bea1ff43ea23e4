//! The live sockets of this instance, as the rest of the instance sees them: found by chatter, and filled with frames.
//!
//! Each kind of socket is a type of its own. A connection wakes its session through a `Recipient` and does not know it.

pub mod admission;
pub mod broadcaster;
pub mod chatroom;
pub mod device;
pub mod drain_flag;
pub mod presence_changes;
pub mod registry;
pub mod socket;
pub mod unsigned;

use std::sync::Arc;

use crate::delivery::event::Batch;
use crate::domain::{ChatroomId, ChatterId, Grant, Version};
use crate::websocket::framing::Close;
use chatroom::ChatroomConnection;
use device::DeviceConnection;
use socket::Socket;

/// A live socket of a chatter.
#[derive(Clone)]
pub enum Connection {
    /// A socket of `/ws`, for all rooms of its chatter.
    Device(Arc<DeviceConnection>),
    /// A socket of one room.
    Chatroom(Arc<ChatroomConnection>),
}

impl Connection {
    /// The chatter who has signed in on it.
    #[must_use]
    pub fn chatter_id(&self) -> ChatterId {
        match self {
            Self::Device(device) => device.chatter_id,
            Self::Chatroom(chatroom) => chatroom.chatter_id,
        }
    }

    /// What its token is valid by.
    #[must_use]
    pub fn grant(&self) -> Grant {
        match self {
            Self::Device(device) => device.grant(),
            Self::Chatroom(chatroom) => chatroom.grant,
        }
    }

    /// What it has in common with every other socket.
    #[must_use]
    pub fn socket(&self) -> &Socket {
        match self {
            Self::Device(device) => device.socket(),
            Self::Chatroom(chatroom) => chatroom.socket(),
        }
    }

    /// Queues the frames of these changes. Called by the room, once per commit.
    pub fn deliver(&self, batch: &Arc<Batch>) {
        match self {
            Self::Device(device) => device.deliver(batch),
            Self::Chatroom(chatroom) => chatroom.deliver(batch),
        }
    }

    /// Makes a socket that was sent less than this version of the room read the database.
    pub fn check_version(&self, room: ChatroomId, version: Version) {
        match self {
            Self::Device(device) => device.check_version(room, version),
            Self::Chatroom(chatroom) => chatroom.check_version(room, version),
        }
    }

    /// Takes notice that the room was deleted: a chatroom socket of the room is closed, a device socket is sent a
    /// frame.
    pub fn room_deleted(&self, room: ChatroomId) {
        match self {
            Self::Device(device) => device.room_deleted(room),
            Self::Chatroom(chatroom) if chatroom.chatroom_id == room => self.close(Close::ROOM_GONE),
            Self::Chatroom(_) => {}
        }
    }

    /// Closes the socket with this code.
    pub fn close(&self, close: Close) {
        self.socket().close(close);
    }
}
