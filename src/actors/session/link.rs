//! One live socket as the rest of the instance sees it: whose it is, what it wants, and where its frames go.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use actix::Addr;
use bytes::Bytes;

use super::Session;
use super::event::{Event, Kind};
use super::frame::{Close, text_frame};
use super::messages::{ProofWanted, Shut};
use super::out_queue::{OutQueue, Pushed};
use crate::domain::chat::Chat;
use crate::domain::{ChatroomId, ChatterId};
use crate::error::Problem;
use crate::wire::seed::{ChatFrame, ErrorFrame};

/// A socket's id on this instance.
pub type LinkId = u64;

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// One live socket of a chatter in a room.
pub struct Link {
    pub id: LinkId,
    pub chatter_id: ChatterId,
    pub sign_in_id: Option<i64>,
    pub chatroom_id: ChatroomId,
    /// Whether it asked for edits and deletions too (`&events=1`).
    pub events: bool,
    pub out: OutQueue,
    /// The session actor, once it runs.
    session: OnceLock<Addr<Session>>,
}

impl Link {
    /// A socket that writes to `out`.
    #[must_use]
    pub fn new(
        chatter_id: ChatterId,
        sign_in_id: Option<i64>,
        chatroom_id: ChatroomId,
        events: bool,
        out: OutQueue,
    ) -> Self {
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        Self { id, chatter_id, sign_in_id, chatroom_id, events, out, session: OnceLock::new() }
    }

    /// The session actor makes itself known.
    pub fn attach(&self, session: Addr<Session>) {
        let _ = self.session.set(session);
    }

    /// Queues the frames of these events of its room. Called by the room, once per commit.
    pub fn deliver(&self, events: &[Event]) {
        let wanted = |event: &&Event| self.events || event.kind == Kind::Created;
        let mut received = events
            .iter()
            .filter(|e| e.kind == Kind::Created && e.chat.sender_id != self.chatter_id)
            .map(|e| e.chat.seq);
        let frames = events.iter().filter(wanted).map(Event::seed_frame);
        let Some(first) = received.next() else { return self.watch(self.out.push(frames)) };
        let (pushed, proof_wanted) = self.out.push_chats(frames, first, received.last().unwrap_or(first));
        self.watch(pushed);
        if proof_wanted && let Some(session) = self.session.get() {
            // A full mailbox leaves the proof to the heartbeat.
            let _ = session.try_send(ProofWanted);
        }
    }

    /// Answers a retry: the chat is already stored, only the sender's socket hears of it.
    pub fn again(&self, chat: &Chat) {
        self.push(text_frame(&ChatFrame::new(chat)));
    }

    /// Answers a frame that was refused; the socket stays open.
    pub fn refuse(&self, problem: &Problem, client_id: Option<&str>) {
        self.push(text_frame(&ErrorFrame { error: problem, client_id }));
    }

    /// Queues one frame.
    pub fn push(&self, frame: Bytes) {
        let pushed = self.out.push([frame]);
        self.watch(pushed);
    }

    /// Closes the socket with this code.
    pub fn close(&self, close: Close) {
        self.out.close(Some((close.code, close.reason)));
        self.shut();
    }

    fn watch(&self, pushed: Pushed) {
        if pushed == Pushed::Overflowed {
            tracing::info!(socket_id = self.id, chatter_id = self.chatter_id, "socket closed: it reads too slowly");
            self.shut();
        }
    }

    fn shut(&self) {
        if let Some(session) = self.session.get() {
            // A full mailbox means that it is being told already.
            let _ = session.try_send(Shut);
        }
    }
}
