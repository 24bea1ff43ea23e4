//! Finds or starts the actor of a room, and never loses what is told to it.
//!
//! A room that retires and a message for it may cross. So a sender counts itself in and hands over while it holds
//! the map's shard, and a room retires only by taking itself out of the map at a moment when nobody is counted.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use actix::dev::SendError;
use actix::{Actor, Addr, ArbiterHandle};
use dashmap::DashMap;
use dashmap::mapref::entry::Entry as MapEntry;
use parking_lot::Mutex;

use super::notifier::keeper::Keeper;
use super::room::Room;
use super::room::messages::{Asked, Command};
use super::room::state::Head;
use super::sessions::Sessions;
use crate::domain::ChatroomId;
use crate::error::{Code, Problem};
use crate::store::Store;

/// What every room of this instance uses.
#[derive(Clone)]
pub struct RoomParts {
    pub store: Arc<Store>,
    pub sessions: Arc<Sessions>,
    pub notifier: Arc<Keeper>,
    /// A room that had nothing to do for so long retires.
    pub idle: Duration,
}

/// The rooms in use on this instance.
pub struct Registry {
    rooms: DashMap<ChatroomId, Entry>,
    parts: RoomParts,
    /// The threads that rooms live on; a room keeps to one.
    threads: Vec<ArbiterHandle>,
    itself: Weak<Registry>,
}

struct Entry {
    room: Addr<Room>,
    pending: Arc<AtomicUsize>,
    delivered: Delivered,
}

/// What a room's sockets have had, kept here so that it outlives a room that panicked.
#[derive(Clone, Default)]
pub struct Delivered(Arc<Mutex<Option<Head>>>);

impl Delivered {
    /// What they have had, if the room ever got so far.
    #[must_use]
    pub fn get(&self) -> Option<Head> {
        *self.0.lock()
    }

    /// They have had this.
    pub fn set(&self, head: Head) {
        *self.0.lock() = Some(head);
    }
}

/// Counts a command from the moment it is told until the room has handled it; also when that panics.
pub struct Held(Arc<AtomicUsize>);

impl Held {
    fn new(pending: &Arc<AtomicUsize>) -> Self {
        pending.fetch_add(1, Ordering::AcqRel);
        Self(pending.clone())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Registry {
    /// No rooms yet; they will live on these threads.
    #[must_use]
    pub fn new(parts: RoomParts, threads: Vec<ArbiterHandle>) -> Arc<Self> {
        Arc::new_cyclic(|itself| Self { rooms: DashMap::new(), parts, threads, itself: itself.clone() })
    }

    /// Tells a room something, starting it if need be. Refuses with `busy` when its mailbox is full.
    pub fn tell(&self, id: ChatroomId, command: Command) -> Result<(), Problem> {
        let command = match self.rooms.get(&id) {
            Some(entry) => match entry.tell(command) {
                Ok(()) => return Ok(()),
                Err(SendError::Full(_)) => return Err(busy()),
                Err(SendError::Closed(asked)) => asked.command,
            },
            None => command,
        };
        match self.rooms.entry(id) {
            MapEntry::Occupied(mut entry) => {
                let Err(refused) = entry.get().tell(command) else { return Ok(()) };
                let SendError::Closed(asked) = refused else { return Err(busy()) };
                // The actor is gone without having retired: it panicked. A new one takes over where it was.
                let fresh = self.start(id, entry.get().delivered.clone());
                tracing::error!(chatroom_id = id, "a room actor had failed and was started anew");
                let told = fresh.tell(asked.command);
                entry.insert(fresh);
                told.map_err(|_| busy())
            }
            MapEntry::Vacant(entry) => {
                let fresh = self.start(id, Delivered::default());
                let told = fresh.tell(command);
                entry.insert(fresh);
                told.map_err(|_| busy())
            }
        }
    }

    /// Takes an idle room out, unless somebody has just told it something. Called by the room itself, which stops if
    /// this says so.
    #[must_use]
    pub fn retire(&self, id: ChatroomId, delivered: &Delivered) -> bool {
        let idle =
            |entry: &Entry| Arc::ptr_eq(&entry.delivered.0, &delivered.0) && entry.pending.load(Ordering::Acquire) == 0;
        self.rooms.remove_if(&id, |_, entry| idle(entry)).is_some()
    }

    /// How many rooms are in use.
    #[must_use]
    pub fn count(&self) -> usize {
        self.rooms.len()
    }

    /// Commands that rooms have not handled yet; at shutdown this is waited for.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.rooms.iter().map(|entry| entry.pending.load(Ordering::Acquire)).sum()
    }

    fn start(&self, id: ChatroomId, delivered: Delivered) -> Entry {
        let thread = &self.threads[usize::try_from(id).unwrap_or(0) % self.threads.len()];
        let (parts, registry, known) = (self.parts.clone(), self.itself.clone(), delivered.clone());
        let room = Room::start_in_arbiter(thread, move |_| Room::new(id, parts, registry, known));
        Entry { room, pending: Arc::new(AtomicUsize::new(0)), delivered }
    }
}

impl Entry {
    fn tell(&self, command: Command) -> Result<(), SendError<Asked>> {
        self.room.try_send(Asked { command, held: Held::new(&self.pending) })
    }
}

fn busy() -> Problem {
    Problem::new(Code::Busy, "This room has too much to do; nothing was stored. Try again, with the same client_id.")
}
