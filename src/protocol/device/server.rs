//! What the server sends on the device socket.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

use super::Ref;
use crate::domain::chat::Chat;
use crate::domain::clock::Micros;
use crate::domain::{ChatId, ChatroomId, ChatterId, Seq, Version};
use crate::problem::Problem;
use crate::protocol::rest::{ChangeBody, ChatBody, ChatroomBody, ChatterBody, ReceiptBody};

/// One frame of the server.
#[derive(Serialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ServerFrame<'a> {
    /// Signed in; the first frame after it.
    Ready {
        chatter: &'a ChatterBody,
        socket_id: String,
        server_time: Micros,
        heartbeat_s: u64,
        unread_total: i64,
        chatrooms: Vec<RoomBody>,
        /// More rooms follow in `chatrooms` frames.
        has_more: bool,
    },
    /// The rooms that did not fit into `ready`.
    Chatrooms { chatrooms: Vec<RoomBody>, has_more: bool },
    /// The token was replaced.
    Authenticated {
        #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
        reference: Option<Ref>,
    },
    /// A chat, an edit or a deletion of one's own is stored.
    Ack {
        #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
        reference: Option<Ref>,
        chat: ChatBody<'a>,
    },
    /// A new chat, to every device of both people, the sending one included.
    Chat { chat: ChatBody<'a> },
    /// An edited chat, to every device of both people.
    ChatEdited { chat: ChatBody<'a> },
    /// A deleted chat, to every device of both people.
    ChatDeleted { chatroom_id: ChatroomId, chat_id: ChatId, seq: Seq, version: Version },
    /// What changed above `since`, by version; `version` is the next cursor.
    Changes { chatroom_id: ChatroomId, since: Version, changes: Vec<ChangeBody<'a>>, version: Version, has_more: bool },
    /// Too much changed: the newest chats, to begin anew with.
    Reset { chatroom_id: ChatroomId, chats: Vec<ChatBody<'a>>, version: Version },
    /// All rooms of one `resume` are answered.
    Resumed {
        #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
        reference: Option<Ref>,
    },
    /// Somebody got further: the other person, or oneself on any device; then with what is unread now.
    Receipt {
        chatroom_id: ChatroomId,
        chatter_id: ChatterId,
        delivered_seq: Seq,
        read_seq: Seq,
        /// To one's own devices.
        #[serde(flatten)]
        unread: Option<UnreadBody>,
    },
    /// The other person is typing, or no longer. A chat of theirs ends it without a frame.
    Typing { chatroom_id: ChatroomId, chatter_id: ChatterId, typing: bool },
    /// Somebody with whom one shares a room came or went.
    Presence {
        chatter_id: ChatterId,
        online: bool,
        #[schema(required)]
        last_seen: Option<Micros>,
    },
    /// A room that one is in was opened.
    ChatroomCreated { chatroom: &'a ChatroomBody<'a> },
    /// A room that one was in is gone, or was before one asked.
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

/// A room as `ready` and `chatrooms` tell of it; the REST bodies have the rest.
#[derive(Debug, Serialize, ToSchema)]
pub struct RoomBody {
    pub id: ChatroomId,
    pub version: Version,
    pub last_seq: Seq,
    pub unread_count: i64,
    /// By chatter id.
    pub receipts: BTreeMap<String, ReceiptBody>,
}

/// What is unread, and when that was counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct UnreadBody {
    pub unread_count: i64,
    pub unread_total: i64,
    /// The room's version at the moment of counting.
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
