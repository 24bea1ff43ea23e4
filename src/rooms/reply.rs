//! What a room answers: outcomes and refusals, to a waiting REST handler or into a socket's out-queue.

use super::command::{Command, Mutate, Post, Reply};
use crate::connections::connection::ReplyTo;
use crate::problem::Problem;
use crate::store::writer::Stored;

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
