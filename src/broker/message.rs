//! What instances tell each other.

use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::domain::chat::{ChangeKind, Chat};
use crate::domain::{ChatroomId, ChatterId, Version};

/// What one instance tells the others; addressed to chatters. Its `Debug` leaves contents out.
#[derive(Clone, PartialEq, Eq)]
pub enum ClusterMessage {
    /// Changes of a room: for both people.
    Changes(Changes),
    /// A frame (JSON text of the device socket) for a chatter's device sockets.
    Frame { chatter_id: ChatterId, text: Bytes, durability: Durability },
    /// A room is new.
    RoomMade { chatroom_id: ChatroomId, chatters: [ChatterId; 2] },
    /// Sign-ins of the chatter have ended, or the account has: their sockets' tokens have to be looked at.
    AccessEnded { chatter_id: ChatterId },
    /// A room is gone.
    RoomGone { chatroom_id: ChatroomId, chatters: [ChatterId; 2] },
    /// Who tells this has heard nothing: receipts and presence of so many seconds back shall be told again.
    Missed { within_s: u64 },
}

/// No chatter's id, which begin at 1: what is for every instance. Each listens to it from its start.
pub const EVERY_INSTANCE: ChatterId = ChatterId::new(0);

/// What a frame is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Durability {
    /// Something that nobody misses: it is dropped where it would have to wait.
    Ephemeral,
    /// Something that shall arrive.
    Durable,
}

/// Changes of a room after `from` up to `to`, ascending, each version once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changes {
    pub chatroom_id: ChatroomId,
    pub owner_id: ChatterId,
    pub opponent_id: ChatterId,
    pub from: Version,
    pub to: Version,
    pub changes: Vec<(ChangeKind, Chat)>,
}

impl ClusterMessage {
    /// Whom it is for; the second one only where it is somebody else.
    pub(super) fn chatters(&self) -> (ChatterId, Option<ChatterId>) {
        let (first, second) = match self {
            Self::Changes(message) => (message.owner_id, message.opponent_id),
            Self::RoomMade { chatters: [first, second], .. } | Self::RoomGone { chatters: [first, second], .. } => {
                (*first, *second)
            }
            Self::Frame { chatter_id, .. } | Self::AccessEnded { chatter_id } => (*chatter_id, *chatter_id),
            Self::Missed { .. } => (EVERY_INSTANCE, EVERY_INSTANCE),
        };
        (first, (second != first).then_some(second))
    }

    /// Whether it is for this chatter.
    pub(super) fn is_for(&self, chatter: ChatterId) -> bool {
        let (first, second) = self.chatters();
        first == chatter || second == Some(chatter)
    }

    /// The same as two shorter ones, one after the other; none where it cannot be divided.
    pub(super) fn halves(&self) -> Option<[Self; 2]> {
        let Self::Changes(message) = self else { return None };
        if message.changes.len() < 2 || !message.changes.is_sorted_by_key(|(_, chat)| chat.version) {
            return None;
        }
        let (head, tail) = message.changes.split_at(message.changes.len() / 2);
        let between = head.last()?.1.version;
        let part = |from, to, changes: &[_]| Changes { from, to, changes: changes.to_vec(), ..message.head() };
        Some([
            Self::Changes(part(message.from, between, head)), //
            Self::Changes(part(between, message.to, tail)),
        ])
    }
}

impl Changes {
    /// Which room it is about, without any change.
    fn head(&self) -> Self {
        Self { changes: Vec::new(), ..*self }
    }
}

impl fmt::Debug for ClusterMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Changes(message) => message.fmt(f),
            Self::Frame { chatter_id, text, .. } => write!(f, "Frame of {} bytes for {chatter_id}", text.len()),
            Self::AccessEnded { chatter_id } => write!(f, "AccessEnded {chatter_id}"),
            Self::RoomMade { chatroom_id, .. } => write!(f, "RoomMade {chatroom_id}"),
            Self::RoomGone { chatroom_id, .. } => write!(f, "RoomGone {chatroom_id}"),
            Self::Missed { within_s } => write!(f, "Missed {within_s} s"),
        }
    }
}
