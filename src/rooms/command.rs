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
    /// Waits in the room while the room is loading.
    pub command: Command,
    /// Keeps the room from retiring until it has handled the command.
    pub guard: InFlightGuard,
}

/// What a room can be asked to do.
pub enum Command {
    /// Stores a new chat; answered by its `reply`.
    Post(Post),
    /// Edits or deletes a chat; answered by its `reply`.
    Mutate(Mutate),
    /// Moves a participant's watermarks forward. Only a refusal is answered, and only if there is a `reply_to`.
    Watermark {
        /// The participant whose watermarks move.
        chatter_id: ChatterId,
        /// At most one update for each of the two watermarks.
        steps: [Option<WatermarkUpdate>; 2],
        /// The device socket that sent the frame. `None` means that a refusal is dropped.
        reply_to: Option<ReplyTo>,
    },
    /// The chatter of `reply_to` starts or stops typing. Only a refusal is answered.
    Typing {
        /// Clients repeat `Started` while the typing goes on, so that it does not expire.
        change: TypingChange,
        /// The chatter's device socket, and the frame that a refusal answers.
        reply_to: ReplyTo,
    },
    /// Deletes the room, which closes its chatroom sockets with 4404.
    Delete {
        /// The participant who deletes; other chatters are refused with `not_found`.
        by: ChatterId,
        /// Gets the result once the rows are deleted, or the refusal.
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
    /// The chatter who posts; refused with `not_found` unless it is a participant.
    pub sender_id: ChatterId,
    /// If present, it must be the other participant.
    pub receiver_id: Option<ChatterId>,
    /// Within the limits already; stored as sent.
    pub content: Content,
    /// A repeated post with the same one stores nothing again. `None` means that each post is a new chat.
    pub client_id: Option<ClientId>,
    /// Where the stored chat or the refusal goes.
    pub reply: Reply,
}

/// Edits or deletes a stored chat.
pub struct Mutate {
    /// The chatter who edits or deletes; refused unless it is the chat's sender.
    pub by: ChatterId,
    /// Refused with `not_found` unless the chat is in this room and not deleted.
    pub chat_id: ChatId,
    /// The new content, or the deletion.
    pub mutation: Mutation,
    /// Where the changed chat or the refusal goes.
    pub reply: Reply,
}

/// Whether a chatter starts or stops typing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TypingChange {
    /// The chatter starts to type, or goes on.
    Started,
    /// The chatter no longer types, or its last `Started` has expired.
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
