//! The requests that a device socket's frames make, with checked contents.

use crate::domain::chat::{ClientId, Content};
use crate::domain::{ChatId, ChatroomId, Seq, Version};
use crate::problem::Problem;
use crate::protocol::device::client::Body;
use crate::store::writer::Mutation;

/// What a frame asks for.
pub(super) enum DeviceRequest {
    Post { chatroom_id: ChatroomId, content: Content, client_id: ClientId },
    Mutate { chat_id: ChatId, mutation: Mutation },
    Control(Control),
}

/// Everything that neither stores nor changes a chat.
pub(super) enum Control {
    Authenticate { token: String },
    Receipt { chatroom_id: ChatroomId, delivered_seq: Option<Seq>, read_seq: Option<Seq> },
    Typing { chatroom_id: ChatroomId, typing: bool },
    Resume { rooms: Vec<(ChatroomId, Version)>, epoch: Option<String> },
    Ping,
}

impl DeviceRequest {
    /// Checks the content of a frame.
    pub(super) fn parse(body: Body) -> Result<Self, Problem> {
        Ok(match body {
            Body::Send { chatroom_id, client_id, content } => {
                Self::Post { chatroom_id, content: Content::parse(content)?, client_id: ClientId::parse(client_id)? }
            }
            Body::Edit { chat_id, content } => {
                Self::Mutate { chat_id, mutation: Mutation::Edit(Content::parse(content)?) }
            }
            Body::Delete { chat_id } => Self::Mutate { chat_id, mutation: Mutation::Delete },
            Body::Auth { token } => Self::Control(Control::Authenticate { token }),
            Body::Receipt { chatroom_id, delivered_seq, read_seq } => {
                Self::Control(Control::Receipt { chatroom_id, delivered_seq, read_seq })
            }
            Body::Typing { chatroom_id, typing } => Self::Control(Control::Typing { chatroom_id, typing }),
            Body::Resume { chatrooms, epoch } => Self::Control(Control::Resume { rooms: chatrooms, epoch }),
            Body::Ping => Self::Control(Control::Ping),
        })
    }
}
