//! Which changes of which room a device socket has been sent, and which wait for a read of the database. No I/O.
//!
//! The rooms find a socket before the database is read for it, so no change is missed in between. Changes of a room
//! that is being read are buffered; after the read, those that it did not cover are sent. The buffer is bounded: when
//! it overflows, it is dropped and the room is read again.

mod buffered;
mod outcome;
mod room;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use bytes::Bytes;

use buffered::Buffered;
pub use outcome::{Announcement, Delivery, Release};
use room::{Room, Unannounced};

use super::run::Run;
use crate::domain::{ChatroomId, Version};

/// Deleted rooms that one socket remembers after its rooms were listed.
const DELETED_MAX: usize = 1_024;

/// The cursors of one device socket.
pub struct DeviceCursors {
    rooms: HashMap<ChatroomId, Room>,
    listing: Listing,
    /// Bytes in the buffers of all rooms.
    buffered_bytes: usize,
    deleted: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Listing {
    /// The pages of the chatter's rooms are being sent; changes of rooms on later pages are buffered.
    Running,
    Complete,
}

impl Default for DeviceCursors {
    fn default() -> Self {
        Self { rooms: HashMap::new(), listing: Listing::Running, buffered_bytes: 0, deleted: 0 }
    }
}

impl DeviceCursors {
    /// Takes a room's new changes.
    pub fn deliver(&mut self, id: ChatroomId, run: &impl Run) -> Delivery {
        match self.rooms.get_mut(&id) {
            Some(Room::Live(sent)) => {
                if run.to() <= *sent {
                    return Delivery::Send(Vec::new());
                }
                let Some(frames) = room::frames_after(*sent, run) else {
                    let mut buffered = Buffered::after(*sent, run.to());
                    buffered.needs_requery = true;
                    self.rooms.insert(id, Room::Buffered(Box::new(buffered)));
                    return Delivery::NeedsSession;
                };
                *sent = run.to();
                Delivery::Send(frames)
            }
            Some(Room::Buffered(buffered)) => {
                self.buffered_bytes = buffered.add(run, self.buffered_bytes);
                Delivery::Buffered
            }
            Some(Room::Unannounced(room)) => {
                self.buffered_bytes = room.buffered.add(run, self.buffered_bytes);
                Delivery::Buffered
            }
            Some(Room::Deleted) => Delivery::Send(Vec::new()),
            None => {
                let mut room = Unannounced { since: Instant::now(), buffered: Buffered::default() };
                self.buffered_bytes = room.buffered.add(run, self.buffered_bytes);
                self.rooms.insert(id, Room::Unannounced(Box::new(room)));
                Delivery::NeedsSession
            }
        }
    }

    /// Compares the room's version with what the socket was sent. True if a live room lacks changes and has to be read;
    /// a room that is being read is read on until it has reached this version.
    pub fn check_version(&mut self, id: ChatroomId, version: Version) -> bool {
        match self.rooms.get_mut(&id) {
            Some(Room::Live(sent)) if *sent < version => {
                self.require_requery(id);
                return true;
            }
            Some(Room::Buffered(buffered)) => buffered.seen = version.max(buffered.seen),
            Some(Room::Unannounced(room)) => room.buffered.seen = version.max(room.buffered.seen),
            Some(Room::Live(_) | Room::Deleted) | None => {}
        }
        false
    }

    /// A frame with these rooms and their versions is sent: gives the frames that follow it. A room whose buffer
    /// overflowed has to be read, see [`DeviceCursors::take_requeries`].
    pub fn listed(&mut self, rooms: impl IntoIterator<Item = (ChatroomId, Version)>) -> Vec<Bytes> {
        let mut frames = Vec::new();
        for (id, version) in rooms {
            self.rooms.entry(id).or_insert(Room::Live(version));
            match self.caught_up(id, version) {
                Release::Frames(more) => frames.extend(more),
                Release::Requery(_) => self.mark_requery(id),
                Release::Deleted => {}
            }
        }
        frames
    }

    /// All rooms were listed: gives the frames of rooms that were announced meanwhile.
    pub fn all_listed(&mut self) -> Vec<Bytes> {
        self.listing = Listing::Complete;
        let waits = |(id, room): (&ChatroomId, &Room)| match room {
            Room::Buffered(buffered) if !buffered.needs_requery => Some((*id, buffered.sent)),
            _ => None,
        };
        let waiting: Vec<_> = self.rooms.iter().filter_map(waits).collect();
        self.listed(waiting)
    }

    /// The room is new, and the announcement that can be sent now has it at this version.
    pub fn announce(&mut self, id: ChatroomId, version: Version) -> Announcement {
        if self.has_announced(id) || self.is_deleted(id) {
            return Announcement::Unneeded;
        }
        if self.listing == Listing::Complete {
            let frames = self.listed([(id, version)]);
            return if self.needs_requery(id) { Announcement::NeedsRequery } else { Announcement::Send(frames) };
        }
        // A later page may name the room too, so its changes stay buffered.
        let mut buffered = self.take_unannounced(id).unwrap_or_default();
        buffered.sent = version.max(buffered.sent);
        self.rooms.insert(id, Room::Buffered(Box::new(buffered)));
        Announcement::Send(Vec::new())
    }

    /// Whether a frame that names the room was sent to the socket.
    #[must_use]
    pub fn has_announced(&self, id: ChatroomId) -> bool {
        matches!(self.rooms.get(&id), Some(Room::Live(_) | Room::Buffered(_)))
    }

    /// Whether the room has to be announced to the socket. While the rooms are being listed, the pages may still name
    /// it.
    #[must_use]
    pub fn lacks_announcement(&self, id: ChatroomId) -> bool {
        self.listing == Listing::Complete && matches!(self.rooms.get(&id), None | Some(Room::Unannounced(_)))
    }

    /// Rooms that have had buffered changes for so long without being announced.
    #[must_use]
    pub fn unannounced(&self, for_at_least: Duration) -> Vec<ChatroomId> {
        let is_late = |room: &Room| match room {
            Room::Unannounced(room) => room.since.elapsed() >= for_at_least,
            _ => false,
        };
        self.rooms.iter().filter(|(_, room)| is_late(room)).map(|(id, _)| *id).collect()
    }

    /// A client wants this room to be read: buffers its changes, if the room is known to be one of the chatter's.
    pub fn buffer_if_known(&mut self, id: ChatroomId) {
        if self.rooms.contains_key(&id) {
            self.buffer(id);
        }
    }

    /// The database is about to be read for this room: buffers its changes until [`DeviceCursors::caught_up`].
    pub fn buffer(&mut self, id: ChatroomId) {
        // Only a client that knows the room has it read, so the room counts as announced.
        if let Some(buffered) = self.take_unannounced(id) {
            self.rooms.insert(id, Room::Buffered(Box::new(buffered)));
        }
        let room = self.rooms.entry(id).or_insert(Room::Live(Version::ZERO));
        match room {
            // The database has by now what was dropped from the buffer.
            Room::Buffered(buffered) => buffered.lost = Version::ZERO,
            Room::Live(sent) => {
                let buffered = Buffered::after(*sent, Version::ZERO);
                *room = Room::Buffered(Box::new(buffered));
            }
            Room::Unannounced(_) | Room::Deleted => {}
        }
    }

    /// The socket was sent everything up to this version.
    pub fn caught_up(&mut self, id: ChatroomId, version: Version) -> Release {
        let buffered = match self.rooms.get_mut(&id) {
            None | Some(Room::Deleted) => return Release::Deleted,
            Some(Room::Live(sent)) => {
                *sent = version.max(*sent);
                return Release::Frames(Vec::new());
            }
            Some(Room::Buffered(buffered)) => std::mem::take(&mut **buffered),
            Some(Room::Unannounced(room)) => std::mem::take(&mut room.buffered),
        };
        self.buffered_bytes = self.buffered_bytes.saturating_sub(buffered.bytes());
        let needs_requery = buffered.needs_requery;
        match buffered.above(version) {
            Some((frames, sent)) => {
                self.rooms.insert(id, Room::Live(sent));
                Release::Frames(frames)
            }
            None => {
                let mut rest = Buffered::after(version, Version::ZERO);
                rest.needs_requery = needs_requery;
                self.rooms.insert(id, Room::Buffered(Box::new(rest)));
                Release::Requery(version)
            }
        }
    }

    /// The room has to be read later, since it lacks changes or a read of it failed.
    pub fn require_requery(&mut self, id: ChatroomId) {
        self.buffer_if_known(id);
        self.mark_requery(id);
    }

    /// The room was deleted. True if the socket was sent a frame that names it.
    pub fn delete(&mut self, id: ChatroomId) -> bool {
        let room = self.rooms.remove(&id);
        let was_deleted = matches!(room, Some(Room::Deleted));
        // The page that names the room is followed by the frame that says it was deleted.
        if was_deleted || self.listing == Listing::Running || self.deleted < DELETED_MAX {
            self.deleted += usize::from(!was_deleted);
            self.rooms.insert(id, Room::Deleted);
        }
        let (buffered, was_announced) = match room {
            Some(Room::Live(_)) => (None, true),
            Some(Room::Buffered(buffered)) => (Some(*buffered), true),
            Some(Room::Unannounced(room)) => (Some(room.buffered), false),
            Some(Room::Deleted) | None => (None, false),
        };
        self.buffered_bytes = self.buffered_bytes.saturating_sub(buffered.map_or(0, |buffered| buffered.bytes()));
        was_announced
    }

    /// Whether the room was deleted.
    #[must_use]
    pub fn is_deleted(&self, id: ChatroomId) -> bool {
        matches!(self.rooms.get(&id), Some(Room::Deleted))
    }

    /// Whether any room has to be read.
    #[must_use]
    pub fn has_requeries(&self) -> bool {
        self.rooms.keys().any(|id| self.needs_requery(*id))
    }

    /// Whether any room has to be read or to be announced.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        self.has_requeries() || self.rooms.values().any(|room| matches!(room, Room::Unannounced(_)))
    }

    /// Takes the rooms that have to be read, each with the version up to which the socket was sent it.
    pub fn take_requeries(&mut self) -> Vec<(ChatroomId, Version)> {
        let take = |(id, room): (&ChatroomId, &mut Room)| match room {
            Room::Buffered(buffered) => std::mem::take(&mut buffered.needs_requery).then_some((*id, buffered.sent)),
            _ => None,
        };
        self.rooms.iter_mut().filter_map(take).collect()
    }

    fn needs_requery(&self, id: ChatroomId) -> bool {
        matches!(self.rooms.get(&id), Some(Room::Buffered(buffered)) if buffered.needs_requery)
    }

    fn mark_requery(&mut self, id: ChatroomId) {
        if let Some(Room::Buffered(buffered)) = self.rooms.get_mut(&id) {
            buffered.needs_requery = true;
        }
    }

    fn take_unannounced(&mut self, id: ChatroomId) -> Option<Buffered> {
        match self.rooms.get_mut(&id) {
            Some(Room::Unannounced(room)) => Some(std::mem::take(&mut room.buffered)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
