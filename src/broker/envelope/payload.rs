//! The JSON of a message between instances. Its names are part of the format: they stay while types are renamed.

use std::borrow::Cow;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::broker::{Changes, ClusterMessage, Durability};
use crate::domain::chat::{ChangeKind, Chat};
use crate::domain::clock::Micros;
use crate::domain::{ChatId, ChatroomId, ChatterId, Seq, Version};

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Payload<'a> {
    Changes {
        chatroom_id: ChatroomId,
        owner_id: ChatterId,
        opponent_id: ChatterId,
        from: Version,
        to: Version,
        #[serde(borrow)]
        changes: Vec<Change<'a>>,
        #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
        epoch: Option<&'a str>,
    },
    Frame {
        chatter_id: ChatterId,
        about: FrameKind,
        #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
        epoch: Option<&'a str>,
    },
    #[serde(rename = "room_made")]
    RoomCreated {
        chatroom_id: ChatroomId,
        chatters: [ChatterId; 2],
        #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
        epoch: Option<&'a str>,
    },
    AccessEnded {
        chatter_id: ChatterId,
    },
    #[serde(rename = "room_gone")]
    RoomDeleted {
        chatroom_id: ChatroomId,
        chatters: [ChatterId; 2],
        #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
        epoch: Option<&'a str>,
    },
    #[serde(rename = "missed")]
    RepeatRequest {
        within_s: u64,
    },
}

/// A chat and how it changed; times in microseconds.
#[derive(Serialize, Deserialize)]
pub(super) struct Change<'a> {
    kind: ChangeName,
    id: ChatId,
    seq: Seq,
    version: Version,
    sender_id: ChatterId,
    receiver_id: ChatterId,
    #[serde(borrow)]
    content: Cow<'a, str>,
    #[serde(borrow)]
    client_id: Option<Cow<'a, str>>,
    create_time: i64,
    edit_time: Option<i64>,
    delete_time: Option<i64>,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum ChangeName {
    Created,
    Edited,
    Deleted,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
pub(super) enum FrameKind {
    #[serde(rename = "passing")]
    Ephemeral,
    #[serde(rename = "lasting")]
    Durable,
}

impl<'a> Payload<'a> {
    /// The payload of a message of this epoch; the text of a frame is not part of it.
    pub(super) fn of(message: &'a ClusterMessage, epoch: Option<&'a str>) -> Self {
        match *message {
            ClusterMessage::Changes(ref message) => Self::Changes {
                chatroom_id: message.chatroom_id,
                owner_id: message.owner_id,
                opponent_id: message.opponent_id,
                from: message.from,
                to: message.to,
                changes: message.changes.iter().map(|(kind, chat)| Change::of(*kind, chat)).collect(),
                epoch,
            },
            ClusterMessage::Frame { chatter_id, durability, .. } => {
                Self::Frame { chatter_id, about: FrameKind::of(durability), epoch }
            }
            ClusterMessage::RoomCreated { chatroom_id, chatters } => Self::RoomCreated { chatroom_id, chatters, epoch },
            ClusterMessage::AccessEnded { chatter_id } => Self::AccessEnded { chatter_id },
            ClusterMessage::RoomDeleted { chatroom_id, chatters } => Self::RoomDeleted { chatroom_id, chatters, epoch },
            ClusterMessage::RepeatRequest { within_s } => Self::RepeatRequest { within_s },
        }
    }

    /// The epoch of the rows that the message is about. An instance of an earlier release names none.
    pub(super) fn epoch(&self) -> Option<&'a str> {
        match *self {
            Self::Changes { epoch, .. }
            | Self::Frame { epoch, .. }
            | Self::RoomCreated { epoch, .. }
            | Self::RoomDeleted { epoch, .. } => epoch,
            // Both only make the receiver read the database.
            Self::AccessEnded { .. } | Self::RepeatRequest { .. } => None,
        }
    }

    /// The message of a payload and the text that followed it.
    pub(super) fn into_message(self, text: Bytes) -> ClusterMessage {
        match self {
            Self::Changes { chatroom_id, owner_id, opponent_id, from, to, changes, .. } => {
                let changes = changes.into_iter().map(|change| change.into_chat(chatroom_id)).collect();
                ClusterMessage::Changes(Changes { chatroom_id, owner_id, opponent_id, from, to, changes })
            }
            Self::Frame { chatter_id, about, .. } => {
                ClusterMessage::Frame { chatter_id, text, durability: about.durability() }
            }
            Self::RoomCreated { chatroom_id, chatters, .. } => ClusterMessage::RoomCreated { chatroom_id, chatters },
            Self::AccessEnded { chatter_id } => ClusterMessage::AccessEnded { chatter_id },
            Self::RoomDeleted { chatroom_id, chatters, .. } => ClusterMessage::RoomDeleted { chatroom_id, chatters },
            Self::RepeatRequest { within_s } => ClusterMessage::RepeatRequest { within_s },
        }
    }
}

impl FrameKind {
    const fn of(durability: Durability) -> Self {
        match durability {
            Durability::Ephemeral => Self::Ephemeral,
            Durability::Durable => Self::Durable,
        }
    }

    const fn durability(self) -> Durability {
        match self {
            Self::Ephemeral => Durability::Ephemeral,
            Self::Durable => Durability::Durable,
        }
    }
}

impl<'a> Change<'a> {
    fn of(kind: ChangeKind, chat: &'a Chat) -> Self {
        Self {
            kind: match kind {
                ChangeKind::Created => ChangeName::Created,
                ChangeKind::Edited => ChangeName::Edited,
                ChangeKind::Deleted => ChangeName::Deleted,
            },
            id: chat.id,
            seq: chat.seq,
            version: chat.version,
            sender_id: chat.sender_id,
            receiver_id: chat.receiver_id,
            content: Cow::Borrowed(&chat.content),
            client_id: chat.client_id.as_deref().map(Cow::Borrowed),
            create_time: chat.create_time.0,
            edit_time: chat.edit_time.map(|time| time.0),
            delete_time: chat.delete_time.map(|time| time.0),
        }
    }

    fn into_chat(self, chatroom_id: ChatroomId) -> (ChangeKind, Chat) {
        let kind = match self.kind {
            ChangeName::Created => ChangeKind::Created,
            ChangeName::Edited => ChangeKind::Edited,
            ChangeName::Deleted => ChangeKind::Deleted,
        };
        let chat = Chat {
            id: self.id,
            chatroom_id,
            seq: self.seq,
            version: self.version,
            sender_id: self.sender_id,
            receiver_id: self.receiver_id,
            content: self.content.into_owned(),
            client_id: self.client_id.map(Cow::into_owned),
            create_time: Micros(self.create_time),
            edit_time: self.edit_time.map(Micros),
            delete_time: self.delete_time.map(Micros),
        };
        (kind, chat)
    }
}
