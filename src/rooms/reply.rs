//! A room's answers: outcomes and refusals, to a waiting REST handler or into a connection's out-queue.

use super::command::{Command, Mutate, Post, Reply};
use crate::connections::device::ReplyTo;
use crate::problem::Problem;
use crate::store::writer::Stored;

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
