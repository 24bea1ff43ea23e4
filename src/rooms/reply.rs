//! A room's answers: outcomes and refusals, to a waiting REST handler or into a connection's out-queue.

use super::command::{Command, Mutate, Post, Reply};
use crate::connections::device::ReplyTo;
use crate::problem::{Code, Problem};
use crate::store::StoreError;
use crate::store::writer::{Refusal, Stored};

/// Refuses a command, if it has a reply.
pub(super) fn refuse(command: Command, problem: &Problem) {
    match command {
        Command::Post(Post { reply, .. }) | Command::Mutate(Mutate { reply, .. }) => {
            answer(reply, Err(problem.clone()));
        }
        Command::Delete { reply, .. } => {
            // A handler whose client has gone away no longer waits.
            let _ = reply.send(Err(problem.clone()));
        }
        Command::Watermark { reply_to: Some(reply_to), .. } | Command::Typing { reply_to, .. } => {
            reply_to.refuse(problem);
        }
        Command::Watermark { reply_to: None, .. } | Command::Deleted | Command::CatchUp | Command::Relayed(_) => {}
    }
}

/// Answers a post or a mutation.
pub(super) fn answer(reply: Reply, outcome: Result<Stored, Problem>) {
    match (reply, outcome) {
        (Reply::Rest(reply), outcome) => {
            // A handler whose client has gone away no longer waits.
            let _ = reply.send(outcome);
        }
        (Reply::Chatroom(connection, _), Ok(Stored::Again(chat))) => connection.repeat(&chat),
        (Reply::Chatroom(..), Ok(_)) => {}
        (Reply::Chatroom(connection, client_id), Err(problem)) => connection.refuse(&problem, client_id.as_deref()),
        (
            Reply::Device(ReplyTo { connection, reference }),
            Ok(Stored::New { chat, .. } | Stored::Again(chat) | Stored::Edited(chat) | Stored::Deleted(chat)),
        ) => connection.ack(reference, &chat),
        (Reply::Device(reply_to), Err(problem)) => reply_to.refuse(&problem),
    }
}

/// The refusal of a room whose mailbox or whose commands in flight are at their bound, or of a full writer queue.
pub(super) fn busy() -> Problem {
    Problem::new(Code::Busy, "Too many commands are waiting; nothing was stored. Try again with the same client_id.")
}

/// The problem for a refusal of the store's writer.
pub(super) fn problem_of(refusal: Refusal) -> Problem {
    match refusal {
        Refusal::NoRoom => Problem::not_found("chatroom"),
        Refusal::Closed => Problem::new(
            Code::ReceiverDeleted,
            "The other person has deleted their account; the history stays readable.",
        ),
        Refusal::ClientIdConflict => Problem::new(
            Code::ClientIdConflict,
            "This client_id was used for a chat with another content or room; use a new one for each chat.",
        ),
        Refusal::NoChat => Problem::not_found("chat"),
        Refusal::NotSender => Problem::new(Code::NotYours, "Only the sender of a chat can edit or delete it."),
        Refusal::Unavailable => Problem::unavailable(),
        Refusal::Failed => {
            Problem::new(Code::Internal, "The chat could not be stored; the server's log has the cause.")
        }
    }
}

/// The problem for a room that could not be deleted.
pub(super) fn problem_of_store(error: &StoreError) -> Problem {
    match error {
        StoreError::Unavailable(_) => Problem::unavailable(),
        StoreError::Failed(_) => {
            Problem::new(Code::Internal, "The room could not be deleted; the server's log has the cause.")
        }
    }
}
