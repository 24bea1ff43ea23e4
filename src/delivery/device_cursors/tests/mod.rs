//! The cursors of a device socket, by example and against a model of database, rooms and socket.

mod rooms;

use std::collections::VecDeque;

use proptest::prelude::*;

use super::buffered::BUFFERED_BYTES_MAX;
use super::*;

const ROOM: ChatroomId = ChatroomId::new(1);

/// A run whose frames are their versions as text, of this size.
struct TestRun {
    from: Version,
    to: Version,
    read: bool,
    size: usize,
}

fn run(from: i64, to: i64) -> TestRun {
    TestRun { from: from.into(), to: to.into(), read: false, size: 8 }
}

fn frame(version: i64, size: usize) -> Bytes {
    Bytes::from(format!("{}{version:08}", "0".repeat(size - 8)))
}

impl Run for TestRun {
    fn from(&self) -> Version {
        self.from
    }

    fn to(&self) -> Version {
        self.to
    }

    fn is_unbroken(&self) -> bool {
        !self.read
    }

    fn frames(&self) -> impl Iterator<Item = (Version, Bytes)> {
        let versions = self.from.get() + 1..=self.to.get();
        versions.map(|version| (version.into(), frame(version, self.size)))
    }

    fn as_changes(&self) -> Option<Bytes> {
        (self.size < 1_000).then(|| Bytes::from(format!("{}-{}", self.from, self.to)))
    }
}

fn texts(frames: Vec<Bytes>) -> Vec<String> {
    frames.into_iter().map(|f| String::from_utf8(f.to_vec()).unwrap()).collect()
}

fn versions(frames: Vec<Bytes>) -> Vec<i64> {
    texts(frames).into_iter().map(|text| text.parse().unwrap()).collect()
}

/// The frames that are sent at once.
fn deliver(cursors: &mut DeviceCursors, room: i64, run: &TestRun) -> Vec<Bytes> {
    match cursors.deliver(room.into(), run) {
        Delivery::Send(frames) => frames,
        Delivery::Buffered | Delivery::NeedsSession => Vec::new(),
    }
}

/// The frames that follow the announcement; none where nothing is announced.
fn announce(cursors: &mut DeviceCursors, room: i64, version: i64) -> Option<Vec<Bytes>> {
    match cursors.announce(room.into(), version.into()) {
        Announcement::Unneeded => None,
        Announcement::Send(frames) => Some(frames),
        Announcement::NeedsRequery => Some(Vec::new()),
    }
}

/// The cursors of a socket whose room 1 was listed at this version.
fn listed(version: i64) -> DeviceCursors {
    let mut cursors = DeviceCursors::default();
    assert!(cursors.listed([(ROOM, version.into())]).is_empty());
    assert!(cursors.all_listed().is_empty());
    cursors
}

#[test]
fn changes_of_a_live_room_are_sent_at_once_and_only_once() {
    let mut cursors = listed(4);
    assert_eq!(versions(deliver(&mut cursors, 1, &run(3, 6))), [5, 6]);
    assert!(deliver(&mut cursors, 1, &run(4, 6)).is_empty());
    assert_eq!(texts(deliver(&mut cursors, 1, &TestRun { read: true, ..run(6, 9) })), ["6-9"]);
    assert_eq!(versions(deliver(&mut cursors, 1, &run(9, 10))), [10]);
}

#[test]
fn changes_that_come_before_the_list_wait_for_it() {
    let mut cursors = DeviceCursors::default();
    assert!(deliver(&mut cursors, 1, &run(4, 5)).is_empty());
    assert!(deliver(&mut cursors, 1, &run(5, 7)).is_empty());
    assert!(deliver(&mut cursors, 2, &run(0, 1)).is_empty());
    assert_eq!(versions(cursors.listed([(ROOM, Version::new(5))])), [6, 7]);
    assert!(cursors.all_listed().is_empty(), "room 2 has not been announced");
    assert_eq!(announce(&mut cursors, 2, 0).map(versions), Some(vec![1]));
}

#[test]
fn changes_that_come_while_a_room_is_read_are_sent_after_the_read() {
    let mut cursors = listed(4);
    cursors.buffer(ROOM);
    assert!(deliver(&mut cursors, 1, &run(4, 8)).is_empty());
    let Release::Frames(frames) = cursors.caught_up(ROOM, Version::new(6)) else {
        panic!("the room has to be read again")
    };
    assert_eq!(versions(frames), [7, 8]);
    assert_eq!(versions(deliver(&mut cursors, 1, &run(8, 9))), [9]);
}

#[test]
fn a_gap_or_a_large_read_makes_the_socket_read_the_room() {
    let mut cursors = listed(4);
    assert!(deliver(&mut cursors, 1, &run(6, 7)).is_empty());
    assert_eq!(cursors.take_requeries(), [(ROOM, Version::new(4))]);
    cursors.buffer(ROOM);
    assert_eq!(cursors.caught_up(ROOM, Version::new(7)), Release::Frames(vec![]));
    assert!(deliver(&mut cursors, 1, &TestRun { read: true, size: 1_000, ..run(7, 9) }).is_empty());
    assert_eq!(cursors.take_requeries(), [(ROOM, Version::new(7))]);
}

#[test]
fn a_room_with_a_newer_version_is_read_on() {
    let mut cursors = listed(3);
    cursors.buffer(ROOM);
    assert!(!cursors.check_version(ROOM, Version::new(5)), "the room is being read");
    assert_eq!(cursors.caught_up(ROOM, Version::new(4)), Release::Requery(Version::new(4)));
    assert_eq!(cursors.caught_up(ROOM, Version::new(5)), Release::Frames(vec![]));
    cursors.buffer(ROOM);
    cursors.check_version(ROOM, Version::new(6));
    deliver(&mut cursors, 1, &run(5, 6));
    assert!(
        matches!(cursors.caught_up(ROOM, Version::new(5)), Release::Frames(frames) if versions(frames.clone()) == [6])
    );
}

#[test]
fn an_overflowing_buffer_is_dropped_and_the_room_is_read_again() {
    let mut cursors = listed(0);
    cursors.buffer(ROOM);
    assert!(deliver(&mut cursors, 1, &TestRun { size: BUFFERED_BYTES_MAX, ..run(0, 2) }).is_empty());
    assert!(deliver(&mut cursors, 1, &run(2, 3)).is_empty());
    assert_eq!(cursors.caught_up(ROOM, Version::new(1)), Release::Requery(Version::new(1)));
    cursors.buffer(ROOM);
    assert_eq!(cursors.caught_up(ROOM, Version::new(3)), Release::Frames(vec![]));
    assert_eq!(cursors.buffered_bytes, 0);
}

/// One chatroom: the database, the deliveries of the room, and one socket.
#[derive(Default)]
struct World {
    cursors: DeviceCursors,
    /// The database's version.
    head: Version,
    /// The version up to which the room has delivered.
    delivered: Version,
    is_listed: bool,
    /// Snapshots of the database that were taken and not used yet: one for the list, others for reads.
    list: Option<Version>,
    reads: VecDeque<Version>,
    /// The version up to which the socket was sent the room; none before the list.
    socket: Option<Version>,
}

#[derive(Clone, Debug)]
enum Step {
    Commit,
    /// The room delivers so many of its changes, as events or as a run that it read.
    Deliver {
        count: i64,
        read: bool,
        size: usize,
    },
    TakeList,
    UseList,
    /// The client asks to resume, or a read begins because changes were missing.
    Buffer,
    TakeRead,
    UseRead,
}

fn step() -> impl Strategy<Value = Step> {
    let size = prop_oneof![8 => Just(8_usize), 1 => Just(2_000), 1 => Just(40_000)];
    prop_oneof![
        4 => Just(Step::Commit),
        4 => (1..4_i64, prop::bool::weighted(0.2), size).prop_map(|(count, read, size)| Step::Deliver { count, read, size }),
        1 => Just(Step::TakeList),
        1 => Just(Step::UseList),
        1 => Just(Step::Buffer),
        2 => Just(Step::TakeRead),
        2 => Just(Step::UseRead),
    ]
}

impl World {
    /// Every frame follows the one before it.
    fn receive(&mut self, frames: Vec<Bytes>) {
        for text in texts(frames) {
            let (from, to) = match text.split_once('-') {
                Some((from, to)) => (from.parse().unwrap(), to.parse().unwrap()),
                None => (text.parse::<Version>().unwrap() - 1, text.parse().unwrap()),
            };
            assert_eq!(self.socket, Some(from), "{text} does not follow");
            self.socket = Some(to);
        }
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Commit => self.head = self.head.next(),
            Step::Deliver { count, read, size } => {
                let to = self.head.min(self.delivered + count);
                if to > self.delivered {
                    let frames = deliver(&mut self.cursors, 1, &TestRun { from: self.delivered, to, read, size });
                    self.delivered = to;
                    self.receive(frames);
                }
            }
            Step::TakeList if !self.is_listed => self.list = Some(self.head),
            Step::UseList => {
                if let Some(version) = self.list.take().filter(|_| !self.is_listed) {
                    self.is_listed = true;
                    self.socket = Some(version);
                    let mut frames = self.cursors.listed([(ROOM, version)]);
                    frames.extend(self.cursors.all_listed());
                    self.receive(frames);
                }
            }
            Step::Buffer if self.is_listed => {
                self.cursors.buffer(ROOM);
                self.reads.clear();
            }
            Step::TakeRead if self.is_listed => {
                self.cursors.buffer(ROOM);
                self.reads.push_back(self.head);
            }
            Step::UseRead => {
                // One read at a time, of the newest snapshot.
                if let Some(version) = self.reads.pop_back() {
                    self.reads.clear();
                    self.caught_up(version);
                }
            }
            Step::TakeList | Step::Buffer | Step::TakeRead => {}
        }
    }

    fn caught_up(&mut self, version: Version) {
        assert!(self.socket.is_some_and(|had| had <= version), "the read repeats what the socket was sent");
        self.socket = Some(version);
        match self.cursors.caught_up(ROOM, version) {
            Release::Frames(frames) => self.receive(frames),
            Release::Requery(from) => {
                assert_eq!(from, version);
                self.cursors.buffer(ROOM);
                self.caught_up(self.head);
            }
            Release::Deleted => panic!("the room was not deleted"),
        }
    }

    /// Delivers, lists and reads everything: the socket then has all changes.
    fn finish(&mut self) {
        if !self.is_listed {
            self.take(Step::TakeList);
            self.take(Step::UseList);
        }
        while self.delivered < self.head {
            self.take(Step::Deliver { count: 3, read: false, size: 8 });
        }
        self.take(Step::TakeRead);
        self.take(Step::UseRead);
        assert!(self.cursors.take_requeries().is_empty());
        assert_eq!(self.socket, Some(self.head));
        self.take(Step::Commit);
        self.take(Step::Deliver { count: 1, read: false, size: 8 });
        assert_eq!(self.socket, Some(self.head), "the room is live");
        assert_eq!(self.cursors.buffered_bytes, 0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_socket_gets_each_change_once_and_in_order_however_reads_and_commits_race(steps in prop::collection::vec(step(), 1..60)) {
        let mut world = World::default();
        for step in steps {
            world.take(step);
        }
        world.finish();
    }
}
