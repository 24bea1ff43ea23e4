//! Changes of a room, each encoded at most once per kind of socket, however many sockets receive it.

use std::sync::OnceLock;

use bytes::Bytes;

use super::run::Run;
use crate::domain::chat::{ChangeKind as Kind, Chat};
use crate::domain::{ChatroomId, Version};
use crate::protocol::chatroom::{ChatFrame, EventFrame};
use crate::protocol::device::server::ServerFrame;
use crate::protocol::rest::ChatBody;
use crate::websocket::framing::text_frame;

/// A run that was read from the database is sent to device sockets as one frame, up to so many chats and bytes of
/// content.
const CHANGES_CHATS_MAX: usize = 100;
const CHANGES_BYTES_MAX: usize = 16_384;

/// A change in a room on its way to the sockets.
pub struct Event {
    /// What the change did to the chat; selects the type of the frame.
    pub kind: Kind,
    /// The chat after the change. Its `version` numbers the change.
    pub chat: Chat,
    chatroom: OnceLock<Bytes>,
    device: OnceLock<Bytes>,
}

impl Event {
    /// A change that made this chat what it is.
    #[must_use]
    pub fn new(kind: Kind, chat: Chat) -> Self {
        Self { kind, chat, chatroom: OnceLock::new(), device: OnceLock::new() }
    }

    /// The number of the change in its room.
    #[must_use]
    pub fn version(&self) -> Version {
        self.chat.version
    }

    /// The frame for chatroom sockets, with its WebSocket header.
    #[must_use]
    pub fn chatroom_frame(&self) -> Bytes {
        let encode = || match self.kind {
            Kind::Created => text_frame(&ChatFrame::new(&self.chat)),
            Kind::Edited => text_frame(&EventFrame::edited(&self.chat)),
            Kind::Deleted => text_frame(&EventFrame::deleted(&self.chat)),
        };
        self.chatroom.get_or_init(encode).clone()
    }

    /// The frame for device sockets, with its WebSocket header.
    #[must_use]
    pub fn device_frame(&self) -> Bytes {
        let encode = || {
            text_frame(&match self.kind {
                Kind::Created => ServerFrame::Chat { chat: ChatBody::new(&self.chat) },
                Kind::Edited => ServerFrame::ChatEdited { chat: ChatBody::new(&self.chat) },
                Kind::Deleted => ServerFrame::deleted(&self.chat),
            })
        };
        self.device.get_or_init(encode).clone()
    }
}

/// Where a batch comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Events, one for each version.
    Events,
    /// Rows of the database: a row has only the version of its last change, so versions have holes.
    Rows,
}

/// Changes of one room that follow each other, in the order in which its sockets get them.
pub struct Batch {
    /// The room in which all the changes happened.
    pub chatroom_id: ChatroomId,
    /// The version before the first.
    pub from: Version,
    /// The version after the last.
    pub to: Version,
    /// The changes, in the order of their frames.
    pub events: Vec<Event>,
    /// Whether versions may be missing between `from` and `to`.
    pub source: Source,
    changes: OnceLock<Option<Bytes>>,
}

impl Batch {
    /// All changes from one version to another.
    #[must_use]
    pub fn new(chatroom_id: ChatroomId, from: Version, to: Version, events: Vec<Event>, source: Source) -> Self {
        Self { chatroom_id, from, to, events, source, changes: OnceLock::new() }
    }
}

impl Run for Batch {
    fn from(&self) -> Version {
        self.from
    }

    fn to(&self) -> Version {
        self.to
    }

    fn is_unbroken(&self) -> bool {
        self.source == Source::Events
    }

    fn frames(&self) -> impl Iterator<Item = (Version, Bytes)> {
        self.events.iter().map(|event| (event.version(), event.device_frame()))
    }

    fn as_changes(&self) -> Option<Bytes> {
        let encode = || {
            let bytes: usize = self.events.iter().map(|event| event.chat.content.len()).sum();
            let small = self.events.len() <= CHANGES_CHATS_MAX && bytes <= CHANGES_BYTES_MAX;
            small.then(|| {
                let mut chats: Vec<Chat> = self.events.iter().map(|event| event.chat.clone()).collect();
                chats.sort_by_key(|chat| chat.version);
                text_frame(&ServerFrame::changes(self.chatroom_id, self.from, &chats, self.to, false))
            })
        };
        self.changes.get_or_init(encode).clone()
    }
}
