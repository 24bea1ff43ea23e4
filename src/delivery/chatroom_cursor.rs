//! Which changes of its room a chatroom socket has been sent, and which wait for a read of the database. No I/O.
//!
//! The room finds the socket before the database says at which version the room is, so no change is missed in between:
//! until then, and while a gap is read, new changes are buffered.

use std::sync::Arc;

use super::event::{Batch, Event};
use super::run::Run;
use crate::delivery::order::Head;
use crate::domain::Version;
use crate::domain::chat::ChangeKind;

/// Runs that one socket may have buffered; when there are more, the room is read again.
const BUFFERED_MAX: usize = 64;

/// The cursor of a chatroom socket.
pub struct ChatroomCursor {
    head: Head,
    stage: Stage,
    buffered: Vec<Arc<Batch>>,
    has_overflowed: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The database has not said yet at which version the room is.
    Joining,
    Live,
    /// The room is being read or has to be.
    Behind,
}

/// Which changes of a run are sent.
#[derive(Debug, PartialEq, Eq)]
pub enum Admitted {
    /// All, as they are.
    All,
    /// The events at these places, each with the kind of change that it is to this socket.
    Some(Vec<(usize, ChangeKind)>),
    /// None, because the socket has them or they are buffered.
    Nothing,
    /// None, and the room has to be read.
    Behind,
}

/// The buffer of a socket that is live again.
pub enum Joined {
    /// These runs have to be delivered.
    Complete(Vec<Arc<Batch>>),
    /// The buffer has overflowed and was dropped: the room has to be read once more.
    Overflowed,
}

impl Default for ChatroomCursor {
    fn default() -> Self {
        Self { head: Head::default(), stage: Stage::Joining, buffered: Vec::new(), has_overflowed: false }
    }
}

impl ChatroomCursor {
    /// What the socket was sent.
    #[must_use]
    pub fn head(&self) -> Head {
        self.head
    }

    /// Whether a live socket was sent less than this version.
    #[must_use]
    pub fn is_below(&self, version: Version) -> bool {
        self.stage == Stage::Live && self.head.version < version
    }

    /// Whether the room has to be read.
    #[must_use]
    pub fn is_behind(&self) -> bool {
        self.stage == Stage::Behind
    }

    /// Makes a live socket read the room; false if it is not live.
    pub fn fall_behind(&mut self) -> bool {
        let is_live = self.stage == Stage::Live;
        if is_live {
            self.stage = Stage::Behind;
        }
        is_live
    }

    /// Takes new changes of the room.
    pub fn deliver(&mut self, run: &Arc<Batch>) -> Admitted {
        if self.stage != Stage::Live {
            if self.buffered.len() < BUFFERED_MAX {
                self.buffered.push(run.clone());
            } else {
                (self.buffered, self.has_overflowed) = (Vec::new(), true);
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
        // In a run that was read, a chat is new or changed from the room's view; the socket may have been sent less.
        let is_as_sent = run.is_unbroken() && run.from == self.head.version;
        let admitted = if is_as_sent { Admitted::All } else { self.rest_of(run) };
        let newest = run.events.iter().map(|event| event.chat.seq).max().unwrap_or_default();
        self.head = Head { version: run.to, seq: self.head.seq.max(newest) };
        admitted
    }

    /// The database has said where the room is, or was read up to there: makes the socket live.
    pub fn joined(&mut self, head: Head) -> Joined {
        self.head = Head { version: head.version.max(self.head.version), seq: head.seq.max(self.head.seq) };
        self.stage = Stage::Live;
        let buffered = std::mem::take(&mut self.buffered);
        if std::mem::take(&mut self.has_overflowed) { Joined::Overflowed } else { Joined::Complete(buffered) }
    }

    /// The changes of a run that the socket was not sent.
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
    use crate::delivery::event::Source;
    use crate::domain::chat::Chat;
    use crate::domain::{ChatroomId, Seq};

    fn run(from: i64, to: i64) -> Arc<Batch> {
        let events = (from + 1..=to)
            .map(|version| Event::new(ChangeKind::Created, Chat::example(Seq::new(version), Version::new(version))));
        Arc::new(Batch::new(ChatroomId::new(1), from.into(), to.into(), events.collect(), Source::Events))
    }

    fn head(number: i64) -> Head {
        Head { version: number.into(), seq: number.into() }
    }

    /// The runs that were buffered, unless the buffer has overflowed.
    fn join(cursor: &mut ChatroomCursor, version: i64) -> Option<Vec<Arc<Batch>>> {
        match cursor.joined(head(version)) {
            Joined::Complete(buffered) => Some(buffered),
            Joined::Overflowed => None,
        }
    }

    fn live(version: i64) -> ChatroomCursor {
        let mut cursor = ChatroomCursor::default();
        assert!(join(&mut cursor, version).unwrap().is_empty());
        cursor
    }

    #[test]
    fn changes_before_the_join_wait_and_are_sent_once() {
        let mut cursor = ChatroomCursor::default();
        assert_eq!(cursor.deliver(&run(4, 6)), Admitted::Nothing);
        assert_eq!(cursor.deliver(&run(6, 7)), Admitted::Nothing);
        let buffered = join(&mut cursor, 5).unwrap();
        assert_eq!(cursor.deliver(&buffered[0]), Admitted::Some(vec![(1, ChangeKind::Created)]));
        assert_eq!(cursor.deliver(&buffered[1]), Admitted::All);
        assert_eq!(cursor.deliver(&buffered[1]), Admitted::Nothing);
    }

    #[test]
    fn changes_that_come_while_a_gap_is_read_follow_it() {
        let mut cursor = live(4);
        assert_eq!(cursor.deliver(&run(6, 7)), Admitted::Behind);
        assert_eq!(cursor.deliver(&run(7, 8)), Admitted::Nothing);
        let buffered = join(&mut cursor, 7).unwrap();
        assert_eq!(cursor.deliver(&buffered[0]), Admitted::All);
        assert_eq!(cursor.head(), head(8));
    }

    #[test]
    fn an_overflowing_buffer_makes_the_socket_read_the_room_again() {
        let mut cursor = ChatroomCursor::default();
        for version in 0..=BUFFERED_MAX as i64 {
            cursor.deliver(&run(version, version + 1));
        }
        assert!(join(&mut cursor, 1).is_none());
        assert!(join(&mut cursor, 65).is_some());
    }

    #[test]
    fn rows_are_new_or_changed_by_what_the_socket_was_sent() {
        let mut cursor = live(6);
        let events = vec![
            Event::new(ChangeKind::Created, Chat::example(5.into(), 7.into())),
            Event::new(ChangeKind::Edited, Chat::example(7.into(), 8.into())),
        ];
        let read = Arc::new(Batch::new(ChatroomId::new(1), 4.into(), 8.into(), events, Source::Rows));
        let expected = Admitted::Some(vec![(0, ChangeKind::Edited), (1, ChangeKind::Created)]);
        assert_eq!(cursor.deliver(&read), expected);
    }
}
