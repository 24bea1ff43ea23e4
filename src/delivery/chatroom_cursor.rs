//! Which changes of its room a seed socket has had, and which wait until the database was read for it. No I/O.
//!
//! A socket is found by its room before the database says where the room is, so nothing falls between: until then, and
//! while a gap is read, what comes is held.

use std::sync::Arc;

use super::device_cursors::Run;
use super::event::{Batch, Event};
use crate::delivery::order::Head;
use crate::domain::Version;
use crate::domain::chat::ChangeKind;

/// Runs that one socket may have held; beyond, the room is read again.
const HELD_MAX: usize = 64;

/// The cursor of a seed socket.
pub struct ChatroomCursor {
    head: Head,
    stage: Stage,
    held: Vec<Arc<Batch>>,
    /// Something was thrown away.
    lost: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Where the room is is not known yet.
    Joining,
    Live,
    /// The database has to be read, or is.
    Behind,
}

/// What of a run goes out.
#[derive(Debug, PartialEq, Eq)]
pub enum Admitted {
    /// All of it, as it is.
    All,
    /// These of its events, each with what it is to this socket.
    Some(Vec<(usize, ChangeKind)>),
    Nothing,
    /// Nothing, and the database has to be read.
    Behind,
}

impl Default for ChatroomCursor {
    fn default() -> Self {
        Self { head: Head::default(), stage: Stage::Joining, held: Vec::new(), lost: false }
    }
}

impl ChatroomCursor {
    /// What the socket has had.
    #[must_use]
    pub fn head(&self) -> Head {
        self.head
    }

    /// Whether there is something above this version that the socket was not given.
    #[must_use]
    pub fn is_below(&self, version: Version) -> bool {
        self.stage == Stage::Live && self.head.version < version
    }

    /// Whether the database has to be read.
    #[must_use]
    pub fn is_behind(&self) -> bool {
        self.stage == Stage::Behind
    }

    /// Makes the socket read the database, if it is live.
    pub fn fall_behind(&mut self) -> bool {
        let live = self.stage == Stage::Live;
        if live {
            self.stage = Stage::Behind;
        }
        live
    }

    /// New changes of the room.
    pub fn deliver(&mut self, run: &Arc<Batch>) -> Admitted {
        if self.stage != Stage::Live {
            if self.held.len() < HELD_MAX {
                self.held.push(run.clone());
            } else {
                (self.held, self.lost) = (Vec::new(), true);
            }
            return Admitted::Nothing;
        }
        if run.to <= self.head.version {
            return Admitted::Nothing;
        }
        if run.from > self.head.version {
            self.stage = Stage::Behind;
            return Admitted::Behind;
        }
        // What a room has read is new or old by what the room knew; a socket may know less.
        let as_it_is = run.is_unbroken() && run.from == self.head.version;
        let admitted = if as_it_is { Admitted::All } else { self.rest_of(run) };
        let newest = run.events.iter().map(|event| event.chat.seq).max().unwrap_or_default();
        self.head = Head { version: run.to, seq: self.head.seq.max(newest) };
        admitted
    }

    /// The database was asked where the room is, or read up to there: the runs that were held, to be delivered, and whether
    /// it has to be read once more.
    pub fn joined(&mut self, head: Head) -> (Vec<Arc<Batch>>, bool) {
        self.head = Head { version: head.version.max(self.head.version), seq: head.seq.max(self.head.seq) };
        let again = std::mem::take(&mut self.lost);
        self.stage = if again { Stage::Behind } else { Stage::Live };
        (if again { Vec::new() } else { std::mem::take(&mut self.held) }, again)
    }

    fn rest_of(&self, run: &Batch) -> Admitted {
        let kind = |event: &Event| match event.kind {
            ChangeKind::Created if event.chat.seq <= self.head.seq => ChangeKind::Edited,
            ChangeKind::Edited if event.chat.seq > self.head.seq => ChangeKind::Created,
            kind => kind,
        };
        let rest = run.events.iter().enumerate().filter(|(_, event)| event.version() > self.head.version);
        Admitted::Some(rest.map(|(at, event)| (at, kind(event))).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::chat::Chat;
    use crate::domain::{ChatroomId, Seq};

    fn run(from: i64, to: i64) -> Arc<Batch> {
        let events = (from + 1..=to)
            .map(|version| Event::new(ChangeKind::Created, Chat::example(Seq::new(version), Version::new(version))));
        Arc::new(Batch::new(ChatroomId::new(1), from.into(), to.into(), events.collect(), false))
    }

    fn head(number: i64) -> Head {
        Head { version: number.into(), seq: number.into() }
    }

    fn live(version: i64) -> ChatroomCursor {
        let mut cursor = ChatroomCursor::default();
        assert!(cursor.joined(head(version)).0.is_empty());
        cursor
    }

    #[test]
    fn what_comes_before_the_join_is_known_waits_and_is_not_told_twice() {
        let mut cursor = ChatroomCursor::default();
        assert_eq!(cursor.deliver(&run(4, 6)), Admitted::Nothing);
        assert_eq!(cursor.deliver(&run(6, 7)), Admitted::Nothing);
        let (held, again) = cursor.joined(head(5));
        assert!(!again);
        assert_eq!(cursor.deliver(&held[0]), Admitted::Some(vec![(1, ChangeKind::Created)]));
        assert_eq!(cursor.deliver(&held[1]), Admitted::All);
        assert_eq!(cursor.deliver(&held[1]), Admitted::Nothing);
    }

    #[test]
    fn a_gap_is_read_and_what_came_meanwhile_follows() {
        let mut cursor = live(4);
        assert_eq!(cursor.deliver(&run(6, 7)), Admitted::Behind);
        assert_eq!(cursor.deliver(&run(7, 8)), Admitted::Nothing);
        let (held, again) = cursor.joined(head(7));
        assert!(!again);
        assert_eq!(cursor.deliver(&held[0]), Admitted::All);
        assert_eq!(cursor.head(), head(8));
    }

    #[test]
    fn too_much_to_hold_is_read_again() {
        let mut cursor = ChatroomCursor::default();
        for version in 0..=HELD_MAX as i64 {
            cursor.deliver(&run(version, version + 1));
        }
        assert!(cursor.joined(head(1)).1);
        assert!(!cursor.joined(head(65)).1);
    }

    #[test]
    fn what_was_read_says_of_each_chat_what_it_is_to_this_socket() {
        let mut cursor = live(6);
        let events = vec![
            Event::new(ChangeKind::Created, Chat::example(5.into(), 7.into())),
            Event::new(ChangeKind::Edited, Chat::example(7.into(), 8.into())),
        ];
        let read = Arc::new(Batch::new(ChatroomId::new(1), 4.into(), 8.into(), events, true));
        let expected = Admitted::Some(vec![(0, ChangeKind::Edited), (1, ChangeKind::Created)]);
        assert_eq!(cursor.deliver(&read), expected);
    }
}
