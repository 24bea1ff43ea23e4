//! The room of two chatters.

use super::clock::Micros;
use super::{ChatroomId, ChatterId, Seq, Version};

/// A room's own row. What its viewer sees besides is `store::room_views::RoomView`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chatroom {
    /// What clients know as `chatroom_id`.
    pub id: ChatroomId,
    /// Who created it.
    pub owner_id: ChatterId,
    /// Whom it was created with; the owner itself for notes to self.
    pub opponent_id: ChatterId,
    /// When the owner created it, by the database's clock.
    pub create_time: Micros,
    /// The `create_time` of the newest chat, or the room's own while it has no chat. Rooms are listed by it.
    pub last_chat_time: Micros,
    /// The `seq` of the newest chat, tombstones included; 0 before the first.
    pub last_seq: Seq,
    /// The number of the last change in the room; 0 before the first.
    pub version: Version,
    /// One of the two deleted their account: nothing new is stored.
    pub closed: bool,
}

impl Chatroom {
    /// Whether this chatter is one of the two.
    #[must_use]
    pub fn has(&self, chatter: ChatterId) -> bool {
        self.owner_id == chatter || self.opponent_id == chatter
    }

    /// The other one of the two; oneself in notes to self.
    #[must_use]
    pub fn other(&self, chatter: ChatterId) -> ChatterId {
        if self.owner_id == chatter { self.opponent_id } else { self.owner_id }
    }

    /// Notes to self: no receiver, so no push, receipt or unread count.
    #[must_use]
    pub fn with_oneself(&self) -> bool {
        self.owner_id == self.opponent_id
    }
}

/// How far a chatter has got in a room; both only move forward.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Watermarks {
    /// The chats up to this one have reached the chatter; 0 before the first.
    pub delivered_seq: Seq,
    /// The chatter has read the chats up to this one; at most `delivered_seq`.
    pub read_seq: Seq,
}
