//! What REST answers: the bodies of the seed's API and what was added to them. Keys may be added, none removed.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::chat::Chat;
use crate::domain::chatroom::{Chatroom, Watermarks};
use crate::domain::chatter::Chatter;
use crate::domain::clock::Micros;
use crate::domain::{ChatId, ChatroomId, ChatterId, Seq, Version};

/// A token, and whose it is.
#[derive(Serialize, ToSchema)]
pub struct SignedIn {
    /// Goes into `Authorization: Bearer TOKEN`.
    pub token: String,
    /// Sign in again before this.
    pub expires_at: Micros,
    pub chatter: ChatterBody,
}

/// That it was done.
#[derive(Serialize, ToSchema)]
pub struct Message {
    pub message: &'static str,
}

/// A chatter as one viewer sees it.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Chatter)]
pub struct ChatterBody {
    pub id: ChatterId,
    pub username: String,
    pub nickname: String,
    /// Shown to its owner only; `""` to everybody else.
    pub fcm_reg_id: String,
    #[serde(flatten)]
    presence: Option<Presence>,
    #[serde(flatten)]
    shows: Option<Shows>,
}

/// What those who share a room see, unless the chatter keeps it to themselves.
#[derive(Clone, Debug, Serialize, ToSchema)]
struct Presence {
    /// Whether a socket of theirs is open; only for those who share a room, and unless they keep it to themselves.
    online: bool,
    /// When the last one closed, as far as it is known; with `online`.
    last_seen: Option<Micros>,
}

/// What the owner lets others see.
#[derive(Clone, Debug, Serialize, ToSchema)]
struct Shows {
    /// Whether others see `online` and `last_seen`; one's own only.
    show_last_seen: bool,
    /// Whether the other one of a room sees one's watermarks; one's own only.
    show_receipts: bool,
}

impl ChatterBody {
    /// As strangers see it.
    #[must_use]
    pub fn public(chatter: &Chatter) -> Self {
        Self {
            id: chatter.id,
            username: chatter.username.clone(),
            nickname: chatter.nickname.clone(),
            fcm_reg_id: String::new(),
            presence: None,
            shows: None,
        }
    }

    /// As the other person of a room sees it.
    #[must_use]
    pub fn known(chatter: &Chatter, online: bool) -> Self {
        let presence = chatter.show_last_seen.then_some(Presence { online, last_seen: chatter.last_seen });
        Self { presence, ..Self::public(chatter) }
    }

    /// As its owner sees it.
    #[must_use]
    pub fn own(chatter: &Chatter, fcm_reg_id: Option<String>) -> Self {
        let shows = Shows { show_last_seen: chatter.show_last_seen, show_receipts: chatter.show_receipts };
        Self { fcm_reg_id: fcm_reg_id.unwrap_or_default(), shows: Some(shows), ..Self::public(chatter) }
    }
}

/// One message in a room.
#[derive(Serialize, ToSchema)]
#[schema(as = Chat)]
pub struct ChatBody<'a> {
    pub id: ChatId,
    pub chatroom_id: ChatroomId,
    pub sender_id: ChatterId,
    /// The other one of the room; the sender in notes to oneself.
    pub receiver_id: ChatterId,
    pub content: &'a str,
    pub create_time: Micros,
    /// Its place in the room: 1, 2, 3 …
    pub seq: Seq,
    /// The number of its last change in the room.
    pub version: Version,
    #[schema(required)]
    pub client_id: Option<&'a str>,
    #[schema(required)]
    pub edit_time: Option<Micros>,
    /// Only there, and true, when a retried `client_id` finds a deleted chat; its content is empty then.
    #[serde(skip_serializing_if = "is_false")]
    pub deleted: bool,
}

impl<'a> ChatBody<'a> {
    /// The body of this chat.
    #[must_use]
    pub fn new(chat: &'a Chat) -> Self {
        Self {
            id: chat.id,
            chatroom_id: chat.chatroom_id,
            sender_id: chat.sender_id,
            receiver_id: chat.receiver_id,
            content: &chat.content,
            create_time: chat.create_time,
            seq: chat.seq,
            version: chat.version,
            client_id: chat.client_id.as_deref(),
            edit_time: chat.edit_time,
            deleted: chat.delete_time.is_some(),
        }
    }
}

/// A chat that is new or edited, or the tombstone of a deleted one.
#[derive(Serialize, ToSchema)]
#[schema(as = Change)]
#[serde(untagged)]
pub enum ChangeBody<'a> {
    Chat(ChatBody<'a>),
    Deleted { id: ChatId, seq: Seq, version: Version, deleted: bool },
}

impl<'a> ChangeBody<'a> {
    /// The row for this chat or tombstone.
    #[must_use]
    pub fn new(chat: &'a Chat) -> Self {
        if chat.delete_time.is_some() {
            Self::Deleted { id: chat.id, seq: chat.seq, version: chat.version, deleted: true }
        } else {
            Self::Chat(ChatBody::new(chat))
        }
    }
}

/// What changed above a version.
#[derive(Serialize, ToSchema)]
#[schema(as = Changes)]
pub struct ChangesBody<'a> {
    pub changes: Vec<ChangeBody<'a>>,
    /// The next `since`.
    pub version: Version,
    /// Ask again at once.
    pub has_more: bool,
}

/// How far a chatter has got in a room.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Watermarks)]
pub struct ReceiptBody {
    pub delivered_seq: Seq,
    pub read_seq: Seq,
}

impl From<Watermarks> for ReceiptBody {
    fn from(marks: Watermarks) -> Self {
        Self { delivered_seq: marks.delivered_seq, read_seq: marks.read_seq }
    }
}

/// A room as one viewer sees it.
#[derive(Serialize, ToSchema)]
#[schema(as = Chatroom)]
pub struct ChatroomBody<'a> {
    pub id: ChatroomId,
    pub last_chat_time: Micros,
    pub create_time: Micros,
    /// Who opened the room; for both viewers.
    pub owner: ChatterBody,
    pub opponent: ChatterBody,
    /// The number of the room's last change: the cursor for `changes?since=`.
    pub version: Version,
    pub last_seq: Seq,
    /// The newest chat that is not deleted.
    #[schema(required)]
    pub last_chat: Option<ChatBody<'a>>,
    /// Chats of the other one above one's `read_seq`, counted up to 1,000.
    pub unread_count: i64,
    /// By the chatter's id.
    pub receipts: BTreeMap<String, ReceiptBody>,
}

impl<'a> ChatroomBody<'a> {
    /// The body of a room from its parts.
    #[must_use]
    pub fn new(
        room: &Chatroom,
        owner: ChatterBody,
        opponent: ChatterBody,
        last_chat: Option<&'a Chat>,
        unread_count: i64,
        receipts: impl IntoIterator<Item = (ChatterId, Watermarks)>,
    ) -> Self {
        Self {
            id: room.id,
            last_chat_time: room.last_chat_time,
            create_time: room.create_time,
            owner,
            opponent,
            version: room.version,
            last_seq: room.last_seq,
            last_chat: last_chat.map(ChatBody::new),
            unread_count,
            receipts: receipts.into_iter().map(|(id, marks)| (id.to_string(), marks.into())).collect(),
        }
    }
}

fn is_false(flag: &bool) -> bool {
    !flag
}
