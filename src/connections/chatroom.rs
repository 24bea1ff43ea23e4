//! A chatroom socket: one room, its changes as frames of their own, and proofs that chats were received.

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use super::socket::{Socket, Wake};
use crate::delivery::chatroom_cursor::{Admitted, ChatroomCursor, Joined};
use crate::delivery::event::{Batch, Event};
use crate::delivery::order::Head;
use crate::domain::chat::{ChangeKind, Chat};
use crate::domain::{ChatroomId, ChatterId, Grant, Version};
use crate::problem::Problem;
use crate::protocol::chatroom::{ChatFrame, ErrorFrame};
use crate::websocket::framing::text_frame;
use crate::websocket::out_queue::ProofPing;

/// Which changes the client has asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subscription {
    /// New chats only, without edits and deletions.
    NewChats,
    /// Edits and deletions too (`&events=1`).
    AllChanges,
}

/// Whether a socket that has read its room is up to date.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// It lacks no change that the room has delivered.
    UpToDate,
    /// The room has to be read once more.
    Behind,
}

/// A socket of one room.
pub struct ChatroomConnection {
    /// The chatter whose token opened the socket.
    pub chatter_id: ChatterId,
    /// What its token is valid by.
    pub grant: Grant,
    /// The only room whose chats the socket gets.
    pub chatroom_id: ChatroomId,
    subscription: Subscription,
    socket: Socket,
    cursor: Mutex<ChatroomCursor>,
}

impl ChatroomConnection {
    /// A socket that is not live before [`ChatroomConnection::joined`].
    #[must_use]
    pub fn new(
        chatter_id: ChatterId,
        grant: Grant,
        chatroom_id: ChatroomId,
        subscription: Subscription,
        socket: Socket,
    ) -> Self {
        Self { chatter_id, grant, chatroom_id, subscription, socket, cursor: Mutex::default() }
    }

    /// What it has in common with every other socket.
    #[must_use]
    pub fn socket(&self) -> &Socket {
        &self.socket
    }

    /// Queues the frames of these changes, if they are those of its room. Called by the room, once per commit.
    pub fn deliver(&self, batch: &Arc<Batch>) {
        if self.chatroom_id != batch.chatroom_id {
            return;
        }
        let progress = self.deliver_locked(batch, &mut self.cursor.lock());
        if progress == Progress::Behind {
            self.socket.wake(Wake::Behind);
        }
    }

    fn deliver_locked(&self, batch: &Arc<Batch>, cursor: &mut ChatroomCursor) -> Progress {
        match cursor.deliver(batch) {
            Admitted::All => self.push_events(batch.events.iter().map(|event| (event, event.kind))),
            Admitted::Some(some) => self.push_events(some.into_iter().map(|(at, kind)| (&batch.events[at], kind))),
            Admitted::Nothing => {}
            Admitted::Behind => return Progress::Behind,
        }
        Progress::UpToDate
    }

    fn push_events<'a>(&self, events: impl Iterator<Item = (&'a Event, ChangeKind)> + Clone) {
        let all = self.subscription == Subscription::AllChanges;
        let is_sent = |(_, kind): &(&Event, ChangeKind)| all || *kind == ChangeKind::Created;
        let received = events
            .clone()
            .filter(|(event, kind)| *kind == ChangeKind::Created && event.chat.sender_id != self.chatter_id)
            .map(|(event, _)| event.chat.seq);
        let frame = |(event, kind): (&Event, ChangeKind)| {
            if kind == event.kind {
                event.chatroom_frame()
            } else {
                Event::new(kind, event.chat.clone()).chatroom_frame()
            }
        };
        let frames = events.clone().filter(is_sent).map(frame);
        self.socket.metrics().changes_delivered.add(events.clone().filter(is_sent).count());
        let Some(first) = received.clone().min() else { return self.push_all(frames) };
        let result = self.socket.out().push_for_proof(frames, first, received.max().unwrap_or(first));
        self.socket.check(result.pushed, Some(self.chatter_id));
        if result.ping == ProofPing::AfterPause {
            self.socket.wake(Wake::ProofDue);
        }
    }

    /// Makes the socket read the room if it was sent less than this version.
    pub fn check_version(&self, room: ChatroomId, version: Version) {
        if self.chatroom_id != room {
            return;
        }
        let is_behind = {
            let mut cursor = self.cursor.lock();
            cursor.is_below(version) && cursor.fall_behind()
        };
        if is_behind {
            self.socket.metrics().gaps_found.add(1);
            self.socket.wake(Wake::Behind);
        }
    }

    /// The database has said where the room is: delivers the changes that came meanwhile.
    pub fn joined(&self, head: Head) -> Progress {
        self.resume(head, None, &mut self.cursor.lock())
    }

    /// The room was read: delivers the changes that were read, and then those that came meanwhile.
    pub fn caught_up(&self, read: &Arc<Batch>) -> Progress {
        let mut cursor = self.cursor.lock();
        // The delivery of the batch moves the cursor.
        let head = cursor.head();
        self.resume(head, Some(read), &mut cursor)
    }

    fn resume(&self, head: Head, read: Option<&Arc<Batch>>, cursor: &mut ChatroomCursor) -> Progress {
        let (buffered, mut is_behind) = match cursor.joined(head) {
            Joined::Complete(buffered) => (buffered, false),
            Joined::Overflowed => (Vec::new(), true),
        };
        for batch in read.into_iter().chain(&buffered) {
            is_behind |= self.deliver_locked(batch, cursor) == Progress::Behind;
        }
        if !is_behind {
            return Progress::UpToDate;
        }
        cursor.fall_behind();
        Progress::Behind
    }

    /// Whether the socket has to read the room.
    #[must_use]
    pub fn is_behind(&self) -> bool {
        self.cursor.lock().is_behind()
    }

    /// Up to where the socket was sent the room.
    #[must_use]
    pub fn head(&self) -> Head {
        self.cursor.lock().head()
    }

    /// Queues one frame.
    pub fn push(&self, frame: Bytes) {
        self.push_all([frame]);
    }

    fn push_all(&self, frames: impl IntoIterator<Item = Bytes>) {
        self.socket.push(frames, Some(self.chatter_id));
    }

    /// Answers a retry: the chat was stored before, so only this socket gets it again.
    pub fn repeat(&self, chat: &Chat) {
        self.push(text_frame(&ChatFrame::new(chat)));
    }

    /// Refuses a frame; the socket stays open.
    pub fn refuse(&self, problem: &Problem, client_id: Option<&str>) {
        self.socket.metrics().refusals.add(problem.code as usize);
        self.push(text_frame(&ErrorFrame { error: problem, client_id }));
    }
}
