//! The bodies that REST answers with. Later versions may add keys, but remove none.

use std::collections::BTreeMap;

use serde::Serialize;
#[cfg(test)]
use utoipa::ToSchema;

use crate::domain::chat::Chat;
use crate::domain::chatroom::{Chatroom, Watermarks};
use crate::domain::chatter::Chatter;
use crate::domain::clock::Micros;
use crate::domain::{ChatId, ChatroomId, ChatterId, Seq, SignInId, Version};

/// A token and its chatter.
#[derive(Serialize)]
#[cfg_attr(test, derive(ToSchema))]
pub struct SignedIn {
    /// For the header `Authorization: Bearer TOKEN`.
    pub token: String,
    /// Refresh, or sign in again, before this.
    pub expires_at: Micros,
    /// For `POST /api/auth/refresh`, once: each answer brings the next one. Opaque.
    pub refresh_token: String,
    /// The account that signed in.
    pub chatter: ChatterBody,
}

/// A sign-in of the viewer: a device that holds a token or can get one.
#[derive(Serialize)]
#[cfg_attr(test, derive(ToSchema))]
pub struct Session {
    /// Names the session in `/api/auth/sessions/{id}`.
    pub id: SignInId,
    /// When the password was accepted.
    pub create_time: Micros,
    /// When the session began or was refreshed last.
    pub last_used: Micros,
    /// When the session ends unless it is refreshed.
    pub expires_at: Micros,
    /// As the client named itself at sign-in, or null.
    pub device_name: Option<String>,
    /// The network of the last sign-in or refresh: `203.0.113.0/24`, `2001:db8:1::/48`, or null.
    pub address_class: Option<String>,
    /// Whether this request's token belongs to it.
    pub current: bool,
}

/// A confirmation.
#[derive(Serialize)]
#[cfg_attr(test, derive(ToSchema))]
pub struct Message {
    /// For people; the status says the same to programs.
    pub message: &'static str,
}

/// A chatter as one viewer sees it.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(ToSchema), schema(as = Chatter))]
pub struct ChatterBody {
    /// Names the chatter in paths, chats and receipts.
    pub id: ChatterId,
    /// Unique regardless of case; `deleted-N` for a deleted account.
    pub username: String,
    /// The name to show; several chatters may have the same.
    pub nickname: String,
    /// The push token, for its owner; `""` for other viewers.
    pub fcm_reg_id: String,
    #[serde(flatten)]
    presence: Option<Presence>,
    #[serde(flatten)]
    shows: Option<Shows>,
}

/// The presence that chatters who share a room see, unless this chatter hides it.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(ToSchema))]
struct Presence {
    /// Whether the chatter has an open socket. Absent for strangers, and if the chatter hides it.
    online: bool,
    /// When the last socket closed, or null if that is unknown; with `online`.
    last_seen: Option<Micros>,
}

/// The privacy settings of the account.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(ToSchema))]
struct Shows {
    /// Whether others see `online` and `last_seen`; only in one's own account.
    show_last_seen: bool,
    /// Whether the other person of a room sees the receipts; only in one's own account.
    show_receipts: bool,
}

impl ChatterBody {
    /// The account as strangers see it.
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

    /// The account as the other person of a room sees it.
    #[must_use]
    pub fn known(chatter: &Chatter, online: bool) -> Self {
        let presence = chatter.show_last_seen.then_some(Presence { online, last_seen: chatter.last_seen });
        Self { presence, ..Self::public(chatter) }
    }

    /// The account as its owner sees it.
    #[must_use]
    pub fn own(chatter: &Chatter, fcm_reg_id: Option<String>) -> Self {
        let shows = Shows { show_last_seen: chatter.show_last_seen, show_receipts: chatter.show_receipts };
        Self { fcm_reg_id: fcm_reg_id.unwrap_or_default(), shows: Some(shows), ..Self::public(chatter) }
    }
}

/// One message in a room.
#[derive(Serialize)]
#[cfg_attr(test, derive(ToSchema), schema(as = Chat))]
pub struct ChatBody<'a> {
    /// Unique over all rooms.
    pub id: ChatId,
    /// The room in which the chat was sent.
    pub chatroom_id: ChatroomId,
    /// The only chatter who may edit or delete the chat.
    pub sender_id: ChatterId,
    /// The other person of the room; the sender in notes to oneself.
    pub receiver_id: ChatterId,
    /// The text, exactly as sent.
    pub content: &'a str,
    /// When the chat was stored; never before the earlier chats of the room.
    pub create_time: Micros,
    /// The place of the chat in the room: 1, 2, 3 …
    pub seq: Seq,
    /// The room's version at the last change of this chat.
    pub version: Version,
    /// The sender's own name for the chat; null if it was sent without one.
    #[cfg_attr(test, schema(required))]
    pub client_id: Option<&'a str>,
    /// When the chat was last edited; null if it never was.
    #[cfg_attr(test, schema(required))]
    pub edit_time: Option<Micros>,
    /// Only there, and true, when an `ack` or a retried `client_id` names a deleted chat; its content is empty then.
    #[serde(skip_serializing_if = "is_false")]
    #[cfg_attr(test, schema(ignore))]
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
#[derive(Serialize)]
#[cfg_attr(test, derive(ToSchema), schema(as = Change))]
#[serde(untagged)]
pub enum ChangeBody<'a> {
    /// A new or edited chat, as it is now.
    Chat(ChatBody<'a>),
    /// A deleted chat.
    Deleted(DeletedChatBody),
}

/// The tombstone of a deleted chat.
#[derive(Serialize)]
#[cfg_attr(test, derive(ToSchema), schema(as = DeletedChat))]
pub struct DeletedChatBody {
    /// The `id` that the chat had.
    pub id: ChatId,
    /// The place that the chat had in the room; no other chat takes it.
    pub seq: Seq,
    /// The room's version after the deletion.
    pub version: Version,
    /// Always true: tells a tombstone from a chat.
    #[cfg_attr(test, schema(schema_with = crate::protocol::schema::always_true))]
    pub deleted: bool,
}

impl<'a> ChangeBody<'a> {
    /// The row for this chat or tombstone.
    #[must_use]
    pub fn new(chat: &'a Chat) -> Self {
        if chat.delete_time.is_some() {
            Self::Deleted(DeletedChatBody { id: chat.id, seq: chat.seq, version: chat.version, deleted: true })
        } else {
            Self::Chat(ChatBody::new(chat))
        }
    }
}

/// The changes above a version.
#[derive(Serialize)]
#[cfg_attr(test, derive(ToSchema), schema(as = Changes))]
pub struct ChangesBody<'a> {
    /// By version, each chat once; empty if there is nothing new.
    pub changes: Vec<ChangeBody<'a>>,
    /// The value of `since` for the next request.
    pub version: Version,
    /// The epoch of `version`; name it in the next request.
    pub epoch: &'a str,
    /// True if there are more changes above `version`.
    pub has_more: bool,
}

/// How far a chatter has received and read a room.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(ToSchema), schema(as = Watermarks))]
pub struct ReceiptBody {
    /// The chatter has received the chats up to this `seq`; 0 before the first.
    pub delivered_seq: Seq,
    /// The chatter has read the chats up to this `seq`; at most `delivered_seq`.
    pub read_seq: Seq,
}

impl From<Watermarks> for ReceiptBody {
    fn from(marks: Watermarks) -> Self {
        Self { delivered_seq: marks.delivered_seq, read_seq: marks.read_seq }
    }
}

/// A room as one viewer sees it.
#[derive(Serialize)]
#[cfg_attr(test, derive(ToSchema), schema(as = Chatroom))]
pub struct ChatroomBody<'a> {
    /// Names the room in paths and frames.
    pub id: ChatroomId,
    /// When the newest chat was stored, or the room was created if it has no chat; lists are ordered by it.
    pub last_chat_time: Micros,
    /// When the owner created the room.
    pub create_time: Micros,
    /// The chatter who created the room; the same for both viewers.
    pub owner: ChatterBody,
    /// The chatter with whom the room was created; the owner in notes to oneself.
    pub opponent: ChatterBody,
    /// The number of the room's last change: a cursor for `changes?since=`.
    pub version: Version,
    /// The `seq` of the newest chat, deleted ones included; 0 before the first.
    pub last_seq: Seq,
    /// The newest chat that is not deleted.
    #[cfg_attr(test, schema(required))]
    pub last_chat: Option<ChatBody<'a>>,
    /// The other person's chats above the viewer's `read_seq`, counted up to 1,000.
    pub unread_count: i64,
    /// By chatter id.
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
