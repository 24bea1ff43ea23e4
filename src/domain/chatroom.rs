//! The room of two chatters.

use super::clock::Micros;
use super::{ChatroomId, ChatterId, Seq, Version};

/// A room's own row. What its viewer sees besides is `store::chatrooms::RoomView`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chatroom {
    pub id: ChatroomId,
    /// Who created it.
    pub owner_id: ChatterId,
    /// Whom it was created with; the owner itself for notes to self.
    pub opponent_id: ChatterId,
    pub create_time: Micros,
    pub last_chat_time: Micros,
    pub last_seq: Seq,
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
    pub delivered_seq: Seq,
    pub read_seq: Seq,
}
