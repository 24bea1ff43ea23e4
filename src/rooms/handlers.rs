//! The way into a room: its actor's lifecycle, and how it handles each command.

use std::sync::Arc;
use std::time::Instant;

use actix::fut::{ActorFutureExt, wrap_future};
use actix::{Actor, AsyncContext, Context, Handler};
use tokio::sync::oneshot;

use super::command::{Command, Committed, Mutate, Post, Reply, RoomMessage, TypingChange};
use super::outcome_sink::RoomOutcomeSink;
use super::reply::{answer, refuse};
use super::room::{ROOM_MAILBOX, Room, Stage};
use super::{broadcast, load};
use crate::connections::device::ReplyTo;
use crate::delivery::order::Order;
use crate::domain::ChatterId;
use crate::domain::chatroom::Chatroom;
use crate::problem::Problem;
use crate::store::writer::{Append, Submission, WatermarkUpdate};
use crate::store::{StoreError, writer};

/// The most commands of one room that wait for their commit.
const ROOM_IN_FLIGHT: usize = 2_048;

impl Actor for Room {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let (store, id) = (self.parts.store.clone(), self.id);
        let load = async move { store.chatroom(id).await };
        ctx.spawn(wrap_future::<_, Self>(load).map(|found, room, ctx| room.loaded(found, ctx)));
        ctx.run_interval(self.tick_every(), |room, ctx| room.tick(ctx));
    }
}

impl Handler<RoomMessage> for Room {
    type Result = ();

    fn handle(&mut self, message: RoomMessage, ctx: &mut Self::Context) {
        let RoomMessage { command, guard: _guard } = message;
        self.handle_command(command, ctx);
    }
}

impl Handler<Committed> for Room {
    type Result = ();

    fn handle(&mut self, committed: Committed, ctx: &mut Self::Context) {
        self.committed(committed.0, ctx);
    }
}

impl Room {
    /// The room's row was read, or could not be: handles the commands that waited for it.
    fn loaded(&mut self, found: Result<Option<Chatroom>, StoreError>, ctx: &mut Context<Self>) {
        let stage = match found {
            Ok(Some(chatroom)) => self.open(chatroom),
            Ok(None) => Stage::Closed(Problem::not_found("chatroom")),
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(chatroom_id = self.id.get(), error, "the room could not be read from the database");
                Stage::Closed(Problem::unavailable())
            }
        };
        self.close_if_outdated();
        if matches!(self.stage, Stage::Closed(_)) {
            return self.retire(ctx);
        }
        let Stage::Loading(waiting) = std::mem::replace(&mut self.stage, stage) else { return };
        for command in waiting {
            self.handle_command(command, ctx);
        }
        if matches!(self.stage, Stage::Closed(_)) {
            self.retire(ctx);
        } else {
            self.mark_delivered();
            self.fill_if_needed(ctx);
        }
    }

    fn open(&self, chatroom: Chatroom) -> Stage {
        if let Some(delivered) = self.delivered.get() {
            // The actor before this one failed, perhaps between a commit and its delivery.
            let mut order = Order::new(self.id, delivered);
            order.require_requery();
            return Stage::Open { chatroom, order };
        }
        let waiting = if let Stage::Loading(waiting) = &self.stage { waiting.as_slice() } else { &[] };
        let order = Order::new(self.id, load::first_head(&chatroom, waiting));
        Stage::Open { chatroom, order }
    }

    fn handle_command(&mut self, command: Command, ctx: &mut Context<Self>) {
        self.close_if_outdated();
        match &mut self.stage {
            Stage::Loading(waiting) if waiting.len() < ROOM_MAILBOX => waiting.push(command),
            Stage::Loading(_) => refuse(command, &Problem::busy()),
            Stage::Closed(problem) => {
                refuse(command, problem);
                self.retire(ctx);
            }
            Stage::Open { order, .. } => match command {
                Command::Post(post) => self.post(post, ctx),
                Command::Mutate(mutate) => self.mutate(mutate, ctx),
                Command::Watermark { chatter_id, steps, reply_to } => {
                    self.move_watermark(chatter_id, steps, reply_to);
                }
                Command::Typing { change, reply_to } => self.typing(change, reply_to),
                Command::Relayed(changes) => self.relayed(changes, ctx),
                Command::Delete { by, reply } => self.delete(by, reply, ctx),
                Command::Deleted => {
                    self.stage = Stage::Closed(Problem::not_found("chatroom"));
                    self.retire(ctx);
                }
                Command::CatchUp => {
                    order.require_requery();
                    self.fill_if_needed(ctx);
                }
            },
        }
    }

    fn post(&mut self, post: Post, ctx: &mut Context<Self>) {
        let Post { sender_id, receiver_id, content, client_id, reply } = post;
        let Stage::Open { chatroom, .. } = &self.stage else { return };
        let other = chatroom.other(sender_id);
        if !chatroom.has(sender_id) {
            return answer(reply, Err(Problem::not_found("chatroom")));
        }
        if receiver_id.is_some_and(|given| given != other) {
            let detail = "It must be the other participant of the room, or left out.";
            return answer(reply, Err(Problem::invalid("receiver_id", detail)));
        }
        if !chatroom.with_oneself() {
            self.parts.store.writer().move_watermark(self.id, sender_id, WatermarkUpdate::Sent);
        }
        let append = Append { chatroom_id: self.id, sender_id, receiver_id: other, client_id, content };
        self.submit(writer::Command::Append(append), reply, ctx);
    }

    fn mutate(&mut self, mutate: Mutate, ctx: &mut Context<Self>) {
        let Mutate { by, chat_id, mutation, reply } = mutate;
        let Stage::Open { chatroom, .. } = &self.stage else { return };
        if !chatroom.has(by) {
            return answer(reply, Err(Problem::not_found("chat")));
        }
        let receiver_id = chatroom.other(by);
        let mutate = writer::Mutate { chatroom_id: self.id, chat_id, by, receiver_id, mutation };
        self.submit(writer::Command::Mutate(mutate), reply, ctx);
    }

    /// Hands a command to the store's writer; its outcome comes back as [`Committed`].
    fn submit(&mut self, command: writer::Command, reply: Reply, ctx: &mut Context<Self>) {
        if self.waiting.len() >= ROOM_IN_FLIGHT {
            return answer(reply, Err(Problem::busy()));
        }
        self.touch();
        let sink = self.outcome_sink.get_or_insert_with(|| {
            let room = ctx.address().recipient();
            Arc::new(RoomOutcomeSink { id: self.id, room, host: self.host.clone() })
        });
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        match self.parts.store.writer().submit(Submission { ticket, command, epoch: self.epoch, sink: sink.clone() }) {
            Ok(()) => {
                self.waiting.insert(ticket, reply);
            }
            Err(writer::Full) => answer(reply, Err(Problem::busy())),
        }
    }

    fn move_watermark(
        &mut self,
        chatter_id: ChatterId,
        steps: [Option<WatermarkUpdate>; 2],
        reply_to: Option<ReplyTo>,
    ) {
        let Stage::Open { chatroom, .. } = &self.stage else { return };
        if !chatroom.has(chatter_id) {
            if let Some(reply_to) = reply_to {
                reply_to.refuse(&Problem::not_found("chatroom"));
            }
        } else if !chatroom.with_oneself() {
            self.touch();
            for step in steps.into_iter().flatten() {
                self.parts.store.writer().move_watermark(self.id, chatter_id, step);
                if let WatermarkUpdate::Delivered(seq) = step
                    && let Some(read) = self.sent_chats.delivered(chatter_id, seq)
                {
                    self.parts.store.writer().move_watermark(self.id, chatter_id, WatermarkUpdate::Read(read));
                }
            }
        }
    }

    fn typing(&mut self, change: TypingChange, reply_to: ReplyTo) {
        let Stage::Open { chatroom, .. } = &self.stage else { return };
        let chatter_id = reply_to.connection.chatter_id;
        if !chatroom.has(chatter_id) {
            return reply_to.refuse(&Problem::not_found("chatroom"));
        }
        let now = Instant::now();
        self.active_at = Some(now);
        if !chatroom.with_oneself() && self.typists.update(chatter_id, change, now) {
            broadcast::send_typing(&self.parts.broadcaster, chatroom, chatter_id, change);
        }
    }

    fn delete(&mut self, by: ChatterId, reply: oneshot::Sender<Result<(), Problem>>, ctx: &mut Context<Self>) {
        let Stage::Open { chatroom, .. } = &self.stage else { return };
        if !chatroom.has(by) {
            let _ = reply.send(Err(Problem::not_found("chatroom")));
            return;
        }
        let (store, id) = (self.parts.store.clone(), self.id);
        let delete = async move { store.delete_chatroom(id).await };
        // A room that nobody else uses would retire before the database answers, and the answer with it.
        self.is_deleting = true;
        ctx.spawn(wrap_future::<_, Self>(delete).map(move |deleted, room, ctx| {
            room.is_deleting = false;
            let answer = match deleted {
                Ok(true) => {
                    room.deleted(ctx);
                    Ok(())
                }
                Ok(false) => Err(Problem::not_found("chatroom")),
                Err(error) => Err(Problem::from(error)),
            };
            let _ = reply.send(answer);
        }));
    }

    fn tick(&mut self, ctx: &mut Context<Self>) {
        self.close_if_outdated();
        self.fill_if_needed(ctx);
        self.expire_typing();
        if self.is_idle() {
            self.retire(ctx);
        }
    }

    fn expire_typing(&mut self) {
        let expired = self.typists.remove_expired(Instant::now());
        let Stage::Open { chatroom, .. } = &self.stage else { return };
        for chatter_id in expired {
            broadcast::send_typing(&self.parts.broadcaster, chatroom, chatter_id, TypingChange::Stopped);
        }
    }
}
