//! Edits and deletions on a device socket: their frames name a chat, and only the database knows its room.

use actix::Context;

use super::{Device, Next, Session, spawn};
use crate::connections::device::ReplyTo;
use crate::domain::{ChatId, ChatroomId};
use crate::problem::{Code, Problem};
use crate::rooms::command::{Command, Mutate, Reply};
use crate::store::StoreError;
use crate::store::writer::Mutation;

/// Edits and deletions that may wait for their room to be looked up.
const EDITS_MAX: usize = 256;

/// An edit or deletion whose room is not known yet.
pub(super) struct PendingEdit {
    pub(super) chat_id: ChatId,
    pub(super) mutation: Mutation,
    pub(super) reply_to: ReplyTo,
}

impl Device {
    /// Looks up the room of a chat and hands the change to it: one after the other, so that changes keep their order.
    pub(super) fn edit(&mut self, edit: PendingEdit, ctx: &mut Context<Session>) -> Result<(), Problem> {
        self.parts.check_may_change(self.connection.chatter_id)?;
        if self.edits.len() >= EDITS_MAX {
            return Err(Problem::new(Code::Busy, "Too many changes wait; this one was not made. Try again."));
        }
        self.edits.push_back(edit);
        self.start_next_edit(ctx);
        Ok(())
    }

    fn start_next_edit(&mut self, ctx: &mut Context<Session>) {
        if self.is_editing {
            return;
        }
        let Some(edit) = self.edits.pop_front() else { return };
        self.is_editing = true;
        let (parts, chat_id) = (self.parts.clone(), edit.chat_id);
        let look_up = async move { parts.store.chatroom_of_chat(chat_id).await };
        spawn(ctx, look_up, move |device, found, ctx| {
            device.is_editing = false;
            let is_unavailable = found.is_err();
            device.submit(edit, found);
            if is_unavailable {
                // The edits behind this one do not wait for the same deadline again.
                device.edits.drain(..).for_each(|edit| edit.reply_to.refuse(&Problem::unavailable()));
            }
            device.start_next_edit(ctx);
            Next::Continue
        });
    }

    fn submit(&self, edit: PendingEdit, found: Result<Option<ChatroomId>, StoreError>) {
        let PendingEdit { chat_id, mutation, reply_to } = edit;
        let submitted = match found {
            Ok(Some(room)) => {
                let reply = Reply::Device(reply_to.clone());
                let mutate = Mutate { by: self.connection.chatter_id, chat_id, mutation, reply };
                self.parts.rooms.send(room, Command::Mutate(mutate))
            }
            Ok(None) => Err(Problem::not_found("chat")),
            Err(error) => Err(error.into()),
        };
        if let Err(problem) = submitted {
            reply_to.refuse(&problem);
        }
    }
}
