//! What is particular to device sockets: the rooms that one has been told of, and answers to its frames.

use bytes::Bytes;

use super::{Connection, Kind};
use crate::delivery::device_cursors::{Cursors, Release};
use crate::domain::chat::Chat;
use crate::domain::{ChatroomId, Version};
use crate::problem::Problem;
use crate::protocol::device::Ref;
use crate::protocol::device::server::ServerFrame;
use crate::protocol::rest::ChatBody;
use crate::websocket::framing::{Close, text_frame};

/// What says that a room is new, for one chatter's devices.
pub struct Made {
    pub frame: Bytes,
    /// The room's version as the frame has it.
    pub version: Version,
}

impl Connection {
    /// Queues that a room is new, unless the socket knows it already, and behind it what came of the room before.
    pub fn room_created(&self, room: ChatroomId, made: &Made) {
        let Kind::Device(state) = &self.kind else { return };
        let mut state = state.lock();
        let behind = state.cursors.behind();
        let Some(held) = state.cursors.made(room, made.version) else { return };
        let waits = self.send_durable_on(&mut state, &made.frame);
        self.watch(self.out.push(held));
        let is_behind = state.cursors.behind() > behind;
        drop(state);
        if !waits {
            self.close(Close::TOO_SLOW);
        }
        if is_behind {
            self.nudge();
        }
    }

    /// Whether it is a device socket that has to be told of this room.
    #[must_use]
    pub fn misses_room(&self, room: ChatroomId) -> bool {
        matches!(&self.kind, Kind::Device(state) if state.lock().cursors.misses(room))
    }

    /// Queues `ready`, a page of rooms or that one has not changed, and behind it what was held for them.
    pub fn list(&self, page: Bytes, rooms: &[(ChatroomId, Version)]) {
        let Kind::Device(state) = &self.kind else { return };
        let mut state = state.lock();
        self.push(page);
        if !state.is_ready {
            state.is_ready = true;
            let early = std::mem::take(&mut state.early);
            self.watch(self.out.push(early));
        }
        let gone = rooms.iter().filter(|(room, _)| state.cursors.is_gone(*room)).map(|(room, _)| deleted(*room));
        let gone: Vec<Bytes> = gone.collect();
        let held = state.cursors.listed(rooms.iter().copied());
        self.watch(self.out.push(gone.into_iter().chain(held)));
    }

    /// All rooms of the chatter were listed.
    pub fn all_listed(&self) {
        self.with_cursors(|cursors| ((), cursors.all_listed()));
    }

    /// Queues `frame`, which brings this room up to `version`, and what was held for it. Gives the version from which the
    /// database has to be read once more, if it has.
    pub fn caught_up(&self, room: ChatroomId, version: Version, frame: Bytes) -> Option<Version> {
        self.with_cursors(|cursors| match cursors.caught_up(room, version) {
            Release::Frames(frames) => (None, std::iter::once(frame).chain(frames).collect()),
            Release::Again(version) => (Some(version), vec![frame]),
            Release::Gone => (None, Vec::new()),
        })
    }

    /// The room is gone: says so to a device socket that asked.
    pub fn room_gone(&self, room: ChatroomId) {
        if self.is_device() {
            self.cursors(|cursors| cursors.forget(room));
            self.send_durable(&deleted(room));
        }
    }

    /// The room was deleted, as may be known: says so to a device socket that knew the room.
    pub fn room_ended(&self, room: ChatroomId) {
        if self.cursors(|cursors| cursors.forget(room)) {
            self.send_durable(&deleted(room));
        }
    }

    /// The cursors; nothing is sent.
    pub fn cursors<T: Default>(&self, f: impl FnOnce(&mut Cursors) -> T) -> T {
        self.with_cursors(|cursors| (f(cursors), Vec::new()))
    }

    /// The cursors, with the frames that follow from what is done to them.
    fn with_cursors<T: Default>(&self, f: impl FnOnce(&mut Cursors) -> (T, Vec<Bytes>)) -> T {
        let Kind::Device(state) = &self.kind else { return T::default() };
        let mut state = state.lock();
        let (value, frames) = f(&mut state.cursors);
        self.watch(self.out.push(frames));
        value
    }

    /// Answers a device frame: this chat is stored so.
    pub fn ack(&self, reference: Option<Ref>, chat: &Chat) {
        self.push(text_frame(&ServerFrame::Ack { reference, chat: ChatBody::new(chat) }));
    }

    /// Answers a device frame that was refused; the socket stays open.
    pub fn refuse_frame(&self, reference: Option<Ref>, problem: &Problem) {
        self.out.metrics().refusals.add(problem.code as usize);
        self.push(text_frame(&ServerFrame::Error { reference, problem }));
    }
}

fn deleted(room: ChatroomId) -> Bytes {
    text_frame(&ServerFrame::ChatroomDeleted { chatroom_id: room })
}
