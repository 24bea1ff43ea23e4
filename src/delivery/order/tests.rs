//! The order of a room, by example and against a model of the database.

use proptest::prelude::*;

use super::*;
use crate::domain::clock::Micros;

const ROOM: ChatroomId = ChatroomId::new(1);

fn head(version: i64, seq: i64) -> Head {
    Head { version: version.into(), seq: seq.into() }
}

fn example(seq: i64, version: i64) -> Chat {
    Chat::example(seq.into(), version.into())
}

fn created(seq: i64, version: i64) -> Event {
    Event::new(Kind::Created, example(seq, version))
}

fn versions<'a>(batches: impl IntoIterator<Item = &'a Batch>) -> Vec<i64> {
    batches.into_iter().flat_map(|batch| &batch.events).map(|event| event.version().get()).collect()
}

#[test]
fn events_that_follow_each_other_are_delivered_at_once() {
    let mut order = Order::new(ROOM, head(4, 4));
    assert_eq!(versions([&order.take(vec![created(5, 5), created(6, 6)])]), [5, 6]);
    assert!(order.is_quiet() && !order.begin_fill());
    assert_eq!(versions([&order.take(vec![created(6, 6)])]), [0; 0], "and only once");
}

#[test]
fn an_event_beyond_a_gap_waits_for_the_read() {
    let mut order = Order::new(ROOM, head(4, 4));
    assert!(order.take(vec![created(7, 7)]).events.is_empty());
    assert!(order.begin_fill());
    assert!(!order.begin_fill(), "one read at a time");
    assert!(order.take(vec![created(8, 8)]).events.is_empty());
    let events = order.filled(vec![example(5, 5), example(6, 6), example(7, 7)], Version::new(7));
    assert_eq!(versions(&events), [5, 6, 7, 8]);
    assert!(order.is_quiet());
}

#[test]
fn a_read_gives_new_chats_first_and_then_changes() {
    let mut order = Order::new(ROOM, head(4, 4));
    order.require_requery();
    assert!(order.begin_fill());
    // Chat 5 was stored and then edited: its row has version 7 and nothing has 5.
    let events = order.filled(vec![example(6, 6), example(5, 7), example(2, 8)], Version::new(8));
    let seen: Vec<_> = events[0].events.iter().map(|e| (e.kind, e.chat.seq.get())).collect();
    assert_eq!(seen, [(Kind::Created, 5), (Kind::Created, 6), (Kind::Edited, 2)]);
    assert_eq!(order.head(), head(8, 6));
}

#[test]
fn a_failed_read_is_tried_again() {
    let mut order = Order::new(ROOM, Head::default());
    order.require_requery();
    assert!(order.begin_fill());
    order.fill_failed();
    assert!(order.begin_fill());
    assert!(order.filled(vec![], Version::ZERO).iter().all(|batch| batch.events.is_empty()));
    assert!(order.is_quiet());
}

/// A database of one room, and the order that gets its events late, out of turn, or not at all.
struct World {
    order: Order,
    rows: Vec<Chat>,
    version: Version,
    /// Events of changes that were committed, not taken in yet.
    in_flight: Vec<Event>,
    /// A read that was begun, with its snapshot.
    read: Option<(Vec<Chat>, Version)>,
    /// What the sockets have: each chat's version, and whether it is deleted.
    view: std::collections::BTreeMap<Seq, (Version, bool)>,
    delivered: Version,
}

#[derive(Clone, Debug)]
enum Step {
    Create,
    /// Edits or deletes the chat at this place.
    Change(prop::sample::Index, bool),
    /// Takes an event in, in any order.
    Arrive(prop::sample::Index),
    /// An event is lost.
    Lose(prop::sample::Index),
    BeginRead,
    EndRead,
    ReadFails,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => Just(Step::Create),
        2 => (any::<prop::sample::Index>(), any::<bool>()).prop_map(|(at, deletes)| Step::Change(at, deletes)),
        5 => any::<prop::sample::Index>().prop_map(Step::Arrive),
        1 => any::<prop::sample::Index>().prop_map(Step::Lose),
        1 => Just(Step::BeginRead),
        1 => Just(Step::EndRead),
        1 => Just(Step::ReadFails),
    ]
}

impl World {
    fn new() -> Self {
        Self {
            order: Order::new(ROOM, Head::default()),
            rows: Vec::new(),
            version: Version::ZERO,
            in_flight: Vec::new(),
            read: None,
            view: std::collections::BTreeMap::new(),
            delivered: Version::ZERO,
        }
    }

    fn deliver(&mut self, batches: impl IntoIterator<Item = Batch>) {
        for batch in batches {
            assert_eq!(batch.from, self.delivered, "a run follows the one before it");
            for event in &batch.events {
                let known = self.view.insert(event.chat.seq, (event.version(), event.kind == Kind::Deleted));
                match event.kind {
                    Kind::Created => assert!(known.is_none(), "chat {} is new twice", event.chat.seq),
                    Kind::Edited => assert!(known.is_some(), "chat {} is edited before it is there", event.chat.seq),
                    Kind::Deleted => {}
                }
                assert!(known.is_none_or(|(version, _)| version < event.version()), "a change came twice");
                assert!(
                    batch.source == Source::Rows || event.version() > self.delivered && event.version() <= batch.to
                );
            }
            self.delivered = batch.to;
        }
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Create => {
                self.version = self.version.next();
                let chat = Chat::example(Seq::new(self.rows.len() as i64 + 1), self.version);
                self.rows.push(chat.clone());
                self.in_flight.push(Event::new(Kind::Created, chat));
            }
            Step::Change(at, deletes) if !self.rows.is_empty() => {
                let at = at.index(self.rows.len());
                let row = &mut self.rows[at];
                if row.delete_time.is_none() {
                    self.version = self.version.next();
                    row.version = self.version;
                    let time = Some(Micros(self.version.get()));
                    let kind = if *deletes { Kind::Deleted } else { Kind::Edited };
                    *(if *deletes { &mut row.delete_time } else { &mut row.edit_time }) = time;
                    self.in_flight.push(Event::new(kind, row.clone()));
                }
            }
            Step::Arrive(at) if !self.in_flight.is_empty() => {
                let event = self.in_flight.remove(at.index(self.in_flight.len()));
                let batch = self.order.take(vec![event]);
                self.deliver([batch]);
            }
            Step::Lose(at) if !self.in_flight.is_empty() => {
                self.in_flight.remove(at.index(self.in_flight.len()));
                self.order.require_requery();
            }
            Step::BeginRead => {
                if self.order.begin_fill() {
                    let since = self.order.head().version;
                    let rows = self.rows.iter().filter(|row| row.version > since).cloned().collect();
                    self.read = Some((rows, self.version));
                }
            }
            Step::EndRead => {
                if let Some((rows, version)) = self.read.take() {
                    let batches = self.order.filled(rows, version);
                    self.deliver(batches);
                }
            }
            Step::ReadFails => {
                if self.read.take().is_some() {
                    self.order.fill_failed();
                }
            }
            Step::Change(..) | Step::Arrive(_) | Step::Lose(_) => {}
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_sockets_end_with_the_database_however_events_arrive(steps in prop::collection::vec(step(), 1..80)) {
        let mut world = World::new();
        steps.iter().for_each(|step| world.take(step));
        while let Some(event) = world.in_flight.pop() {
            let batch = world.order.take(vec![event]);
            world.deliver([batch]);
        }
        world.take(&Step::EndRead);
        for _ in 0..3 {
            world.take(&Step::BeginRead);
            world.take(&Step::EndRead);
        }
        prop_assert!(world.order.is_quiet());
        prop_assert_eq!(world.order.head().version, world.version);
        let rows: Vec<_> = world.rows.iter().map(|row| (row.seq, (row.version, row.delete_time.is_some()))).collect();
        prop_assert_eq!(world.view.into_iter().collect::<Vec<_>>(), rows);
    }
}
