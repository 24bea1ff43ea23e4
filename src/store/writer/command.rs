//! What rooms submit to the writer, and the outcomes that they get back.

use std::sync::Arc;

use crate::domain::chat::{Chat, ClientId, Content};
use crate::domain::{ChatId, ChatroomId, ChatterId};

/// A new chat.
pub struct Append {
    pub chatroom_id: ChatroomId,
    pub sender_id: ChatterId,
    /// The sender itself in notes to self, which are never pushed.
    pub receiver_id: ChatterId,
    pub client_id: Option<ClientId>,
    pub content: Content,
}

/// An edit or deletion of a stored chat by its sender.
pub struct Mutate {
    pub chatroom_id: ChatroomId,
    pub chat_id: ChatId,
    pub by: ChatterId,
    pub receiver_id: ChatterId,
    pub mutation: Mutation,
}

/// How a stored chat changes.
pub enum Mutation {
    Edit(Content),
    /// Leaves a tombstone without content.
    Delete,
}

/// What a room may submit.
pub enum Command {
    Append(Append),
    Mutate(Mutate),
}

impl Command {
    pub(super) fn chatroom_id(&self) -> ChatroomId {
        match self {
            Self::Append(append) => append.chatroom_id,
            Self::Mutate(mutate) => mutate.chatroom_id,
        }
    }

    /// The bytes of content that it stores.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Append(append) => append.content.as_str().len(),
            Self::Mutate(Mutate { mutation: Mutation::Edit(content), .. }) => content.as_str().len(),
            Self::Mutate(Mutate { mutation: Mutation::Delete, .. }) => 0,
        }
    }
}

/// One command on its way to the database.
pub struct Submission {
    /// The room's own number of the command, which comes back with the outcome.
    pub ticket: u64,
    pub command: Command,
    pub sink: Arc<dyn OutcomeSink>,
}

/// The state of a chat in the database after its command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stored {
    New {
        chat: Chat,
        /// Whether the same transaction left any pending push.
        push_pending: bool,
    },
    /// A chat with this `client_id` was stored before: the chat as it is now.
    Again(Chat),
    Edited(Chat),
    Deleted(Chat),
}

/// Why a command stored nothing. After a lost connection, `Unavailable` leaves open whether it did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    NoRoom,
    /// One of the two chatters deleted their account.
    Closed,
    ClientIdConflict,
    NoChat,
    NotSender,
    Unavailable,
    Failed,
}

/// The outcome of one command.
pub type Outcome = Result<Stored, Refusal>;

/// The receiver of a room's outcomes: the room actor. The writer calls it on its own thread, after the commit.
pub trait OutcomeSink: Send + Sync {
    /// Takes outcomes by ticket, in the order of the room's commands.
    fn complete(&self, outcomes: Vec<(u64, Outcome)>);
}

/// One try to carry out a command.
pub(super) enum Attempt {
    Done(Outcome),
    /// Another transaction has locked the room's row.
    Locked,
}

impl Attempt {
    pub(super) fn refused(refusal: Refusal) -> Self {
        Self::Done(Err(refusal))
    }
}
