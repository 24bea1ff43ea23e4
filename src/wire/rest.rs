//! The REST bodies of the seed's API and what was added to them. Keys may be added, none removed.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};

use crate::domain::chat::Chat;
use crate::domain::chatroom::{Chatroom, Watermarks};
use crate::domain::chatter::Chatter;
use crate::domain::clock::Micros;
use crate::domain::{ChatId, ChatroomId, ChatterId, Seq, Version};

/// `POST /api/auth`. No `Debug`: it holds a password.
#[derive(Deserialize)]
pub struct SignIn {
    pub username: String,
    pub password: String,
}

/// The answer of `POST /api/auth`.
#[derive(Serialize)]
pub struct SignedIn {
    pub token: String,
    pub expires_at: Micros,
    pub chatter: ChatterBody,
}

/// `POST /api/chatters`.
#[derive(Deserialize)]
pub struct SignUp {
    pub username: String,
    pub password: String,
    pub nickname: String,
    #[serde(default)]
    pub fcm_reg_id: Option<String>,
}

/// `PUT /api/chatters`; a key that is missing or null leaves the thing as it is.
#[derive(Deserialize)]
pub struct ChangeChatter {
    #[serde(default)]
    pub nickname: Option<String>,
    /// `""` removes the token.
    #[serde(default)]
    pub fcm_reg_id: Option<String>,
    #[serde(default)]
    pub password: Option<String>,
    /// Needed with `password`.
    #[serde(default)]
    pub current_password: Option<String>,
    #[serde(default)]
    pub show_last_seen: Option<bool>,
    #[serde(default)]
    pub show_receipts: Option<bool>,
}

/// `POST /api/chatrooms`.
#[derive(Deserialize)]
pub struct CreateChatroom {
    pub opponent_id: ChatterId,
}

/// `POST /api/chatrooms/{id}/chats`.
#[derive(Deserialize)]
pub struct PostChat {
    #[serde(default)]
    pub receiver_id: Option<ChatterId>,
    pub content: String,
    #[serde(default)]
    pub client_id: Option<String>,
}

/// `PUT /api/chats/{id}`.
#[derive(Deserialize)]
pub struct EditChat {
    pub content: String,
}

/// `POST /api/chatrooms/{id}/chats/search`.
#[derive(Deserialize)]
pub struct Search {
    pub query: String,
}

/// `PUT /api/chatrooms/{id}/receipt`.
#[derive(Deserialize)]
pub struct Receipt {
    #[serde(default)]
    pub delivered_seq: Option<Seq>,
    #[serde(default)]
    pub read_seq: Option<Seq>,
}

/// The answer of a deletion, in the seed's words.
#[derive(Serialize)]
pub struct Message {
    pub message: &'static str,
}

/// A chatter as one viewer sees it.
#[derive(Clone, Debug, Serialize)]
pub struct ChatterBody {
    pub id: ChatterId,
    pub username: String,
    pub nickname: String,
    /// `""` for everybody but its owner.
    pub fcm_reg_id: String,
    #[serde(flatten)]
    presence: Option<Presence>,
    #[serde(flatten)]
    shows: Option<Shows>,
}

/// What those who share a room see, unless the chatter keeps it to themselves.
#[derive(Clone, Debug, Serialize)]
struct Presence {
    online: bool,
    last_seen: Option<Micros>,
}

/// What the owner lets others see.
#[derive(Clone, Debug, Serialize)]
struct Shows {
    show_last_seen: bool,
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

/// A chat, or the tombstone that a retried `client_id` finds.
#[derive(Serialize)]
pub struct ChatBody<'a> {
    pub id: ChatId,
    pub chatroom_id: ChatroomId,
    pub sender_id: ChatterId,
    pub receiver_id: ChatterId,
    pub content: &'a str,
    pub create_time: Micros,
    pub seq: Seq,
    pub version: Version,
    pub client_id: Option<&'a str>,
    pub edit_time: Option<Micros>,
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

/// One row of `GET …/changes`.
#[derive(Serialize)]
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

/// The answer of `GET …/changes`.
#[derive(Serialize)]
pub struct ChangesBody<'a> {
    pub changes: Vec<ChangeBody<'a>>,
    /// The next `since`.
    pub version: Version,
    pub has_more: bool,
}

/// How far a chatter has got.
#[derive(Debug, Serialize)]
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
#[derive(Serialize)]
pub struct ChatroomBody<'a> {
    pub id: ChatroomId,
    pub last_chat_time: Micros,
    pub create_time: Micros,
    pub owner: ChatterBody,
    pub opponent: ChatterBody,
    pub version: Version,
    pub last_seq: Seq,
    pub last_chat: Option<ChatBody<'a>>,
    pub unread_count: i64,
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

/// A whole number in a query string; refused with a clear text otherwise.
pub fn whole_number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    text.map(|text| text.parse().map_err(|_| serde::de::Error::custom("must be a whole number"))).transpose()
}
