//! What a room answers: outcomes and refusals, to a waiting REST handler or into a socket's out-queue.

use super::command::{Command, Mutate, Post, Reply};
use crate::connections::connection::ReplyTo;
use crate::problem::{Code, Problem};
use crate::store::StoreError;
use crate::store::writer::{Refusal, Stored};

pub(super) fn refuse(command: Command, problem: &Problem) {
    match command {
        Command::Post(Post { reply, .. }) | Command::Mutate(Mutate { reply, .. }) => {
            answer(reply, Err(problem.clone()))
        }
        Command::Delete { reply, .. } => drop(reply.send(Err(problem.clone()))),
        Command::Watermark { asker: Some(asker), .. } | Command::Typing { asker, .. } => asker.refuse(problem),
        Command::Watermark { asker: None, .. } | Command::Deleted | Command::CatchUp | Command::Relayed(_) => {}
        #[cfg(test)]
        Command::Panic => {}
    }
}

pub(super) fn answer(reply: Reply, outcome: Result<Stored, Problem>) {
    match (reply, outcome) {
        (Reply::Rest(reply), outcome) => drop(reply.send(outcome)),
        (Reply::Chatroom(connection, _), Ok(Stored::Again(chat))) => connection.again(&chat),
        (Reply::Chatroom(..), Ok(_)) => {}
        (Reply::Chatroom(connection, client_id), Err(problem)) => connection.refuse(&problem, client_id.as_deref()),
        (
            Reply::Device(ReplyTo { connection, reference }),
            Ok(Stored::New { chat, .. } | Stored::Again(chat) | Stored::Edited(chat) | Stored::Deleted(chat)),
        ) => connection.ack(reference, &chat),
        (Reply::Device(asker), Err(problem)) => asker.refuse(&problem),
    }
}

pub(super) fn busy() -> Problem {
    Problem::new(Code::Busy, "Too much is waiting to be stored; this was not. Try again, with the same client_id.")
}

pub(super) fn problem_of(refusal: Refusal) -> Problem {
    match refusal {
        Refusal::NoRoom => Problem::not_found("chatroom"),
        Refusal::Closed => Problem::new(
            Code::ReceiverDeleted,
            "The other person has deleted their account; the history stays readable.",
        ),
        Refusal::ClientIdConflict => Problem::new(
            Code::ClientIdConflict,
            "You have used this client_id for another content or room; make a new one for a new chat.",
        ),
        Refusal::NoChat => Problem::not_found("chat"),
        Refusal::NotSender => Problem::new(Code::NotYours, "Only the sender of a chat can edit or delete it."),
        Refusal::Unavailable => Problem::unavailable(),
        Refusal::Failed => Problem::new(Code::Internal, "The chat could not be stored; the operator's log says why."),
    }
}

pub(super) fn problem_of_store(error: &StoreError) -> Problem {
    match error {
        StoreError::Unavailable(_) => Problem::unavailable(),
        StoreError::Failed(_) => {
            Problem::new(Code::Internal, "The room could not be deleted; the operator's log says why.")
        }
    }
}
