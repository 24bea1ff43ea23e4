//! The cursors of a device socket, by example and against a model of database, rooms and socket.

mod rooms;

use std::collections::VecDeque;

use proptest::prelude::*;

use super::buffered::HELD_BYTES_MAX;
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

/// Cursors of a socket whose room 1 was listed at this version.
fn listed(version: i64) -> Cursors {
    let mut cursors = Cursors::default();
    assert!(cursors.listed([(ROOM, version.into())]).is_empty());
    assert!(cursors.all_listed().is_empty());
    cursors
}

#[test]
fn a_live_room_goes_out_at_once_and_nothing_twice() {
    let mut cursors = listed(4);
    assert_eq!(versions(cursors.deliver(ROOM, &run(3, 6))), [5, 6]);
    assert!(cursors.deliver(ROOM, &run(4, 6)).is_empty());
    assert_eq!(texts(cursors.deliver(ROOM, &TestRun { read: true, ..run(6, 9) })), ["6-9"]);
    assert_eq!(versions(cursors.deliver(ROOM, &run(9, 10))), [10]);
}

#[test]
fn what_comes_before_the_list_waits_for_it() {
    let mut cursors = Cursors::default();
    assert!(cursors.deliver(ROOM, &run(4, 5)).is_empty());
    assert!(cursors.deliver(ROOM, &run(5, 7)).is_empty());
    assert!(cursors.deliver(ChatroomId::new(2), &run(0, 1)).is_empty());
    assert_eq!(versions(cursors.listed([(ROOM, Version::new(5))])), [6, 7]);
    assert!(cursors.all_listed().is_empty(), "nobody has said yet that there is room 2");
    assert_eq!(cursors.made(ChatroomId::new(2), Version::ZERO).map(versions), Some(vec![1]));
}

#[test]
fn what_comes_while_a_room_is_read_goes_out_behind_it() {
    let mut cursors = listed(4);
    cursors.hold(ROOM);
    assert!(cursors.deliver(ROOM, &run(4, 8)).is_empty());
    let Release::Frames(frames) = cursors.caught_up(ROOM, Version::new(6)) else { panic!("read again") };
    assert_eq!(versions(frames), [7, 8]);
    assert_eq!(versions(cursors.deliver(ROOM, &run(8, 9))), [9]);
}

#[test]
fn a_gap_or_a_large_read_makes_the_room_be_read() {
    let mut cursors = listed(4);
    assert!(cursors.deliver(ROOM, &run(6, 7)).is_empty());
    assert_eq!(cursors.take_behind(), [(ROOM, Version::new(4))]);
    cursors.hold(ROOM);
    assert_eq!(cursors.caught_up(ROOM, Version::new(7)), Release::Frames(vec![]));
    assert!(cursors.deliver(ROOM, &TestRun { read: true, size: 1_000, ..run(7, 9) }).is_empty());
    assert_eq!(cursors.take_behind(), [(ROOM, Version::new(7))]);
}

#[test]
fn a_room_that_is_seen_ahead_while_it_is_read_is_read_on() {
    let mut cursors = listed(3);
    cursors.hold(ROOM);
    assert!(!cursors.look(ROOM, Version::new(5)), "it is being read");
    assert_eq!(cursors.caught_up(ROOM, Version::new(4)), Release::Again(Version::new(4)));
    assert_eq!(cursors.caught_up(ROOM, Version::new(5)), Release::Frames(vec![]));
    cursors.hold(ROOM);
    cursors.look(ROOM, Version::new(6));
    cursors.deliver(ROOM, &run(5, 6));
    assert!(
        matches!(cursors.caught_up(ROOM, Version::new(5)), Release::Frames(frames) if versions(frames.clone()) == [6])
    );
}

#[test]
fn too_much_to_hold_is_thrown_away_and_read_again() {
    let mut cursors = listed(0);
    cursors.hold(ROOM);
    assert!(cursors.deliver(ROOM, &TestRun { size: HELD_BYTES_MAX, ..run(0, 2) }).is_empty());
    assert!(cursors.deliver(ROOM, &run(2, 3)).is_empty());
    assert_eq!(cursors.caught_up(ROOM, Version::new(1)), Release::Again(Version::new(1)));
    cursors.hold(ROOM);
    assert_eq!(cursors.caught_up(ROOM, Version::new(3)), Release::Frames(vec![]));
    assert_eq!(cursors.held_bytes, 0);
}

/// A database, the rooms' way out and one socket, of one chatroom.
#[derive(Default)]
struct World {
    cursors: Cursors,
    /// The database's version.
    head: Version,
    /// What the room has given out.
    given: Version,
    is_listed: bool,
    /// Snapshots that were taken and not used yet: for the list or for a read.
    list: Option<Version>,
    reads: VecDeque<Version>,
    /// What the socket has had; none before the list.
    socket: Option<Version>,
}

#[derive(Clone, Debug)]
enum Step {
    Commit,
    /// The room gives out so many of its changes, as events or as what it read.
    Give {
        count: i64,
        read: bool,
        size: usize,
    },
    TakeList,
    UseList,
    /// The client asks to resume, or the server reads because something was missing.
    Hold,
    TakeRead,
    UseRead,
}

fn step() -> impl Strategy<Value = Step> {
    let size = prop_oneof![8 => Just(8_usize), 1 => Just(2_000), 1 => Just(40_000)];
    prop_oneof![
        4 => Just(Step::Commit),
        4 => (1..4_i64, prop::bool::weighted(0.2), size).prop_map(|(count, read, size)| Step::Give { count, read, size }),
        1 => Just(Step::TakeList),
        1 => Just(Step::UseList),
        1 => Just(Step::Hold),
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
            Step::Give { count, read, size } => {
                let to = self.head.min(self.given + count);
                if to > self.given {
                    let frames = self.cursors.deliver(ROOM, &TestRun { from: self.given, to, read, size });
                    self.given = to;
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
            Step::Hold if self.is_listed => {
                self.cursors.hold(ROOM);
                self.reads.clear();
            }
            Step::TakeRead if self.is_listed => {
                self.cursors.hold(ROOM);
                self.reads.push_back(self.head);
            }
            Step::UseRead => {
                // One read at a time: the newest snapshot.
                if let Some(version) = self.reads.pop_back() {
                    self.reads.clear();
                    self.caught_up(version);
                }
            }
            Step::TakeList | Step::Hold | Step::TakeRead => {}
        }
    }

    fn caught_up(&mut self, version: Version) {
        assert!(self.socket.is_some_and(|had| had <= version), "the read brings back what was had");
        self.socket = Some(version);
        match self.cursors.caught_up(ROOM, version) {
            Release::Frames(frames) => self.receive(frames),
            Release::Again(from) => {
                assert_eq!(from, version);
                self.cursors.hold(ROOM);
                self.caught_up(self.head);
            }
            Release::Gone => panic!("nobody deleted the room"),
        }
    }

    /// All is given out, listed and read: the socket has everything.
    fn settle(&mut self) {
        if !self.is_listed {
            self.take(Step::TakeList);
            self.take(Step::UseList);
        }
        while self.given < self.head {
            self.take(Step::Give { count: 3, read: false, size: 8 });
        }
        self.take(Step::TakeRead);
        self.take(Step::UseRead);
        assert!(self.cursors.take_behind().is_empty());
        assert_eq!(self.socket, Some(self.head));
        self.take(Step::Commit);
        self.take(Step::Give { count: 1, read: false, size: 8 });
        assert_eq!(self.socket, Some(self.head), "and is live");
        assert_eq!(self.cursors.held_bytes, 0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_races_a_socket_gets_each_change_once_and_in_order(steps in prop::collection::vec(step(), 1..60)) {
        let mut world = World::default();
        for step in steps {
            world.take(step);
        }
        world.settle();
    }
}
