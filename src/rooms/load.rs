//! How a room begins: its row, and where its order starts.

use actix::Context;

use super::command::Command;
use super::{Room, Stage};
use crate::delivery::order::{Head, Order};
use crate::domain::Seq;
use crate::domain::chat::ChangeKind;
use crate::domain::chatroom::Chatroom;
use crate::problem::Problem;
use crate::store::StoreError;

/// An event of another instance that is older than so many changes does not set a room back.
const REWIND_MAX: i64 = 1_000;

impl Room {
    /// The room's row was read, or could not be: what has waited is carried out.
    pub(super) fn loaded(&mut self, found: Result<Option<Chatroom>, StoreError>, ctx: &mut Context<Self>) {
        let stage = match found {
            Ok(Some(room)) => {
                let known = self.delivered.get();
                let mut order = Order::new(self.id, known.unwrap_or_else(|| self.begin(&room)));
                if known.is_some() {
                    order.doubt();
                }
                Stage::Open { room, order }
            }
            Ok(None) => Stage::Gone(Problem::not_found("chatroom")),
            Err(error) => {
                tracing::warn!(
                    chatroom_id = self.id.get(),
                    error = &error as &dyn std::error::Error,
                    "a room could not be read"
                );
                Stage::Gone(Problem::unavailable())
            }
        };
        let Stage::Loading(stashed) = std::mem::replace(&mut self.stage, stage) else { return };
        for command in stashed {
            self.carry_out(command, ctx);
        }
        if matches!(self.stage, Stage::Gone(_)) {
            self.retire(ctx);
        } else {
            self.mark_delivered();
            self.fill_if_needed(ctx);
        }
    }

    /// Where the order of a room begins that nobody had need of until now. One that an event of another instance has woken
    /// begins before that: the sockets know themselves what they have had.
    fn begin(&self, room: &Chatroom) -> Head {
        let mut head = Head { version: room.version, seq: room.last_seq };
        if let Stage::Loading(stashed) = &self.stage {
            for command in stashed {
                if let Command::Relayed(changes) = command
                    && changes.from < head.version
                    && changes.from + REWIND_MAX >= room.version
                {
                    let created = changes.changes.iter().filter(|(kind, _)| *kind == ChangeKind::Created);
                    let first = created.map(|(_, chat)| chat.seq - 1).min().unwrap_or(head.seq);
                    // Each change since may have been a new chat.
                    let least = room.last_seq - (room.version - changes.from);
                    head = Head { version: changes.from, seq: first.min(head.seq).min(least).max(Seq::ZERO) };
                }
            }
        }
        head
    }
}
