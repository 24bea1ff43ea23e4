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
        chatter: &'a ChatterBody,
        socket_id: String,
        server_time: Micros,
        heartbeat_s: u64,
        unread_total: i64,
        chatrooms: Vec<RoomBody>,
        /// True if more rooms follow in `chatrooms` frames.
        has_more: bool,
    },
    /// More rooms than fit into `ready`.
    Chatrooms { chatrooms: Vec<RoomBody>, has_more: bool },
    /// The token was replaced.
    Authenticated {
        #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
        reference: Option<Ref>,
    },
    /// A `send`, `edit` or `delete` of this socket is stored.
    Ack {
        #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
        reference: Option<Ref>,
        #[cfg_attr(test, schema(value_type = StoredChat))]
        chat: ChatBody<'a>,
    },
    /// A new chat, for every device of both chatters, including the one that sent it.
    Chat { chat: ChatBody<'a> },
    /// An edited chat, for every device of both chatters.
    ChatEdited { chat: ChatBody<'a> },
    /// A deleted chat, for every device of both chatters.
    ChatDeleted { chatroom_id: ChatroomId, chat_id: ChatId, seq: Seq, version: Version },
    /// The changes above `since`, ordered by version; `version` is the next cursor.
    Changes { chatroom_id: ChatroomId, since: Version, changes: Vec<ChangeBody<'a>>, version: Version, has_more: bool },
    /// Too many changes are missing: the client replaces its chats of the room by these, the newest.
    Reset { chatroom_id: ChatroomId, chats: Vec<ChatBody<'a>>, version: Version },
    /// All rooms of one `resume` are answered.
    Resumed {
        #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
        reference: Option<Ref>,
    },
    /// The watermarks of a chatter moved: the other person's, or this chatter's own, then with the unread counts.
    Receipt {
        chatroom_id: ChatroomId,
        chatter_id: ChatterId,
        delivered_seq: Seq,
        read_seq: Seq,
        /// Only in this chatter's own receipts.
        #[serde(flatten)]
        unread: Option<UnreadBody>,
    },
    /// The other person is typing, or no longer. Their next chat ends it without a frame.
    Typing { chatroom_id: ChatroomId, chatter_id: ChatterId, typing: bool },
    /// A chatter who shares a room came online or went offline.
    Presence {
        chatter_id: ChatterId,
        online: bool,
        #[cfg_attr(test, schema(required))]
        last_seen: Option<Micros>,
    },
    /// A room of this chatter was created.
    ChatroomCreated { chatroom: &'a ChatroomBody<'a> },
    /// A room of this chatter was deleted, or a frame named a room that does not exist.
    ChatroomDeleted { chatroom_id: ChatroomId },
    /// The answer to `ping`.
    Pong {
        #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
        reference: Option<Ref>,
    },
    /// A refused frame; the socket stays open.
    Error {
        #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
        reference: Option<Ref>,
        problem: &'a Problem,
    },
}

/// A room in `ready` and `chatrooms`; its REST body has more keys.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(ToSchema))]
pub struct RoomBody {
    pub id: ChatroomId,
    pub version: Version,
    pub last_seq: Seq,
    pub unread_count: i64,
    /// By chatter id.
    pub receipts: BTreeMap<String, ReceiptBody>,
}

/// The unread counts, and the version at which they were counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(ToSchema))]
pub struct UnreadBody {
    pub unread_count: i64,
    pub unread_total: i64,
    /// The room's version when the counts were taken.
    pub version: Version,
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
