//! Edits and deletions on a device socket: their frames name a chat, and the room is the database's to know.

use actix::fut::{ActorFutureExt, wrap_future};
use actix::{AsyncContext, Context};

use super::Session;
use crate::connections::connection::ReplyTo;
use crate::domain::ChatId;
use crate::problem::{Code, Problem};
use crate::rooms::command::{Command, Mutate, Reply};
use crate::store::writer::Mutation;

/// Edits and deletions that wait for their room to be looked up.
const ALTERS_MAX: usize = 256;

/// An edit or deletion whose room is not known yet.
pub(super) struct PendingEdit {
    pub(super) chat_id: ChatId,
    pub(super) mutation: Mutation,
    pub(super) asker: ReplyTo,
}

impl Session {
    /// Looks up the room of a chat and hands the change to it: one after the other, so that they keep their order.
    pub(super) fn alter(&mut self, wish: PendingEdit, ctx: &mut Context<Self>) -> Result<(), Problem> {
        self.may_change()?;
        let Some(device) = &mut self.device else { return Ok(()) };
        if device.alters.len() >= ALTERS_MAX {
            return Err(Problem::new(Code::Busy, "Too many changes wait; this one was not made. Try again."));
        }
        device.alters.push_back(wish);
        self.alter_next(ctx);
        Ok(())
    }

    fn alter_next(&mut self, ctx: &mut Context<Self>) {
        let Some(device) = self.device.as_mut().filter(|device| !device.altering) else { return };
        let Some(PendingEdit { chat_id, mutation, asker }) = device.alters.pop_front() else { return };
        device.altering = true;
        let store = self.parts.store.clone();
        let look_up = async move { store.chatroom_of_chat(chat_id).await };
        ctx.spawn(wrap_future::<_, Self>(look_up).map(move |found, session, ctx| {
            let unavailable = found.is_err();
            let told = match found {
                Ok(Some(room)) => {
                    let reply = Reply::Device(asker.clone());
                    let mutate = Mutate { by: session.connection.chatter_id, chat_id, mutation, reply };
                    session.parts.registry.send(room, Command::Mutate(mutate))
                }
                Ok(None) => Err(Problem::not_found("chat")),
                Err(error) => Err(error.into()),
            };
            if let Err(problem) = told {
                problem.log_cause();
                asker.refuse(&problem);
            }
            if let Some(device) = &mut session.device {
                device.altering = false;
                if unavailable {
                    // Those behind shall not each wait for as long again.
                    device.alters.drain(..).for_each(|wish| wish.asker.refuse(&Problem::unavailable()));
                }
            }
            session.alter_next(ctx);
        }));
    }
}
