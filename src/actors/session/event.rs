//! What happened to a chat, encoded at most once per kind of socket however many receive it.

use std::sync::OnceLock;

use bytes::Bytes;

use super::frame::text_frame;
use crate::domain::Version;
use crate::domain::chat::Chat;
use crate::wire::seed::{ChatFrame, EventFrame};

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Created,
    Edited,
    Deleted,
}

/// A change in a room on its way to the sockets.
pub struct Event {
    pub kind: Kind,
    pub chat: Chat,
    seed: OnceLock<Bytes>,
}

impl Event {
    /// Something happened to this chat.
    #[must_use]
    pub fn new(kind: Kind, chat: Chat) -> Self {
        Self { kind, chat, seed: OnceLock::new() }
    }

    /// The number of the change in its room.
    #[must_use]
    pub fn version(&self) -> Version {
        self.chat.version
    }

    /// The seed socket's frame, with its WebSocket header.
    #[must_use]
    pub fn seed_frame(&self) -> Bytes {
        self.seed
            .get_or_init(|| match self.kind {
                Kind::Created => text_frame(&ChatFrame::new(&self.chat)),
                Kind::Edited => text_frame(&EventFrame::edited(&self.chat)),
                Kind::Deleted => text_frame(&EventFrame::deleted(&self.chat)),
            })
            .clone()
    }
}
