//! The outcomes of one commit, sorted by what the room does with them. Pure.

use super::command::Reply;
use crate::delivery::event::Event;
use crate::domain::Version;
use crate::domain::chat::{ChangeKind, Chat};
use crate::store::writer::{Outcome, Refusal, Stored};

/// What one commit means for its room.
#[derive(Default)]
pub(super) struct Commit {
    /// The changes that were stored, in the room's order: to be published and delivered.
    pub(super) events: Vec<Event>,
    /// The chats whose `client_id` was known: an earlier attempt stored them, and may not have delivered them.
    pub(super) retried: Vec<Chat>,
    /// The outcomes that have to be answered beside the events.
    pub(super) answers: Vec<(Reply, Outcome)>,
    /// A stored chat left a pending push in the outbox.
    pub(super) has_pending_push: bool,
    /// The database may have stored a command and not have said so.
    pub(super) is_uncertain: bool,
}

impl Commit {
    /// Sorts outcomes by ticket; `reply_of` takes a ticket's reply.
    pub(super) fn sort(outcomes: Vec<(u64, Outcome)>, mut reply_of: impl FnMut(u64) -> Option<Reply>) -> Self {
        let mut commit = Self { events: Vec::with_capacity(outcomes.len()), ..Self::default() };
        for (ticket, outcome) in outcomes {
            if let Some(reply) = reply_of(ticket)
                && !(reply.is_event() && is_event(&outcome))
            {
                commit.answers.push((reply, outcome.clone()));
            }
            commit.add(outcome);
        }
        commit
    }

    fn add(&mut self, outcome: Outcome) {
        match outcome {
            Ok(Stored::New { chat, push_pending }) => {
                self.has_pending_push |= push_pending;
                self.events.push(Event::new(ChangeKind::Created, chat));
            }
            Ok(Stored::Edited(chat)) => self.events.push(Event::new(ChangeKind::Edited, chat)),
            Ok(Stored::Deleted(chat)) => self.events.push(Event::new(ChangeKind::Deleted, chat)),
            Ok(Stored::Again(chat)) => self.retried.push(chat),
            Err(Refusal::Unavailable | Refusal::Failed) => self.is_uncertain = true,
            Err(
                Refusal::NoRoom
                | Refusal::Closed
                | Refusal::ClientIdConflict
                | Refusal::NoChat
                | Refusal::NotSender
                | Refusal::Impossible,
            ) => {}
        }
    }

    /// The newest version of the retried chats.
    pub(super) fn newest_retried(&self) -> Option<Version> {
        self.retried.iter().map(|chat| chat.version).max()
    }
}

/// Whether an outcome is a change that is delivered as an event.
fn is_event(outcome: &Outcome) -> bool {
    matches!(outcome, Ok(Stored::New { .. } | Stored::Edited(_) | Stored::Deleted(_)))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::Arc;

    use tokio::sync::oneshot;

    use super::*;
    use crate::connections::chatroom::{ChatroomConnection, Subscription};
    use crate::connections::socket::Socket;
    use crate::domain::Grant;
    use crate::domain::clock::Micros;
    use crate::websocket::out_queue::OutQueue;

    fn chat(version: i64) -> Chat {
        Chat {
            id: version.into(),
            chatroom_id: 1.into(),
            seq: version.into(),
            version: version.into(),
            sender_id: 1.into(),
            receiver_id: 2.into(),
            content: format!("chat {version}"),
            client_id: None,
            create_time: Micros(0),
            edit_time: None,
            delete_time: None,
        }
    }

    fn new(version: i64, push_pending: bool) -> Outcome {
        Ok(Stored::New { chat: chat(version), push_pending })
    }

    fn sorted(outcomes: impl IntoIterator<Item = Outcome>) -> Commit {
        Commit::sort((0..).zip(outcomes).collect(), |_| None)
    }

    fn rest() -> Reply {
        Reply::Rest(oneshot::channel().0)
    }

    fn chatroom_socket() -> Reply {
        let (out, _body) = OutQueue::new(1_000);
        let socket = Socket::new(out, Arc::default());
        let connection =
            ChatroomConnection::new(1.into(), Grant::Issued(None), 1.into(), Subscription::NewChats, socket);
        Reply::Chatroom(Arc::new(connection), None)
    }

    fn answered(commit: &Commit) -> Vec<&Outcome> {
        commit.answers.iter().map(|(_, outcome)| outcome).collect()
    }

    #[test]
    fn stored_changes_become_events_in_the_order_of_the_commit() {
        let commit = sorted([new(4, false), Ok(Stored::Edited(chat(5))), Ok(Stored::Deleted(chat(6)))]);
        let events: Vec<_> = commit.events.iter().map(|event| (event.version().get(), event.kind)).collect();
        assert_eq!(events, [(4, ChangeKind::Created), (5, ChangeKind::Edited), (6, ChangeKind::Deleted)]);
        assert!(!commit.has_pending_push && !commit.is_uncertain);
        assert_eq!(commit.newest_retried(), None);
    }

    #[test]
    fn a_retry_is_no_event() {
        let commit = sorted([Ok(Stored::Again(chat(7))), new(9, true), Ok(Stored::Again(chat(3)))]);
        assert_eq!(commit.events.len(), 1);
        assert_eq!(commit.retried.iter().map(|chat| chat.version.get()).collect::<Vec<_>>(), [7, 3]);
        assert_eq!(commit.newest_retried(), Some(7.into()));
        assert!(commit.has_pending_push);
    }

    #[test]
    fn only_a_database_failure_leaves_the_outcome_uncertain() {
        for refusal in
            [Refusal::NoRoom, Refusal::Closed, Refusal::ClientIdConflict, Refusal::NoChat, Refusal::NotSender]
        {
            assert!(!sorted([Err(refusal)]).is_uncertain, "{refusal:?}");
        }
        for refusal in [Refusal::Unavailable, Refusal::Failed] {
            assert!(sorted([new(1, false), Err(refusal)]).is_uncertain, "{refusal:?}");
        }
    }

    #[test]
    fn the_event_answers_a_chatroom_socket_and_every_other_outcome_is_answered() {
        let outcomes = [new(1, false), Ok(Stored::Again(chat(1))), Err(Refusal::NoRoom)];
        let tickets = || (0..).zip(outcomes.clone()).collect::<Vec<_>>();
        let commit = Commit::sort(tickets(), |_| Some(rest()));
        assert_eq!(answered(&commit), outcomes.iter().collect::<Vec<_>>());
        let commit = Commit::sort(tickets(), |_| Some(chatroom_socket()));
        assert_eq!(answered(&commit), outcomes[1..].iter().collect::<Vec<_>>());
    }

    #[test]
    fn outcomes_find_their_replies_by_ticket() {
        let mut waiting = HashMap::from([(8, rest())]);
        let outcomes = vec![(7, new(1, false)), (8, new(2, false))];
        let commit = Commit::sort(outcomes, |ticket| waiting.remove(&ticket));
        assert_eq!(answered(&commit), [&new(2, false)]);
        assert_eq!(commit.events.len(), 2, "an outcome without a reply is delivered all the same");
        assert!(waiting.is_empty());
    }
}
