//! What is particular to seed sockets: one room, its changes as frames of their own, and proofs that chats were received.

use std::sync::Arc;

use super::{Connection, Kind};
use crate::delivery::chatroom_cursor::{Admitted, ChatroomCursor};
use crate::delivery::event::{Batch, Event};
use crate::delivery::order::Head;
use crate::domain::chat::{ChangeKind, Chat};
use crate::problem::Problem;
use crate::protocol::chatroom::{ChatFrame, ErrorFrame};
use crate::sessions::messages::ProofWanted;
use crate::websocket::framing::text_frame;

impl Connection {
    /// Queues what a seed socket gets of a run, under its cursor's lock; true if it has to read the database first.
    pub(super) fn deliver_chatroom(&self, batch: &Arc<Batch>, all: bool, cursor: &mut ChatroomCursor) -> bool {
        match cursor.deliver(batch) {
            Admitted::All => self.push_chatroom(batch.events.iter().map(|event| (event, event.kind)), all),
            Admitted::Some(some) => {
                self.push_chatroom(some.into_iter().map(|(at, kind)| (&batch.events[at], kind)), all);
            }
            Admitted::Nothing => {}
            Admitted::Behind => return true,
        }
        false
    }

    fn push_chatroom<'a>(&self, events: impl Iterator<Item = (&'a Event, ChangeKind)> + Clone, all: bool) {
        let wanted = |(_, kind): &(&Event, ChangeKind)| all || *kind == ChangeKind::Created;
        let received = events
            .clone()
            .filter(|(event, kind)| *kind == ChangeKind::Created && event.chat.sender_id != self.chatter_id)
            .map(|(event, _)| event.chat.seq);
        let frame = |(event, kind): (&Event, ChangeKind)| match kind == event.kind {
            true => event.chatroom_frame(),
            false => Event::new(kind, event.chat.clone()).chatroom_frame(),
        };
        let frames = events.clone().filter(wanted).map(frame);
        self.out.metrics().changes_delivered.add(events.clone().filter(wanted).count());
        let Some(first) = received.clone().min() else { return self.watch(self.out.push(frames)) };
        let (pushed, proof_wanted) = self.out.push_chats(frames, first, received.max().unwrap_or(first));
        self.watch(pushed);
        if proof_wanted && let Some(session) = self.session.get() {
            // A full mailbox leaves the proof to the heartbeat.
            let _ = session.try_send(ProofWanted);
        }
    }

    /// The database says where the seed socket's room is, or was read up to there with `read`: that goes out, and then what
    /// was held. False if it has to be read once more.
    pub fn joined(&self, head: Head, read: Option<Arc<Batch>>) -> bool {
        let Kind::Chatroom { events, cursor, .. } = &self.kind else { return true };
        let mut cursor = cursor.lock();
        // What was read is delivered as to a live socket, which moves the cursor.
        let head = if read.is_some() { cursor.head() } else { head };
        let (held, mut again) = cursor.joined(head);
        if again {
            // What was thrown away may be more than what was read.
            drop(cursor.joined(head));
        }
        for batch in read.iter().chain(&held) {
            again |= self.deliver_chatroom(batch, *events, &mut cursor);
        }
        if again {
            cursor.fall_behind();
        }
        !again
    }

    /// Whether a seed socket has to read the database.
    #[must_use]
    pub fn is_chatroom_behind(&self) -> bool {
        matches!(&self.kind, Kind::Chatroom { cursor, .. } if cursor.lock().is_behind())
    }

    /// What a seed socket has had of its room.
    #[must_use]
    pub fn chatroom_head(&self) -> Option<Head> {
        match &self.kind {
            Kind::Chatroom { cursor, .. } => Some(cursor.lock().head()),
            Kind::Device(_) => None,
        }
    }

    /// Answers a retry on a seed socket: the chat is already stored, only the sender's socket hears of it.
    pub fn again(&self, chat: &Chat) {
        self.push(text_frame(&ChatFrame::new(chat)));
    }

    /// Answers a seed frame that was refused; the socket stays open.
    pub fn refuse(&self, problem: &Problem, client_id: Option<&str>) {
        self.out.metrics().refusals.add(problem.code as usize);
        self.push(text_frame(&ErrorFrame { error: problem, client_id }));
    }
}
