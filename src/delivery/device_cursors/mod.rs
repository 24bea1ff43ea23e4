//! Which changes of which room a device socket has had, and which wait until the database was read for it. No I/O.
//!
//! A socket is found by the rooms before the database is read for it, so nothing falls between; what comes for a room
//! that is being read is held, and of that only what the read has not covered goes out behind it. What is held is
//! bounded: beyond the bound it is thrown away and the room is read again.

mod buffered;

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use bytes::Bytes;

use buffered::Buffered;

use crate::domain::{ChatroomId, Version};

/// Deleted rooms that one socket remembers once its rooms are listed.
const GONE_MAX: usize = 1_024;

/// A run of changes as a room gives it: all from `from` (not included) to `to`.
pub trait Run {
    /// The cursor that the run follows.
    fn from(&self) -> Version;
    /// The cursor behind it.
    fn to(&self) -> Version;
    /// Whether each version between stands for itself; a run that was read from the database has holes.
    fn is_unbroken(&self) -> bool;
    /// The frames of an unbroken run with their versions.
    fn frames(&self) -> impl Iterator<Item = (Version, Bytes)>;
    /// The whole run as one frame, where it was read from the database and is small enough.
    fn as_changes(&self) -> Option<Bytes>;
}

/// The cursors of one device socket.
pub struct Cursors {
    rooms: HashMap<ChatroomId, Cursor>,
    /// The chatter's rooms are still being listed: events of those that were not yet are held.
    listing: bool,
    held_bytes: usize,
    /// Rooms that have to be read because something was missing.
    behind: HashSet<ChatroomId>,
    /// Rooms that were deleted: a page that was read before may still name them, and what was stored before may come yet.
    gone: HashSet<ChatroomId>,
    /// Rooms of which something came before the socket was told that they are there, neither by the list nor as new ones, and
    /// when: it is held until then.
    unannounced: HashMap<ChatroomId, Instant>,
}

enum Cursor {
    /// All up to here was sent, and what comes next goes out at once.
    Live(Version),
    Buffered(Box<Buffered>),
}

/// What to do after the database was read for a room.
#[derive(Debug, PartialEq, Eq)]
pub enum Release {
    /// These frames follow; from now on the room is live.
    Frames(Vec<Bytes>),
    /// Read once more, from here.
    Again(Version),
    /// The room was deleted meanwhile.
    Gone,
}

impl Default for Cursors {
    fn default() -> Self {
        Self {
            rooms: HashMap::new(),
            listing: true,
            held_bytes: 0,
            behind: HashSet::new(),
            gone: HashSet::new(),
            unannounced: HashMap::new(),
        }
    }
}

impl Cursors {
    /// A room's new changes: the frames to send now. What is missing before them is noted in [`Cursors::take_behind`].
    pub fn deliver(&mut self, room: ChatroomId, run: &impl Run) -> Vec<Bytes> {
        if self.gone.contains(&room) {
            return Vec::new();
        }
        let cursor = self.rooms.entry(room).or_insert_with(|| {
            self.unannounced.insert(room, Instant::now());
            Cursor::Buffered(Box::default())
        });
        match cursor {
            Cursor::Live(sent) => {
                if run.to() <= *sent {
                    return Vec::new();
                }
                let frames = if run.is_unbroken() && run.from() <= *sent {
                    Some(run.frames().filter(|(version, _)| version > sent).map(|(_, frame)| frame).collect())
                } else if run.from() == *sent {
                    run.as_changes().map(|frame| vec![frame])
                } else {
                    None
                };
                let Some(frames) = frames else {
                    *cursor = Cursor::Buffered(Box::new(Buffered::after(*sent, run.to())));
                    self.behind.insert(room);
                    return Vec::new();
                };
                *sent = run.to();
                frames
            }
            Cursor::Buffered(held) => {
                self.held_bytes = held.add(run, self.held_bytes);
                Vec::new()
            }
        }
    }

    /// The room is at this version: whether a live socket was given less, and has to read it. One that is reading it goes
    /// on until it has got so far.
    pub fn look(&mut self, room: ChatroomId, version: Version) -> bool {
        let below = match self.rooms.get_mut(&room) {
            Some(Cursor::Live(sent)) => *sent < version,
            Some(Cursor::Buffered(held)) => {
                held.seen = version.max(held.seen);
                false
            }
            None => false,
        };
        if below {
            self.still_behind(room);
        }
        below
    }

    /// The socket was told of these rooms, with the version of each: the frames that go out behind that. A room that is not
    /// known yet is now; one of which too much was held is noted in [`Cursors::take_behind`].
    pub fn listed(&mut self, rooms: impl IntoIterator<Item = (ChatroomId, Version)>) -> Vec<Bytes> {
        let mut frames = Vec::new();
        for (room, version) in rooms {
            if self.gone.contains(&room) {
                continue;
            }
            self.unannounced.remove(&room);
            self.rooms.entry(room).or_insert(Cursor::Live(version));
            match self.caught_up(room, version) {
                Release::Frames(more) => frames.extend(more),
                Release::Again(_) => drop(self.behind.insert(room)),
                Release::Gone => {}
            }
        }
        frames
    }

    /// Whether the room was deleted.
    #[must_use]
    pub fn is_gone(&self, room: ChatroomId) -> bool {
        self.gone.contains(&room)
    }

    /// All rooms were listed. Of rooms that the socket was told of as new meanwhile: their frames.
    pub fn all_listed(&mut self) -> Vec<Bytes> {
        self.listing = false;
        let sent = |cursor: &Cursor| match cursor {
            Cursor::Buffered(held) => Some(held.sent),
            Cursor::Live(_) => None,
        };
        let rest: Vec<_> = self.rooms.iter().filter_map(|(room, c)| sent(c).map(|sent| (*room, sent))).collect();
        let waits = |room: &ChatroomId| !self.behind.contains(room) && !self.unannounced.contains_key(room);
        let waiting: Vec<_> = rest.into_iter().filter(|(room, _)| waits(room)).collect();
        self.listed(waiting)
    }

    /// A client wants this room to be read: hold what comes, if the room is known to be the chatter's.
    pub fn hold_known(&mut self, room: ChatroomId) {
        if self.rooms.contains_key(&room) {
            self.hold(room);
        }
    }

    /// The database is going to be read for this room: hold what comes from now on until [`Cursors::caught_up`].
    pub fn hold(&mut self, room: ChatroomId) {
        // Only a client that knows the room has it read.
        self.unannounced.remove(&room);
        let cursor = self.rooms.entry(room).or_insert(Cursor::Live(Version::ZERO));
        match cursor {
            Cursor::Live(sent) => *cursor = Cursor::Buffered(Box::new(Buffered::after(*sent, Version::ZERO))),
            // What was thrown away is in the database by now.
            Cursor::Buffered(held) => held.lost = Version::ZERO,
        }
    }

    /// The socket was sent everything up to this version.
    pub fn caught_up(&mut self, room: ChatroomId, version: Version) -> Release {
        let held = match self.rooms.get_mut(&room) {
            None => return Release::Gone,
            Some(Cursor::Live(sent)) => {
                *sent = version.max(*sent);
                return Release::Frames(Vec::new());
            }
            Some(Cursor::Buffered(held)) => held,
        };
        let held = std::mem::take(&mut **held);
        self.held_bytes = self.held_bytes.saturating_sub(held.bytes());
        match held.above(version) {
            Some((frames, sent)) => {
                self.rooms.insert(room, Cursor::Live(sent));
                Release::Frames(frames)
            }
            None => {
                self.rooms.insert(room, Cursor::Buffered(Box::new(Buffered::after(version, Version::ZERO))));
                Release::Again(version)
            }
        }
    }

    /// The database could not be read for this room: it has to be, later.
    pub fn still_behind(&mut self, room: ChatroomId) {
        if self.rooms.contains_key(&room) {
            self.hold(room);
            self.behind.insert(room);
        }
    }

    /// Whether the socket has to be told of this room. While the rooms are listed nobody knows: the listing says it.
    #[must_use]
    pub fn misses(&self, room: ChatroomId) -> bool {
        !self.listing && !self.gone.contains(&room) && !self.knows(room)
    }

    /// Whether the socket was told of this room, or will be.
    #[must_use]
    pub fn knows(&self, room: ChatroomId) -> bool {
        self.rooms.contains_key(&room) && !self.unannounced.contains_key(&room)
    }

    /// The room is new, and at this version as the socket is told now: the frames that go out behind that, unless it was told
    /// before. What is missing is noted in [`Cursors::take_behind`].
    pub fn made(&mut self, room: ChatroomId, version: Version) -> Option<Vec<Bytes>> {
        if self.knows(room) || self.gone.contains(&room) {
            return None;
        }
        if !self.listing {
            return Some(self.listed([(room, version)]));
        }
        // A page may name it yet.
        self.unannounced.remove(&room);
        let cursor = self.rooms.entry(room).or_insert_with(|| Cursor::Buffered(Box::default()));
        if let Cursor::Buffered(held) = cursor {
            held.sent = version.max(held.sent);
        }
        Some(Vec::new())
    }

    /// The room is gone; whether the socket may have known it.
    pub fn forget(&mut self, room: ChatroomId) -> bool {
        self.behind.remove(&room);
        // A room that has yet to be listed is said to be gone with the page that names it.
        if self.listing || self.gone.len() < GONE_MAX {
            self.gone.insert(room);
        }
        let known = self.rooms.remove(&room);
        if let Some(Cursor::Buffered(held)) = &known {
            self.held_bytes = self.held_bytes.saturating_sub(held.bytes());
        }
        known.is_some() && self.unannounced.remove(&room).is_none()
    }

    /// Rooms of which the socket is given nothing, as nobody has told it for so long that they are there.
    #[must_use]
    pub fn unannounced(&self, since: Duration) -> Vec<ChatroomId> {
        self.unannounced.iter().filter(|(_, at)| at.elapsed() >= since).map(|(room, _)| *room).collect()
    }

    /// How many rooms have to be read.
    #[must_use]
    pub fn behind(&self) -> usize {
        self.behind.len()
    }

    /// The same, and those that nobody has told the socket of.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.behind.len() + self.unannounced.len()
    }

    /// The rooms that have to be read, with what the socket has had of each.
    pub fn take_behind(&mut self) -> Vec<(ChatroomId, Version)> {
        let behind = std::mem::take(&mut self.behind);
        let held = |room: ChatroomId| match self.rooms.get(&room) {
            Some(Cursor::Buffered(held)) => Some((room, held.sent)),
            _ => None,
        };
        behind.into_iter().filter_map(held).collect()
    }
}

#[cfg(test)]
mod tests;
