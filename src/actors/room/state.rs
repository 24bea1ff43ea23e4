//! The room's order: which changes its sockets have had, which are held until a gap before them is filled. No I/O.

use crate::actors::session::event::{Batch, Event, Kind};
use crate::domain::chat::Chat;
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
    /// A commit's outcome is unknown, so there may be a change that nobody announced.
    doubt: bool,
}

impl Order {
    /// Starts at what the sockets have had.
    #[must_use]
    pub fn new(chatroom_id: ChatroomId, head: Head) -> Self {
        Self { chatroom_id, head, held: Vec::new(), filling: false, doubt: false }
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
            self.doubt = false;
        }
        wanted
    }

    /// The database did not answer: ask again later.
    pub fn fill_failed(&mut self) {
        self.filling = false;
        self.doubt = true;
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
        let (mut new, mut changed): (Vec<Chat>, Vec<Chat>) = rows.into_iter().partition(|chat| chat.seq > known);
        new.sort_by_key(|chat| chat.seq);
        changed.sort_by_key(|chat| chat.version);
        let newest = new.last().map_or(known, |chat| chat.seq);
        let mut events: Vec<Event> = new.into_iter().map(new_event).collect();
        events.extend(changed.into_iter().map(changed_event));
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
            if event.version() == self.head.version + 1 && beyond.is_empty() {
                self.head.version += 1;
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

/// A chat that the sockets have not had; one that was deleted meanwhile is only a deletion to them.
fn new_event(chat: Chat) -> Event {
    Event::new(if chat.delete_time.is_some() { Kind::Deleted } else { Kind::Created }, chat)
}

fn changed_event(chat: Chat) -> Event {
    Event::new(if chat.delete_time.is_some() { Kind::Deleted } else { Kind::Edited }, chat)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::clock::Micros;

    fn chat(seq: Seq, version: Version) -> Chat {
        Chat {
            id: seq,
            chatroom_id: 1,
            seq,
            version,
            sender_id: 1,
            receiver_id: 2,
            content: "x".into(),
            client_id: None,
            create_time: Micros(0),
            edit_time: None,
            delete_time: None,
        }
    }

    fn created(seq: Seq, version: Version) -> Event {
        Event::new(Kind::Created, chat(seq, version))
    }

    fn versions<'a>(batches: impl IntoIterator<Item = &'a Batch>) -> Vec<Version> {
        batches.into_iter().flat_map(|batch| &batch.events).map(Event::version).collect()
    }

    #[test]
    fn events_that_follow_each_other_are_delivered_at_once() {
        let mut order = Order::new(1, Head { version: 4, seq: 4 });
        assert_eq!(versions([&order.take(vec![created(5, 5), created(6, 6)])]), [5, 6]);
        assert!(order.is_quiet() && !order.begin_fill());
        assert_eq!(versions([&order.take(vec![created(6, 6)])]), [0; 0], "and never twice");
    }

    #[test]
    fn an_event_beyond_a_gap_waits_for_the_database() {
        let mut order = Order::new(1, Head { version: 4, seq: 4 });
        assert!(order.take(vec![created(7, 7)]).events.is_empty());
        assert!(order.begin_fill());
        assert!(!order.begin_fill(), "one question at a time");
        assert!(order.take(vec![created(8, 8)]).events.is_empty());
        let events = order.filled(vec![chat(5, 5), chat(6, 6), chat(7, 7)], 7);
        assert_eq!(versions(&events), [5, 6, 7, 8]);
        assert!(order.is_quiet());
    }

    #[test]
    fn a_fill_gives_new_chats_first_and_then_what_changed() {
        let mut order = Order::new(1, Head { version: 4, seq: 4 });
        order.doubt();
        assert!(order.begin_fill());
        // Chat 5 was stored and then edited: its row has version 7 and nothing has 5.
        let events = order.filled(vec![chat(6, 6), chat(5, 7), chat(2, 8)], 8);
        let seen: Vec<_> = events[0].events.iter().map(|e| (e.kind, e.chat.seq)).collect();
        assert_eq!(seen, [(Kind::Created, 5), (Kind::Created, 6), (Kind::Edited, 2)]);
        assert_eq!(order.head(), Head { version: 8, seq: 6 });
    }

    #[test]
    fn a_doubt_is_asked_again_until_the_database_answers() {
        let mut order = Order::new(1, Head::default());
        order.doubt();
        assert!(order.begin_fill());
        order.fill_failed();
        assert!(order.begin_fill());
        assert!(order.filled(vec![], 0).iter().all(|batch| batch.events.is_empty()));
        assert!(order.is_quiet());
    }
}
