//! How the store's writer reaches a room with what became of its commands.

use std::sync::Weak;

use actix::Addr;

use super::Room;
use super::command::{Command, Settled};
use crate::domain::ChatroomId;
use crate::rooms::registry::Registry;
use crate::store::writer::{Home, Outcome};

/// How the writer reaches the room.
pub(super) struct RoomHome {
    pub(super) id: ChatroomId,
    pub(super) room: Addr<Room>,
    pub(super) registry: Weak<Registry>,
}

impl Home for RoomHome {
    fn settled(&self, outcomes: Vec<(u64, Outcome)>) {
        if self.room.connected() {
            #[expect(
                clippy::disallowed_methods,
                reason = "an outcome must not be lost, and commands in flight are bounded"
            )]
            self.room.do_send(Settled(outcomes));
        } else if let Some(registry) = self.registry.upgrade() {
            // The room failed while its chats were being stored: its successor delivers them.
            let _ = registry.tell(self.id, Command::CatchUp);
        }
    }
}
