//! A device socket: all rooms of its chatter, each with a cursor, and answers to the chatter's frames.

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use super::socket::{Socket, Wake};
use crate::delivery::device_cursors::{Announcement, Delivery, DeviceCursors, Release};
use crate::delivery::event::Batch;
use crate::domain::chat::Chat;
use crate::domain::{ChatroomId, ChatterId, Grant, Version};
use crate::problem::Problem;
use crate::protocol::device::Ref;
use crate::protocol::device::server::ServerFrame;
use crate::protocol::rest::ChatBody;
use crate::websocket::framing::{Close, text_frame};

/// Durable frames that may wait for `ready`; a socket with more is closed.
const EARLY_MAX: usize = 1_024;

/// The frame that announces a new room to one chatter's devices.
pub struct RoomAnnouncement {
    /// A text frame as it is queued, with its WebSocket header.
    pub frame: Bytes,
    /// The room's version in the frame.
    pub version: Version,
}

/// A device socket of a chatter who has signed in.
pub struct DeviceConnection {
    /// The chatter who has signed in; a newer token must be the same chatter's.
    pub chatter_id: ChatterId,
    socket: Socket,
    state: Mutex<State>,
}

struct State {
    /// What the current token is valid by.
    grant: Grant,
    cursors: DeviceCursors,
    stage: Stage,
}

enum Stage {
    /// `ready` was not sent yet; these durable frames follow it.
    BeforeReady(Vec<Bytes>),
    Ready,
}

/// Where the answer to a frame goes.
#[derive(Clone)]
pub struct ReplyTo {
    /// The socket that sent the frame.
    pub connection: Arc<DeviceConnection>,
    /// The frame's `ref`, which the answer repeats. `None` means that the frame had none.
    pub reference: Option<Ref>,
}

impl ReplyTo {
    /// Refuses the frame.
    pub fn refuse(self, problem: &Problem) {
        self.connection.refuse(self.reference, problem);
    }
}

impl DeviceConnection {
    /// A socket of this chatter, who was not sent `ready` yet.
    #[must_use]
    pub fn new(chatter_id: ChatterId, grant: Grant, socket: Socket) -> Self {
        let state = State { grant, cursors: DeviceCursors::default(), stage: Stage::BeforeReady(Vec::new()) };
        Self { chatter_id, socket, state: Mutex::new(state) }
    }

    /// What it has in common with every other socket.
    #[must_use]
    pub fn socket(&self) -> &Socket {
        &self.socket
    }

    /// What the current token is valid by.
    #[must_use]
    pub fn grant(&self) -> Grant {
        self.state.lock().grant
    }

    /// The token was replaced by one that is valid by this.
    pub fn set_grant(&self, grant: Grant) {
        self.state.lock().grant = grant;
    }

    /// Queues the frames of these changes. Called by the room, once per commit.
    pub fn deliver(&self, batch: &Arc<Batch>) {
        let mut state = self.state.lock();
        match state.cursors.deliver(batch.chatroom_id, &**batch) {
            Delivery::Send(frames) => {
                self.socket.metrics().changes_delivered.add(frames.len());
                self.push_all(frames);
            }
            Delivery::Buffered => {}
            Delivery::NeedsSession => {
                drop(state);
                self.socket.wake(Wake::Behind);
            }
        }
    }

    /// Makes the socket read the room if it was sent less than this version.
    pub fn check_version(&self, room: ChatroomId, version: Version) {
        let is_behind = self.state.lock().cursors.check_version(room, version);
        if is_behind {
            self.socket.metrics().gaps_found.add(1);
            self.socket.wake(Wake::Behind);
        }
    }

    /// Queues the announcement of a new room, unless the socket knows the room, and the changes that follow it.
    pub fn announce_room(&self, room: ChatroomId, announcement: &RoomAnnouncement) {
        let mut state = self.state.lock();
        let next = state.cursors.announce(room, announcement.version);
        if next == Announcement::Unneeded {
            return;
        }
        let queued = self.queue_durable(&mut state, &announcement.frame);
        let needs_requery = next == Announcement::NeedsRequery;
        if let Announcement::Send(frames) = next {
            self.push_all(frames);
        }
        drop(state);
        if queued == EarlyQueue::Full {
            self.socket.close(Close::TOO_SLOW);
        }
        if needs_requery {
            self.socket.wake(Wake::Behind);
        }
    }

    /// Whether the room has to be announced to the socket.
    #[must_use]
    pub fn lacks_announcement(&self, room: ChatroomId) -> bool {
        self.state.lock().cursors.lacks_announcement(room)
    }

    /// Queues a frame that lists rooms, or says that a room has not changed, and the changes that follow it. The first
    /// such frame is `ready`.
    pub fn list(&self, page: Bytes, rooms: &[(ChatroomId, Version)]) {
        let mut state = self.state.lock();
        self.push(page);
        if let Stage::BeforeReady(early) = std::mem::replace(&mut state.stage, Stage::Ready) {
            self.push_all(early);
        }
        let ids = rooms.iter().map(|(room, _)| *room);
        let deleted: Vec<Bytes> = ids.filter(|id| state.cursors.is_deleted(*id)).map(deleted_frame).collect();
        let changes = state.cursors.listed(rooms.iter().copied());
        self.push_all(deleted.into_iter().chain(changes));
    }

    /// All rooms of the chatter were listed.
    pub fn all_listed(&self) {
        let mut state = self.state.lock();
        self.push_all(state.cursors.all_listed());
    }

    /// Queues `frame`, which brings this room up to `version`, and the buffered changes above it. If changes are
    /// missing, gives the version from which the database has to be read once more.
    pub fn caught_up(&self, room: ChatroomId, version: Version, frame: Bytes) -> Option<Version> {
        let mut state = self.state.lock();
        match state.cursors.caught_up(room, version) {
            Release::Frames(frames) => {
                self.push_all(std::iter::once(frame).chain(frames));
                None
            }
            Release::Requery(from) => {
                self.push(frame);
                Some(from)
            }
            Release::Deleted => None,
        }
    }

    /// A resume names a room that does not exist (any more), or is not one of the chatter's: queues the frame that says
    /// so.
    pub fn room_not_found(&self, room: ChatroomId) {
        self.cursors(|cursors| cursors.delete(room));
        self.send_durable(&deleted_frame(room));
    }

    /// The room was deleted: queues the frame that says so, if the socket knew the room.
    pub fn room_deleted(&self, room: ChatroomId) {
        if self.cursors(|cursors| cursors.delete(room)) {
            self.send_durable(&deleted_frame(room));
        }
    }

    /// Reads or changes the cursors without sending frames.
    pub fn cursors<T>(&self, f: impl FnOnce(&mut DeviceCursors) -> T) -> T {
        f(&mut self.state.lock().cursors)
    }

    /// Queues a frame that must arrive and is no change of a room; it follows `ready`.
    pub fn send_durable(&self, frame: &Bytes) {
        let queued = self.queue_durable(&mut self.state.lock(), frame);
        if queued == EarlyQueue::Full {
            self.socket.close(Close::TOO_SLOW);
        }
    }

    fn queue_durable(&self, state: &mut State, frame: &Bytes) -> EarlyQueue {
        match &mut state.stage {
            Stage::Ready => self.push(frame.clone()),
            Stage::BeforeReady(early) if early.len() < EARLY_MAX => early.push(frame.clone()),
            Stage::BeforeReady(_) => return EarlyQueue::Full,
        }
        EarlyQueue::HasRoom
    }

    /// Queues a frame that may be lost: it is dropped before `ready`, and while the queue is filling up.
    pub fn send_ephemeral(&self, frame: &Bytes) {
        if matches!(self.state.lock().stage, Stage::Ready) {
            self.socket.check(self.socket.out().push_if_roomy(frame.clone()), Some(self.chatter_id));
        }
    }

    /// Queues one frame at once.
    pub fn push(&self, frame: Bytes) {
        self.push_all([frame]);
    }

    fn push_all(&self, frames: impl IntoIterator<Item = Bytes>) {
        self.socket.push(frames, Some(self.chatter_id));
    }

    /// Answers a frame: this chat is stored so.
    pub fn ack(&self, reference: Option<Ref>, chat: &Chat) {
        self.push(text_frame(&ServerFrame::Ack { reference, chat: ChatBody::new(chat) }));
    }

    /// Refuses a frame; the socket stays open.
    pub fn refuse(&self, reference: Option<Ref>, problem: &Problem) {
        problem.log_cause();
        self.socket.metrics().refusals.add(problem.code as usize);
        self.push(text_frame(&ServerFrame::Error { reference, problem }));
    }
}

/// Whether a durable frame could be queued before `ready`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum EarlyQueue {
    HasRoom,
    Full,
}

fn deleted_frame(room: ChatroomId) -> Bytes {
    text_frame(&ServerFrame::ChatroomDeleted { chatroom_id: room })
}
