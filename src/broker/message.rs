//! The messages that instances send each other.

use std::fmt;

use bytes::Bytes;

use crate::domain::chat::{ChangeKind, Chat};
use crate::domain::{ChatroomId, ChatterId, Version};

/// A message from one instance to the others, addressed to chatters. Its `Debug` leaves contents out.
#[derive(Clone, PartialEq, Eq)]
pub enum ClusterMessage {
    /// Changes of a room, for both of its chatters.
    Changes(Changes),
    /// A frame (JSON text of the device protocol) for a chatter's device sockets.
    Frame {
        /// The chatter whose device sockets get the frame.
        chatter_id: ChatterId,
        /// The JSON text, without a WebSocket header.
        text: Bytes,
        /// Whether a socket may drop the frame.
        durability: Durability,
    },
    /// A room was created.
    RoomCreated {
        /// The new room, which the receivers read from the database.
        chatroom_id: ChatroomId,
        /// Its participants; the same twice in notes to self.
        chatters: [ChatterId; 2],
    },
    /// Sign-ins of the chatter, or the account, have ended: the tokens of their sockets have to be checked.
    AccessEnded {
        /// The chatter whose sockets' tokens the receivers check in the database.
        chatter_id: ChatterId,
    },
    /// A room was deleted.
    RoomDeleted {
        /// The former room, whose id is never used again.
        chatroom_id: ChatroomId,
        /// Its former participants; the same twice in notes to self.
        chatters: [ChatterId; 2],
    },
    /// The sender has missed messages: the others are to repeat receipts and presence of the last `within_s` seconds.
    RepeatRequest {
        /// How far back, in seconds before the request arrives.
        within_s: u64,
    },
}

/// Addresses every instance; each subscribes to it at its start. Chatters' ids begin at 1.
pub const EVERY_INSTANCE: ChatterId = ChatterId::new(0);

/// Whether a frame may be dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// The frame is dropped where it would have to wait, such as a typing notice.
    Ephemeral,
    /// The frame waits for the socket's catch-up, such as a receipt.
    Durable,
}

/// Changes of a room after version `from` up to version `to`, ascending, each version once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changes {
    /// The room that changed.
    pub chatroom_id: ChatroomId,
    /// The chatter who created the room.
    pub owner_id: ChatterId,
    /// The other chatter; the owner itself in notes to self.
    pub opponent_id: ChatterId,
    /// The room's version before the first change.
    pub from: Version,
    /// The room's version after the last change.
    pub to: Version,
    /// What each change did, and the chat after it.
    pub changes: Vec<(ChangeKind, Chat)>,
}

impl ClusterMessage {
    /// The chatters whom the message is for; the second one only where it differs from the first.
    #[must_use]
    pub fn recipients(&self) -> (ChatterId, Option<ChatterId>) {
        let (first, second) = match self {
            Self::Changes(message) => (message.owner_id, message.opponent_id),
            Self::RoomCreated { chatters: [first, second], .. }
            | Self::RoomDeleted { chatters: [first, second], .. } => (*first, *second),
            Self::Frame { chatter_id, .. } | Self::AccessEnded { chatter_id } => (*chatter_id, *chatter_id),
            Self::RepeatRequest { .. } => (EVERY_INSTANCE, EVERY_INSTANCE),
        };
        (first, (second != first).then_some(second))
    }

    /// Whether the message is for this chatter.
    pub(super) fn is_for(&self, chatter: ChatterId) -> bool {
        let (first, second) = self.recipients();
        first == chatter || second == Some(chatter)
    }

    /// The message as two shorter ones that follow each other; none where it cannot be divided.
    pub(super) fn halves(&self) -> Option<[Self; 2]> {
        let Self::Changes(message) = self else { return None };
        if message.changes.len() < 2 || !message.changes.is_sorted_by_key(|(_, chat)| chat.version) {
            return None;
        }
        let (head, tail) = message.changes.split_at(message.changes.len() / 2);
        let between = head.last()?.1.version;
        let part =
            |from, to, changes: &[_]| Changes { from, to, changes: changes.to_vec(), ..message.without_changes() };
        Some([Self::Changes(part(message.from, between, head)), Self::Changes(part(between, message.to, tail))])
    }
}

impl Changes {
    fn without_changes(&self) -> Self {
        Self { changes: Vec::new(), ..*self }
    }
}

impl fmt::Debug for ClusterMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Changes(message) => message.fmt(f),
            Self::Frame { chatter_id, text, .. } => write!(f, "Frame of {} bytes for {chatter_id}", text.len()),
            Self::AccessEnded { chatter_id } => write!(f, "AccessEnded {chatter_id}"),
            Self::RoomCreated { chatroom_id, .. } => write!(f, "RoomCreated {chatroom_id}"),
            Self::RoomDeleted { chatroom_id, .. } => write!(f, "RoomDeleted {chatroom_id}"),
            Self::RepeatRequest { within_s } => write!(f, "RepeatRequest {within_s} s"),
        }
    }
}
