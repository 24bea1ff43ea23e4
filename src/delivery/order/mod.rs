//! The order of a room's changes: which were delivered, and which wait until a gap before them is filled. No I/O.

use crate::delivery::event::{Batch, Event, Source};
use crate::domain::chat::{ChangeKind as Kind, Chat};
use crate::domain::{ChatroomId, Seq, Version};

/// Events that may wait for a gap to be filled; when there are more, they are dropped and read from the database.
const WAITING_MAX: usize = 2_000;

/// Up to where the changes of a room were delivered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// Every change up to this version was delivered, or was committed before the room was loaded.
    pub version: Version,
    /// The newest chat among them.
    pub seq: Seq,
}

/// Puts events in version order, each once, none skipped.
pub struct Order {
    chatroom_id: ChatroomId,
    head: Head,
    /// Events beyond a gap.
    waiting: Vec<Event>,
    /// The database is being read for the gap.
    filling: bool,
    /// The newest version that was waiting when the read began.
    fill_target: Version,
    /// There may be a change without an event, since the outcome of a commit is unknown.
    needs_requery: bool,
}

impl Order {
    /// Begins behind the changes that were delivered.
    #[must_use]
    pub fn new(chatroom_id: ChatroomId, head: Head) -> Self {
        Self {
            chatroom_id,
            head,
            waiting: Vec::new(),
            filling: false,
            fill_target: Version::ZERO,
            needs_requery: false,
        }
    }

    /// Up to where the changes were delivered.
    #[must_use]
    pub fn head(&self) -> Head {
        self.head
    }

    /// Takes events in; gives those that can be delivered now.
    pub fn take(&mut self, events: Vec<Event>) -> Batch {
        self.waiting.extend(events);
        let ready = self.ready();
        if self.waiting.len() > WAITING_MAX {
            // The database has them all, and will be read for the gap anyway.
            self.waiting = Vec::new();
            self.needs_requery = true;
        }
        ready
    }

    /// There may be a change without an event: the database has to be read.
    pub fn require_requery(&mut self) {
        self.needs_requery = true;
    }

    /// Whether the database has to be read above the head. If so, the read counts as begun, and this is false until
    /// [`Order::filled`] or [`Order::fill_failed`].
    pub fn begin_fill(&mut self) -> bool {
        let is_due = !self.filling && (self.needs_requery || !self.waiting.is_empty());
        if is_due {
            self.filling = true;
            self.fill_target = self.waiting.iter().map(Event::version).max().unwrap_or_default();
            self.needs_requery = false;
        }
        is_due
    }

    /// The read failed: it has to be tried again.
    pub fn fill_failed(&mut self) {
        self.filling = false;
        self.needs_requery = true;
    }

    /// Whether events wait only for an earlier one, which may be on its way.
    #[must_use]
    pub fn is_out_of_turn(&self) -> bool {
        !self.waiting.is_empty() && !self.needs_requery && !self.filling
    }

    /// Whether no event waits, and no read is due or under way.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.waiting.is_empty() && !self.filling && !self.needs_requery
    }

    /// The read is done: the rows above the head, and the room's version in the same snapshot. Gives the events in the
    /// order in which sockets get them: new chats first, then changes of older ones, then the events that waited above
    /// them.
    pub fn filled(&mut self, rows: Vec<Chat>, version: Version) -> [Batch; 2] {
        self.filling = false;
        let Head { version: from, seq: newest_delivered } = self.head;
        // An event was stored before it was published: if the database lacks it now, the database was set back.
        self.waiting.retain(|event| event.version() <= version || event.version() > self.fill_target);
        // Some of the rows may have been delivered meanwhile.
        let (events, newest) =
            in_order(rows.into_iter().filter(|chat| chat.version > from).collect(), newest_delivered);
        self.head = Head { version: from.max(version), seq: newest };
        [Batch::new(self.chatroom_id, from, self.head.version, events, Source::Rows), self.ready()]
    }

    /// The waiting events that follow the head without a gap.
    fn ready(&mut self) -> Batch {
        let from = self.head.version;
        self.waiting.sort_by_key(Event::version);
        let mut ready = Vec::new();
        let mut beyond = Vec::new();
        for event in self.waiting.drain(..) {
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
        self.waiting = beyond;
        Batch::new(self.chatroom_id, from, self.head.version, ready, Source::Events)
    }
}

/// Rows as events in the order in which sockets get them: chats above `newest_delivered` first, then changes of older
/// ones; and the newest chat of all.
pub fn in_order(rows: Vec<Chat>, newest_delivered: Seq) -> (Vec<Event>, Seq) {
    let (mut new, mut changed): (Vec<Chat>, Vec<Chat>) = rows.into_iter().partition(|chat| chat.seq > newest_delivered);
    new.sort_by_key(|chat| chat.seq);
    changed.sort_by_key(|chat| chat.version);
    let newest = new.last().map_or(newest_delivered, |chat| chat.seq);
    let events = new.into_iter().map(new_event).chain(changed.into_iter().map(changed_event));
    (events.collect(), newest)
}

/// A chat that was not delivered; if it was deleted meanwhile, the sockets get only the deletion.
fn new_event(chat: Chat) -> Event {
    Event::new(if chat.delete_time.is_some() { Kind::Deleted } else { Kind::Created }, chat)
}

fn changed_event(chat: Chat) -> Event {
    Event::new(if chat.delete_time.is_some() { Kind::Deleted } else { Kind::Edited }, chat)
}

#[cfg(test)]
mod tests;
