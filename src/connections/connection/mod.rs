//! One live socket as the rest of the instance sees it: whose it is, what it wants, and where its frames go.

mod chatroom;
mod device;

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, OnceLock};

use actix::Addr;
use bytes::Bytes;
use parking_lot::Mutex;

use crate::delivery::chatroom_cursor::ChatroomCursor;
use crate::delivery::device_cursors::Cursors;
use crate::delivery::event::Batch;
use crate::domain::{ChatroomId, ChatterId, SignInId, Version};
use crate::problem::Problem;
use crate::protocol::device::Ref;
use crate::sessions::Session;
use crate::sessions::messages::{Behind, Shut};
use crate::websocket::framing::Close;
use crate::websocket::out_queue::{OutQueue, Pushed};

pub use device::Made;

/// A socket's id.
pub type ConnectionId = u64;

/// Stands for a chatter who has not signed in yet.
pub const NOT_SIGNED_IN: ChatterId = ChatterId::new(0);

/// Announcements that wait for `ready`; a client that makes more in that time is not one that can be served.
const EARLY_MAX: usize = 1_024;

/// Begins somewhere, so that no two sockets have the same on any two instances; below 2^53.
static NEXT_ID: LazyLock<AtomicU64> = LazyLock::new(|| AtomicU64::new(u64::from(rand::random::<u32>()) << 20));

/// One live socket of a chatter, or of [`NOT_SIGNED_IN`].
pub struct Connection {
    pub id: ConnectionId,
    pub chatter_id: ChatterId,
    pub out: OutQueue,
    kind: Kind,
    /// The sign-in that its token names; 0 for a token without one.
    sign_in_id: AtomicI64,
    /// The session actor, once it runs.
    session: OnceLock<Addr<Session>>,
}

enum Kind {
    Chatroom {
        chatroom_id: ChatroomId,
        /// Whether it asked for edits and deletions too (`&events=1`).
        events: bool,
        cursor: Mutex<ChatroomCursor>,
    },
    Device(Mutex<DeviceState>),
}

#[derive(Default)]
struct DeviceState {
    cursors: Cursors,
    /// Set by `ready`; what is announced before waits in `early`.
    is_ready: bool,
    early: Vec<Bytes>,
}

impl Connection {
    /// A seed socket that writes to `out`.
    #[must_use]
    pub fn chatroom(
        chatter_id: ChatterId,
        sign_in_id: Option<SignInId>,
        chatroom_id: ChatroomId,
        events: bool,
        out: OutQueue,
    ) -> Self {
        Self::new(chatter_id, sign_in_id, Kind::Chatroom { chatroom_id, events, cursor: Mutex::default() }, out)
    }

    /// A device socket that writes to `out`, of this chatter or of nobody yet.
    #[must_use]
    pub fn device(chatter_id: ChatterId, sign_in_id: Option<SignInId>, out: OutQueue) -> Self {
        Self::new(chatter_id, sign_in_id, Kind::Device(Mutex::default()), out)
    }

    fn new(chatter_id: ChatterId, sign_in_id: Option<SignInId>, kind: Kind, out: OutQueue) -> Self {
        let (id, sign_in_id) =
            (NEXT_ID.fetch_add(1, Ordering::Relaxed), AtomicI64::new(sign_in_id.map_or(0, SignInId::get)));
        Self { id, chatter_id, out, kind, sign_in_id, session: OnceLock::new() }
    }

    /// The session actor makes itself known.
    pub fn attach(&self, session: Addr<Session>) {
        let _ = self.session.set(session);
    }

    /// The sign-in that its token names.
    #[must_use]
    pub fn sign_in_id(&self) -> Option<SignInId> {
        Some(self.sign_in_id.load(Ordering::Acquire)).filter(|id| *id != 0).map(SignInId::new)
    }

    /// Its token was replaced by one of this sign-in.
    pub fn set_sign_in_id(&self, id: Option<SignInId>) {
        self.sign_in_id.store(id.map_or(0, SignInId::get), Ordering::Release);
    }

    /// The one room of a seed socket; a device socket has them all.
    #[must_use]
    pub fn chatroom_id(&self) -> Option<ChatroomId> {
        match self.kind {
            Kind::Chatroom { chatroom_id, .. } => Some(chatroom_id),
            Kind::Device(_) => None,
        }
    }

    /// Whether this is a device socket.
    #[must_use]
    pub fn is_device(&self) -> bool {
        matches!(self.kind, Kind::Device(_))
    }

    /// Queues the frames of these changes. Called by the room, once per commit.
    pub fn deliver(&self, batch: &Arc<Batch>) {
        match &self.kind {
            Kind::Chatroom { chatroom_id, events, cursor } if *chatroom_id == batch.chatroom_id => {
                let behind = self.deliver_chatroom(batch, *events, &mut cursor.lock());
                if behind {
                    self.nudge();
                }
            }
            Kind::Chatroom { .. } => {}
            Kind::Device(state) => {
                let mut state = state.lock();
                let waiting = state.cursors.waiting();
                let frames = state.cursors.deliver(batch.chatroom_id, &**batch);
                self.out.metrics().changes_delivered.add(frames.len());
                self.watch(self.out.push(frames));
                if state.cursors.waiting() > waiting {
                    drop(state);
                    self.nudge();
                }
            }
        }
    }

    /// The room is at this version: a socket that was given less reads the database.
    pub fn look(&self, room: ChatroomId, version: Version) {
        let behind = match &self.kind {
            Kind::Chatroom { chatroom_id, cursor, .. } if *chatroom_id == room => {
                let mut cursor = cursor.lock();
                cursor.is_below(version) && cursor.fall_behind()
            }
            Kind::Chatroom { .. } => false,
            Kind::Device(state) => state.lock().cursors.look(room, version),
        };
        if behind {
            self.out.metrics().gaps_found.add(1);
            self.nudge();
        }
    }

    /// Tells the session that rooms have to be read for this socket.
    fn nudge(&self) {
        if let Some(session) = self.session.get() {
            // A full mailbox has one of these in it, or the socket is closing.
            let _ = session.try_send(Behind);
        }
    }

    /// Queues something that is no change of a room, behind `ready`; passed over by seed sockets.
    pub fn send_durable(&self, frame: &Bytes) {
        let Kind::Device(state) = &self.kind else { return };
        let waits = self.send_durable_on(&mut state.lock(), frame);
        if !waits {
            self.close(Close::TOO_SLOW);
        }
    }

    /// False where too much waits for `ready`.
    fn send_durable_on(&self, state: &mut DeviceState, frame: &Bytes) -> bool {
        if state.is_ready {
            self.push(frame.clone());
        } else if state.early.len() < EARLY_MAX {
            state.early.push(frame.clone());
        } else {
            return false;
        }
        true
    }

    /// Queues something that nobody misses; dropped under pressure and before `ready`.
    pub fn send_ephemeral(&self, frame: &Bytes) {
        let Kind::Device(state) = &self.kind else { return };
        if state.lock().is_ready {
            self.watch(self.out.push_if_roomy(frame.clone()));
        }
    }

    /// Queues one frame.
    pub fn push(&self, frame: Bytes) {
        let pushed = self.out.push([frame]);
        self.watch(pushed);
    }

    /// Closes the socket with this code.
    pub fn close(&self, close: Close) {
        self.out.close_for(close);
        self.shut();
    }

    fn watch(&self, pushed: Pushed) {
        if pushed == Pushed::Overflowed {
            self.out.metrics().closes.add(Close::TOO_SLOW.place());
            tracing::info!(
                socket_id = self.id,
                chatter_id = self.chatter_id.get(),
                "socket closed: it reads too slowly"
            );
            self.shut();
        }
    }

    fn shut(&self) {
        if let Some(session) = self.session.get() {
            // Where the mailbox is full, the next tick ends it.
            let _ = session.try_send(Shut);
        }
    }
}

/// A frame of a device socket and who sent it: where its refusal goes.
#[derive(Clone)]
pub struct ReplyTo {
    pub connection: Arc<Connection>,
    pub reference: Option<Ref>,
}

impl ReplyTo {
    /// Answers the frame with a refusal.
    pub fn refuse(self, problem: &Problem) {
        self.connection.refuse_frame(self.reference, problem);
    }
}
