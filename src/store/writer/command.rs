//! What rooms submit to the writer, and the outcomes that they get back.

use std::sync::Arc;

use crate::domain::chat::{Chat, ClientId, Content};
use crate::domain::{ChatId, ChatroomId, ChatterId};
use crate::store::epoch::EpochNumber;

/// A new chat.
pub struct Append {
    /// The room that numbers the chat.
    pub chatroom_id: ChatroomId,
    /// One of the room's participants, as the room has checked.
    pub sender_id: ChatterId,
    /// The sender itself in notes to self, which are never pushed.
    pub receiver_id: ChatterId,
    /// If the sender has used it before, nothing is stored. `None` means that there is no such check.
    pub client_id: Option<ClientId>,
    /// Within the limits already; the writer derives the text for search from it.
    pub content: Content,
}

/// An edit or deletion of a stored chat by its sender.
pub struct Mutate {
    /// The room that the chat must be in.
    pub chatroom_id: ChatroomId,
    /// Must not be a tombstone.
    pub chat_id: ChatId,
    /// Must be the chat's sender.
    pub by: ChatterId,
    /// The other participant, for the changed chat; the sender itself in notes to self.
    pub receiver_id: ChatterId,
    /// The new content, or the deletion.
    pub mutation: Mutation,
}

/// How a stored chat changes.
pub enum Mutation {
    /// Replaces the content.
    Edit(Content),
    /// Leaves a tombstone without content.
    Delete,
}

/// What a room may submit.
pub enum Command {
    /// Stores a new chat.
    Append(Append),
    /// Edits or deletes a chat.
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
    /// Commands of one room are carried out in the order in which the room submits them.
    pub command: Command,
    /// The epoch in which the room was loaded; in another one the command is refused as unavailable.
    pub epoch: EpochNumber,
    /// Gets the outcome after the commit.
    pub sink: Arc<dyn OutcomeSink>,
}

/// The state of a chat in the database after its command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stored {
    /// This command stored the chat.
    New {
        /// As stored, with its `seq` and `version`.
        chat: Chat,
        /// Whether the same transaction left any pending push.
        push_pending: bool,
    },
    /// A chat with this `client_id` was stored before: the chat as it is now.
    Again(Chat),
    /// The chat with its new content and version.
    Edited(Chat),
    /// The tombstone.
    Deleted(Chat),
}

/// Why a command stored nothing. After a lost connection, `Unavailable` leaves open whether it did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The room was deleted, or never existed.
    NoRoom,
    /// One of the two chatters deleted their account.
    Closed,
    /// The sender used this `client_id` before, for another content or in another room.
    ClientIdConflict,
    /// The room has no such chat, or only its tombstone.
    NoChat,
    /// The chat is the other participant's.
    NotSender,
    /// The database did not answer.
    Unavailable,
    /// The database can store no such value.
    Impossible,
    /// The database answered with an error that waiting does not cure; the log has it.
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
