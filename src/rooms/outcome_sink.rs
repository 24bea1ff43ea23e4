//! How the store's writer reaches a room with what became of its commands.

use std::sync::Weak;

use actix::Addr;

use super::Room;
use super::command::{Command, Committed};
use crate::domain::ChatroomId;
use crate::rooms::registry::Registry;
use crate::store::writer::{Outcome, OutcomeSink};

/// How the writer reaches the room.
pub(super) struct RoomOutcomeSink {
    pub(super) id: ChatroomId,
    pub(super) room: Addr<Room>,
    pub(super) registry: Weak<Registry>,
}

impl OutcomeSink for RoomOutcomeSink {
    fn complete(&self, outcomes: Vec<(u64, Outcome)>) {
        if self.room.connected() {
            #[expect(
                clippy::disallowed_methods,
                reason = "an outcome must not be lost, and commands in flight are bounded"
            )]
            self.room.do_send(Committed(outcomes));
        } else if let Some(registry) = self.registry.upgrade() {
            // The room failed while its chats were being stored: its successor delivers them.
            let _ = registry.send(self.id, Command::CatchUp);
        }
    }
}
