//! What a room accepts.

use std::sync::Arc;

use actix::Message;
use tokio::sync::oneshot;

use crate::broker::Changes;
use crate::connections::connection::{Connection, ReplyTo};
use crate::domain::chat::{ClientId, Content};
use crate::domain::{ChatId, ChatterId};
use crate::problem::Problem;
use crate::rooms::registry::InFlightGuard;
use crate::store::writer::{Mutation, Outcome, Stored, WatermarkUpdate};

/// Sent by [`Registry::tell`](crate::rooms::registry::Registry::tell) for sockets and REST handlers; answered through
/// the command's own reply, after the commit.
#[derive(Message)]
#[rtype(result = "()")]
pub struct RoomMessage {
    pub command: Command,
    /// Keeps the room from retiring until this is handled.
    pub guard: InFlightGuard,
}

/// What can be asked of a room.
pub enum Command {
    Post(Post),
    Mutate(Mutate),
    /// A chatter's watermarks move forward; only a refusal is answered, where somebody asked.
    Watermark {
        chatter_id: ChatterId,
        steps: [Option<WatermarkUpdate>; 2],
        asker: Option<ReplyTo>,
    },
    /// A chatter types, or stops; only a refusal is answered.
    Typing {
        typing: bool,
        asker: ReplyTo,
    },
    /// Delete the room; its sockets are closed 4404.
    Delete {
        by: ChatterId,
        reply: oneshot::Sender<Result<(), Problem>>,
    },
    /// The room's rows were deleted with an account; its sockets know.
    Deleted,
    /// Something may have been stored that was never delivered: look.
    CatchUp,
    /// Another instance has stored something.
    Relayed(Changes),
    /// Fails the actor.
    #[cfg(test)]
    Panic,
}

/// Store a new chat.
pub struct Post {
    pub sender_id: ChatterId,
    /// If given, it must be the other one.
    pub receiver_id: Option<ChatterId>,
    pub content: Content,
    pub client_id: Option<ClientId>,
    pub reply: Reply,
}

/// Edit or delete a stored chat.
pub struct Mutate {
    pub by: ChatterId,
    pub chat_id: ChatId,
    pub mutation: Mutation,
    pub reply: Reply,
}

/// Where the answer goes.
pub enum Reply {
    /// A REST handler waits.
    Rest(oneshot::Sender<Result<Stored, Problem>>),
    /// A seed socket: its echo is the answer, so only refusals and retries are sent; with the refused chat's client_id.
    Chatroom(Arc<Connection>, Option<Box<str>>),
    /// A device socket: acknowledged or refused.
    Device(ReplyTo),
}

/// Sent by the store's writer after a commit: what became of commands, by ticket, in the room's order.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Committed(pub Vec<(u64, Outcome)>);
