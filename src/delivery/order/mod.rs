//! The room's order: which changes its sockets have had, which are held until a gap before them is filled. No I/O.

use crate::delivery::event::{Batch, Event};
use crate::domain::chat::{ChangeKind as Kind, Chat};
use crate::domain::{ChatroomId, Seq, Version};

/// Events that wait for a gap to be filled.
const HELD_MAX: usize = 2_000;

/// What the sockets of a room have been given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// Every change up to this version was delivered, or happened before anybody listened.
    pub version: Version,
    /// The newest chat among them.
    pub seq: Seq,
}

/// Puts events in version order, each once, none skipped.
pub struct Order {
    chatroom_id: ChatroomId,
    head: Head,
    /// Events beyond a gap.
    held: Vec<Event>,
    /// The database is being asked what the gap is.
    filling: bool,
    /// The newest change that was held when the database was asked.
    asked_for: Version,
    /// A commit's outcome is unknown, so there may be a change that nobody announced.
    doubt: bool,
}

impl Order {
    /// Starts at what the sockets have had.
    #[must_use]
    pub fn new(chatroom_id: ChatroomId, head: Head) -> Self {
        Self { chatroom_id, head, held: Vec::new(), filling: false, asked_for: Version::ZERO, doubt: false }
    }

    /// What the sockets have had.
    #[must_use]
    pub fn head(&self) -> Head {
        self.head
    }

    /// Takes events in; gives those that may be delivered now.
    pub fn take(&mut self, events: Vec<Event>) -> Batch {
        self.held.extend(events);
        let ready = self.ready();
        if self.held.len() > HELD_MAX {
            // The database has them all: it will be asked anyway.
            self.held = Vec::new();
            self.doubt = true;
        }
        ready
    }

    /// A commit's outcome is unknown: the database has to be asked.
    pub fn doubt(&mut self) {
        self.doubt = true;
    }

    /// Whether the database has to be asked for what is above the head; says so once until [`Order::filled`].
    pub fn begin_fill(&mut self) -> bool {
        let wanted = !self.filling && (self.doubt || !self.held.is_empty());
        if wanted {
            self.filling = true;
            self.asked_for = self.held.iter().map(Event::version).max().unwrap_or_default();
            self.doubt = false;
        }
        wanted
    }

    /// The database did not answer: ask again later.
    pub fn fill_failed(&mut self) {
        self.filling = false;
        self.doubt = true;
    }

    /// Whether events wait for one before them and nothing else is wrong: it may be on its way.
    #[must_use]
    pub fn is_out_of_turn(&self) -> bool {
        !self.held.is_empty() && !self.doubt && !self.filling
    }

    /// Whether nothing is held, asked or doubtful.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.held.is_empty() && !self.filling && !self.doubt
    }

    /// What the database said: the rows above the head, and the version it knows by the same snapshot. Gives the events in
    /// the order in which sockets get them: new chats first, then changes of older ones, then what was held above.
    pub fn filled(&mut self, rows: Vec<Chat>, version: Version) -> [Batch; 2] {
        self.filling = false;
        let Head { version: from, seq: known } = self.head;
        // What was told was stored: if the database does not know it any more, it was set back and never will.
        self.held.retain(|event| event.version() <= version || event.version() > self.asked_for);
        // What was read may have been delivered meanwhile.
        let (events, newest) = in_order(rows.into_iter().filter(|chat| chat.version > from).collect(), known);
        self.head = Head { version: from.max(version), seq: newest };
        [Batch::new(self.chatroom_id, from, self.head.version, events, true), self.ready()]
    }

    /// The held events that follow the head without a gap.
    fn ready(&mut self) -> Batch {
        let from = self.head.version;
        self.held.sort_by_key(Event::version);
        let mut ready = Vec::new();
        let mut beyond = Vec::new();
        for event in self.held.drain(..) {
            if event.version() <= self.head.version {
                continue;
            }
            if event.version() == self.head.version.next() && beyond.is_empty() {
                self.head.version = self.head.version.next();
                self.head.seq = self.head.seq.max(event.chat.seq);
                ready.push(event);
            } else {
                beyond.push(event);
            }
        }
        self.held = beyond;
        Batch::new(self.chatroom_id, from, self.head.version, ready, false)
    }
}

/// Rows that were read, in the order in which sockets get them: new chats first, then changes of those up to `known`; and the
/// newest chat of all.
pub fn in_order(rows: Vec<Chat>, known: Seq) -> (Vec<Event>, Seq) {
    let (mut new, mut changed): (Vec<Chat>, Vec<Chat>) = rows.into_iter().partition(|chat| chat.seq > known);
    new.sort_by_key(|chat| chat.seq);
    changed.sort_by_key(|chat| chat.version);
    let newest = new.last().map_or(known, |chat| chat.seq);
    let events = new.into_iter().map(new_event).chain(changed.into_iter().map(changed_event));
    (events.collect(), newest)
}

/// A chat that the sockets have not had; one that was deleted meanwhile is only a deletion to them.
fn new_event(chat: Chat) -> Event {
    Event::new(if chat.delete_time.is_some() { Kind::Deleted } else { Kind::Created }, chat)
}

fn changed_event(chat: Chat) -> Event {
    Event::new(if chat.delete_time.is_some() { Kind::Deleted } else { Kind::Edited }, chat)
}

#[cfg(test)]
mod tests;
