//! The path of outcomes from the store's writer back to a room, also when the room has failed meanwhile.

use std::sync::Weak;

use actix::Recipient;

use super::command::Committed;
use super::host::RoomHost;
use crate::domain::ChatroomId;
use crate::store::writer::{Outcome, OutcomeSink};

/// Passes outcomes on to one room.
pub(super) struct RoomOutcomeSink {
    pub(super) id: ChatroomId,
    pub(super) room: Recipient<Committed>,
    pub(super) host: Weak<dyn RoomHost>,
}

impl OutcomeSink for RoomOutcomeSink {
    fn complete(&self, outcomes: Vec<(u64, Outcome)>) {
        if self.room.connected() {
            #[expect(
                clippy::disallowed_methods,
                reason = "an outcome must not be lost, and commands in flight are bounded"
            )]
            self.room.do_send(Committed(outcomes));
        } else if let Some(host) = self.host.upgrade() {
            // The room failed while its chats were being stored: its successor delivers them.
            host.catch_up(self.id);
        }
    }
}
