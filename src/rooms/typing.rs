//! Who types in a room: told to the other person's devices, never stored, over by itself.

use std::time::{Duration, Instant};

use super::{Room, Stage};
use crate::connections::connection::ReplyTo;
use crate::delivery::event::Event;
use crate::domain::ChatterId;
use crate::domain::chat::ChangeKind as Kind;
use crate::problem::Problem;
use crate::protocol::device::server::ServerFrame;
use crate::websocket::framing::text_frame;

/// Whoever has not said again by then that they type has stopped.
const EXPIRY: Duration = Duration::from_secs(6);
/// Saying it again is told again at most this often, for devices that came meanwhile.
const TOLD_AGAIN: Duration = Duration::from_secs(3);

/// Those of the two who type.
#[derive(Default)]
pub(super) struct Typing(Vec<Typist>);

struct Typist {
    chatter_id: ChatterId,
    /// When the other one was last told.
    told: Instant,
    /// Until when it counts.
    until: Instant,
}

impl Typing {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes in that somebody types or stops; says whether the other one has to be told.
    fn changed(&mut self, chatter_id: ChatterId, typing: bool, now: Instant) -> bool {
        let until = now + EXPIRY;
        match self.0.iter_mut().find(|typist| typist.chatter_id == chatter_id) {
            None if typing => self.0.push(Typist { chatter_id, told: now, until }),
            None => return false,
            Some(_) if !typing => self.ended(chatter_id),
            Some(typist) => {
                typist.until = until;
                let again = now.duration_since(typist.told) >= TOLD_AGAIN;
                if again {
                    typist.told = now;
                }
                return again;
            }
        }
        true
    }

    fn ended(&mut self, chatter_id: ChatterId) {
        self.0.retain(|typist| typist.chatter_id != chatter_id);
    }

    /// Takes those out who have not said for too long that they type.
    fn stale(&mut self, now: Instant) -> Vec<ChatterId> {
        let stale = self.0.iter().filter(|typist| typist.until <= now).map(|typist| typist.chatter_id).collect();
        self.0.retain(|typist| typist.until > now);
        stale
    }
}

impl Room {
    pub(super) fn types(&mut self, typing: bool, asker: ReplyTo) {
        let Stage::Open { room, .. } = &self.stage else { return };
        let chatter_id = asker.connection.chatter_id;
        if !room.has(chatter_id) {
            return asker.refuse(&Problem::not_found("chatroom"));
        }
        self.busy_at = Some(Instant::now());
        if !room.with_oneself() && self.typing.changed(chatter_id, typing, Instant::now()) {
            self.tell_typing(chatter_id, typing);
        }
    }

    pub(super) fn end_stale_typing(&mut self) {
        for chatter_id in self.typing.stale(Instant::now()) {
            self.tell_typing(chatter_id, false);
        }
    }

    /// Who has sent their chat types no more, and the chat says so itself.
    pub(super) fn chats_end_typing(&mut self, events: &[Event]) {
        if !self.typing.is_empty() {
            for event in events.iter().filter(|event| event.kind == Kind::Created) {
                self.typing.ended(event.chat.sender_id);
            }
        }
    }

    fn tell_typing(&self, chatter_id: ChatterId, typing: bool) {
        let Stage::Open { room, .. } = &self.stage else { return };
        let frame = text_frame(&ServerFrame::Typing { chatroom_id: self.id, chatter_id, typing });
        self.parts.connections.send_ephemeral(room.other(chatter_id), &frame);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANN: ChatterId = ChatterId::new(1);

    #[test]
    fn typing_is_told_once_in_a_while_and_ends_by_itself() {
        let (mut typing, start) = (Typing::default(), Instant::now());
        let at = |ms: u64| start + Duration::from_millis(ms);
        assert!(typing.changed(ANN, true, at(0)));
        assert!(!typing.changed(ANN, true, at(1_000)), "told already");
        assert!(typing.changed(ANN, true, at(3_000)), "for devices that came meanwhile");
        assert!(typing.stale(at(8_900)).is_empty());
        assert_eq!(typing.stale(at(9_000)), [ANN]);
        assert!(!typing.changed(ANN, false, at(9_001)), "over already");
        assert!(typing.changed(ANN, true, at(9_002)) && typing.changed(ANN, false, at(9_003)));
        assert!(typing.is_empty());
    }
}
