//! The messages that a room accepts, and where it sends the answers.

use std::sync::Arc;

use actix::Message;
use tokio::sync::oneshot;

use super::host::InFlightGuard;
use crate::broker::Changes;
use crate::connections::chatroom::ChatroomConnection;
use crate::connections::device::ReplyTo;
use crate::domain::chat::{ClientId, Content};
use crate::domain::{ChatId, ChatterId};
use crate::problem::Problem;
use crate::store::writer::{Mutation, Outcome, Stored, WatermarkUpdate};

/// Carries a command to a room. [`Registry::send`](crate::rooms::registry::Registry::send) sends it; the room answers
/// through the command's own reply, after the commit.
#[derive(Message)]
#[rtype(result = "()")]
pub struct RoomMessage {
    pub command: Command,
    /// Keeps the room from retiring until it has handled the command.
    pub guard: InFlightGuard,
}

/// What a room can be asked to do.
pub enum Command {
    Post(Post),
    Mutate(Mutate),
    /// Moves a participant's watermarks forward. Only a refusal is answered, and only if there is a `reply_to`.
    Watermark {
        chatter_id: ChatterId,
        steps: [Option<WatermarkUpdate>; 2],
        reply_to: Option<ReplyTo>,
    },
    /// The chatter of `reply_to` starts or stops typing. Only a refusal is answered.
    Typing {
        change: TypingChange,
        reply_to: ReplyTo,
    },
    /// Deletes the room, which closes its chatroom sockets with 4404.
    Delete {
        by: ChatterId,
        reply: oneshot::Sender<Result<(), Problem>>,
    },
    /// The room's rows are deleted already, and its sockets were closed or sent the frame.
    Deleted,
    /// Reads the database for changes that were stored but may never have been delivered.
    CatchUp,
    /// Changes that another instance has stored.
    Relayed(Changes),
}

/// Stores a new chat.
pub struct Post {
    pub sender_id: ChatterId,
    /// If present, it must be the other participant.
    pub receiver_id: Option<ChatterId>,
    pub content: Content,
    pub client_id: Option<ClientId>,
    pub reply: Reply,
}

/// Edits or deletes a stored chat.
pub struct Mutate {
    pub by: ChatterId,
    pub chat_id: ChatId,
    pub mutation: Mutation,
    pub reply: Reply,
}

/// Whether a chatter starts or stops typing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TypingChange {
    Started,
    Stopped,
}

impl TypingChange {
    /// The change that a device frame's `typing` member stands for.
    #[must_use]
    pub const fn from_flag(typing: bool) -> Self {
        if typing { Self::Started } else { Self::Stopped }
    }

    /// The `typing` member of the frame for the other participant.
    #[must_use]
    pub const fn flag(self) -> bool {
        matches!(self, Self::Started)
    }
}

/// Where a room sends the answer to a post or a mutation.
pub enum Reply {
    /// To a waiting REST handler.
    Rest(oneshot::Sender<Result<Stored, Problem>>),
    /// To a chatroom socket, with the `client_id` of its chat. The event itself is the answer to a stored chat, so only
    /// refusals and retries are sent.
    Chatroom(Arc<ChatroomConnection>, Option<Box<str>>),
    /// To a device socket, as an acknowledgement or a refusal.
    Device(ReplyTo),
}

impl Reply {
    /// Whether the delivered event already answers a command that stored something new.
    pub(super) fn is_event(&self) -> bool {
        matches!(self, Self::Chatroom(..))
    }
}

/// The outcomes of a room's commands, by ticket and in the room's order. The store's writer sends it after the commit.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Committed(pub Vec<(u64, Outcome)>);
