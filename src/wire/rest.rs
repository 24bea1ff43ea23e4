//! The REST bodies of the seed's API and what was added to them. Keys may be added, none removed.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use crate::domain::chat::Chat;
use crate::domain::chatroom::{Chatroom, Watermarks};
use crate::domain::chatter::Chatter;
use crate::domain::clock::Micros;
use crate::domain::{ChatId, ChatroomId, ChatterId, Seq, Version};

/// Who signs in.
// No `Debug`: it holds a password.
#[derive(Deserialize, ToSchema)]
pub struct SignIn {
    pub username: String,
    pub password: String,
}

/// A token, and whose it is.
#[derive(Serialize, ToSchema)]
pub struct SignedIn {
    /// Goes into `Authorization: Bearer TOKEN`.
    pub token: String,
    /// Sign in again before this.
    pub expires_at: Micros,
    pub chatter: ChatterBody,
}

/// A new account.
#[derive(Deserialize, ToSchema)]
pub struct SignUp {
    /// Unique regardless of case.
    #[schema(min_length = 1, max_length = 150, pattern = "^[A-Za-z0-9._@+-]+$")]
    pub username: String,
    #[schema(min_length = 8, max_length = 128)]
    pub password: String,
    #[schema(min_length = 1, max_length = 100)]
    pub nickname: String,
    /// Where pushes go: the device's registration token of Firebase Cloud Messaging.
    #[serde(default)]
    pub fcm_reg_id: Option<String>,
}

/// What is to change; a key that is missing or null leaves the thing as it is.
#[derive(Deserialize, ToSchema)]
pub struct ChangeChatter {
    #[schema(min_length = 1, max_length = 100)]
    #[serde(default)]
    pub nickname: Option<String>,
    /// `""` removes the token.
    #[serde(default)]
    pub fcm_reg_id: Option<String>,
    #[schema(min_length = 8, max_length = 128)]
    #[serde(default)]
    pub password: Option<String>,
    /// Needed with `password`.
    #[serde(default)]
    pub current_password: Option<String>,
}

/// Whom the room is with.
#[derive(Deserialize, ToSchema)]
pub struct CreateChatroom {
    /// The other one; oneself for notes.
    pub opponent_id: ChatterId,
}

/// A new chat.
#[derive(Deserialize, ToSchema)]
pub struct PostChat {
    /// Need not be given; if it is, it must be the other one of the room.
    #[serde(default)]
    pub receiver_id: Option<ChatterId>,
    /// Stored as sent; at least one character that is not blank, no NUL.
    #[schema(min_length = 1, max_length = 8000)]
    pub content: String,
    /// The sender's own name for the chat, unique for ever: makes it safe to send again. Printable ASCII.
    #[schema(min_length = 1, max_length = 64)]
    #[serde(default)]
    pub client_id: Option<String>,
}

/// What the chat says from now on.
#[derive(Deserialize, ToSchema)]
pub struct EditChat {
    #[schema(min_length = 1, max_length = 8000)]
    pub content: String,
}

/// What to look for.
#[derive(Deserialize, ToSchema)]
pub struct Search {
    /// 1 to 1,024 bytes.
    #[schema(min_length = 1, max_length = 1024)]
    pub query: String,
}

/// How far one has got; the newest `seq` of each.
#[derive(Deserialize, ToSchema)]
pub struct Receipt {
    #[serde(default)]
    pub delivered_seq: Option<Seq>,
    /// Lifts `delivered_seq` too.
    #[serde(default)]
    pub read_seq: Option<Seq>,
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
}

impl ChatterBody {
    /// As others see it.
    #[must_use]
    pub fn public(chatter: &Chatter) -> Self {
        Self::own(chatter, None)
    }

    /// As its owner sees it.
    #[must_use]
    pub fn own(chatter: &Chatter, fcm_reg_id: Option<String>) -> Self {
        Self {
            id: chatter.id,
            username: chatter.username.clone(),
            nickname: chatter.nickname.clone(),
            fcm_reg_id: fcm_reg_id.unwrap_or_default(),
        }
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

/// A whole number in a query string; refused with a clear text otherwise.
pub fn whole_number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    text.map(|text| text.parse().map_err(|_| serde::de::Error::custom("must be a whole number"))).transpose()
}
