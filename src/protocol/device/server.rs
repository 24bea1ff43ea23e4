//! The frames that the server sends on the device socket.

use std::collections::BTreeMap;

use serde::Serialize;
#[cfg(test)]
use utoipa::ToSchema;

use super::Ref;
use crate::domain::chat::Chat;
use crate::domain::clock::Micros;
use crate::domain::{ChatId, ChatroomId, ChatterId, Seq, Version};
use crate::problem::Problem;
use crate::protocol::rest::{ChangeBody, ChatBody, ChatroomBody, ChatterBody, ReceiptBody};
#[cfg(test)]
use crate::protocol::schema::StoredChat;

/// One frame of the server.
#[derive(Serialize)]
#[cfg_attr(test, derive(ToSchema))]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ServerFrame<'a> {
    /// The sign-in succeeded. The first frame on the socket.
    Ready {
        /// This chatter's own account.
        chatter: &'a ChatterBody,
        /// How the log of the server names this socket.
        socket_id: String,
        /// The clock of the server when it wrote this frame.
        server_time: Micros,
        /// Seconds between two pings of the server.
        heartbeat_s: u64,
        /// The epoch of the database. Versions and ids of another epoch mean nothing: drop them.
        epoch: &'a str,
        /// The sum of `unread_count` over all rooms of this chatter.
        unread_total: i64,
        /// The first rooms of this chatter by id, at most 200.
        chatrooms: Vec<RoomBody>,
        /// True if more rooms follow in `chatrooms` frames.
        has_more: bool,
    },
    /// More rooms than fit into `ready`.
    Chatrooms {
        /// The next rooms by id, at most 200; or one whose creation reached this socket late.
        chatrooms: Vec<RoomBody>,
        /// True if another `chatrooms` frame follows.
        has_more: bool,
    },
    /// The token was replaced.
    Authenticated {
        /// The `ref` of the `auth` frame. Absent if it had none.
        #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
        reference: Option<Ref>,
    },
    /// A `send`, `edit` or `delete` of this socket is stored.
    Ack {
        /// The `ref` of the frame that is answered. Absent if it had none.
        #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
        reference: Option<Ref>,
        /// The chat as it is stored. `ack` does not move the cursor.
        #[cfg_attr(test, schema(value_type = StoredChat))]
        chat: ChatBody<'a>,
    },
    /// A new chat, for every device of both chatters, including the one that sent it.
    Chat {
        /// The new chat; it moves the cursor if its `version` is the cursor + 1.
        chat: ChatBody<'a>,
    },
    /// An edited chat, for every device of both chatters.
    ChatEdited {
        /// The chat with its new `content`, `edit_time` and `version`, and its old `seq`.
        chat: ChatBody<'a>,
    },
    /// A deleted chat, for every device of both chatters.
    ChatDeleted {
        /// The room of the chat.
        chatroom_id: ChatroomId,
        /// The `id` of the chat.
        chat_id: ChatId,
        /// The place that the chat had in the room; no other chat takes it.
        seq: Seq,
        /// The room's version after the deletion.
        version: Version,
    },
    /// The changes above `since`, ordered by version; `version` is the next cursor.
    Changes {
        /// The room that the changes belong to.
        chatroom_id: ChatroomId,
        /// The cursor that the changes follow.
        since: Version,
        /// New and edited chats as they are now, and tombstones. Empty if nothing has changed.
        changes: Vec<ChangeBody<'a>>,
        /// The cursor of the room after these changes.
        version: Version,
        /// True if another `changes` frame of the room follows by itself.
        has_more: bool,
    },
    /// Too many changes are missing, or the cursor is of another epoch: the client replaces its chats of the room by these, the newest.
    Reset {
        /// The room that the client starts anew.
        chatroom_id: ChatroomId,
        /// The newest chats, at most 50, by `seq`. REST has the older ones.
        chats: Vec<ChatBody<'a>>,
        /// The cursor of the room from now on.
        version: Version,
    },
    /// All rooms of one `resume` are answered.
    Resumed {
        /// The `ref` of the `resume` frame. Absent if it had none.
        #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
        reference: Option<Ref>,
    },
    /// The watermarks of a chatter moved: the other person's, or this chatter's own, then with the unread counts.
    Receipt {
        /// The room in which the marks moved.
        chatroom_id: ChatroomId,
        /// The chatter whose marks these are.
        chatter_id: ChatterId,
        /// The chatter has received the chats up to this `seq`.
        delivered_seq: Seq,
        /// The chatter has read the chats up to this `seq`.
        read_seq: Seq,
        /// Only in this chatter's own receipts.
        #[serde(flatten)]
        unread: Option<UnreadBody>,
    },
    /// The other person is typing, or no longer. Their next chat ends it without a frame.
    Typing {
        /// The room in which the person types.
        chatroom_id: ChatroomId,
        /// The person who types.
        chatter_id: ChatterId,
        /// True when the person begins, and every few seconds while it goes on; false when it ends.
        typing: bool,
    },
    /// A chatter who shares a room came online or went offline.
    Presence {
        /// The chatter who came online or went offline.
        chatter_id: ChatterId,
        /// Whether the chatter has an open socket; false, too, as soon as the chatter hides it.
        online: bool,
        /// When the last socket closed; null if that is unknown or hidden.
        #[cfg_attr(test, schema(required))]
        last_seen: Option<Micros>,
    },
    /// A room of this chatter was created.
    ChatroomCreated {
        /// The room as this chatter sees it. Its `version` is the cursor to start from.
        chatroom: &'a ChatroomBody<'a>,
    },
    /// A room of this chatter was deleted, or a frame named a room that does not exist.
    ChatroomDeleted {
        /// The room to forget, with all its chats.
        chatroom_id: ChatroomId,
    },
    /// The account has lost its push token, `fcm_reg_id`: no push reaches that device any more.
    DeviceRemoved {
        /// Why.
        reason: RemovalReason,
    },
    /// The answer to `ping`.
    Pong {
        /// The `ref` of the `ping` frame. Absent if it had none.
        #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
        reference: Option<Ref>,
    },
    /// A refused frame; the socket stays open.
    Error {
        /// The `ref` of the frame that is answered. Absent if it had none, or none that can be read.
        #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
        reference: Option<Ref>,
        /// Why the frame was refused, as over REST.
        problem: &'a Problem,
    },
}

/// Why an account has lost its push token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum RemovalReason {
    /// Another account has registered the token.
    Moved,
}

/// A room in `ready` and `chatrooms`; its REST body has more keys.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(ToSchema))]
pub struct RoomBody {
    /// Names the room in frames and in `/api/chatrooms/{id}`.
    pub id: ChatroomId,
    /// The number of the room's last change; 0 before the first. A room without a cursor starts here.
    pub version: Version,
    /// The `seq` of the newest chat, deleted ones included; 0 before the first.
    pub last_seq: Seq,
    /// The other person's chats above this chatter's `read_seq`, counted up to 1,000.
    pub unread_count: i64,
    /// By chatter id.
    pub receipts: BTreeMap<String, ReceiptBody>,
}

/// The unread counts, and the version at which they were counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(ToSchema))]
pub struct UnreadBody {
    /// The other person's chats above this `read_seq`, counted up to 1,000.
    pub unread_count: i64,
    /// The sum of `unread_count` over all rooms of this chatter.
    pub unread_total: i64,
    /// The room's version when the counts were taken.
    pub version: Version,
    /// The `seq` of the room's newest chat when the counts were taken.
    pub last_seq: Seq,
}

impl<'a> ServerFrame<'a> {
    /// The event of a tombstone.
    #[must_use]
    pub fn deleted(chat: &Chat) -> Self {
        Self::ChatDeleted { chatroom_id: chat.chatroom_id, chat_id: chat.id, seq: chat.seq, version: chat.version }
    }

    /// A page of changes.
    #[must_use]
    pub fn changes(
        chatroom_id: ChatroomId,
        since: Version,
        chats: &'a [Chat],
        version: Version,
        has_more: bool,
    ) -> Self {
        let changes = chats.iter().map(ChangeBody::new).collect();
        Self::Changes { chatroom_id, since, changes, version, has_more }
    }
}
