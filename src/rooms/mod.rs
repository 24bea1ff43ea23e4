//! One chatroom on this instance: checks who may do what, hands commands to the store's writer without waiting for
//! commits, and gives what was committed, in order, to the sockets of the two.
//!
//! Only rooms store and change chats. A room holds no socket: it finds them by chatter.

pub mod command;
mod commit;
mod load;
mod outcome_sink;
mod publish;
pub mod registry;
mod reply;
mod typing;

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use actix::dev::channel::channel;
use actix::fut::{ActorFutureExt, wrap_future};
use actix::{Actor, ActorContext, Addr, ArbiterHandle, AsyncContext, Context, Handler};

use crate::delivery::order::Order;
use crate::domain::chatroom::Chatroom;
use crate::domain::{ChatroomId, ChatterId};
use crate::problem::Problem;
use crate::rooms::registry::{Delivered, Registry, RoomParts};
use crate::store::writer;
use crate::store::writer::{Append, OutcomeSink, Submission, WatermarkUpdate};
use command::{Command, Committed, Mutate, Post, Reply, RoomMessage};
use outcome_sink::RoomOutcomeSink;
use reply::{answer, refuse};
use typing::Typing;

/// A room's mailbox: a burst of every pipelining client in it, before the first is looked at.
pub const ROOM_MAILBOX: usize = 512;
/// Commands of one room that wait for their commit.
pub const ROOM_IN_FLIGHT: usize = 2_048;
/// How often at most a room looks whether it may retire, and a doubtful one asks the database again.
const TICK_MAX: Duration = Duration::from_millis(500);

/// One chatroom in use on this instance.
pub struct Room {
    id: ChatroomId,
    parts: RoomParts,
    registry: Weak<Registry>,
    delivered: Delivered,
    stage: Stage,
    waiting: HashMap<u64, Reply>,
    next_ticket: u64,
    home: Option<Arc<dyn OutcomeSink>>,
    /// When somebody who is in the room last wanted something; never, for one that only strangers asked for.
    busy_at: Option<Instant>,
    typing: Typing,
    /// A timer runs for events that are out of turn.
    patient: bool,
}

enum Stage {
    /// The room's row is being read; commands wait.
    Loading(Vec<Command>),
    Open {
        room: Chatroom,
        order: Order,
    },
    /// There is no such room, or no more, or it could not be read: why commands are refused.
    Gone(Problem),
}

impl Room {
    /// A room that reads its row first. `delivered` is where a failed actor of the same room had got to.
    #[must_use]
    pub fn new(id: ChatroomId, parts: RoomParts, registry: Weak<Registry>, delivered: Delivered) -> Self {
        Self {
            id,
            parts,
            registry,
            delivered,
            stage: Stage::Loading(Vec::new()),
            waiting: HashMap::new(),
            next_ticket: 0,
            home: None,
            busy_at: None,
            typing: Typing::default(),
            patient: false,
        }
    }

    /// Starts a room on that thread; its mailbox has its size from the first message on.
    #[must_use]
    pub fn launch(thread: &ArbiterHandle, make: impl FnOnce() -> Self + Send + 'static) -> Addr<Self> {
        let (sender, receiver) = channel(ROOM_MAILBOX);
        thread.spawn_fn(move || drop(Context::with_receiver(receiver).run(make())));
        Addr::new(sender)
    }

    fn carry_out(&mut self, command: Command, ctx: &mut Context<Self>) {
        match &mut self.stage {
            Stage::Loading(stashed) if stashed.len() < ROOM_MAILBOX => stashed.push(command),
            Stage::Loading(_) => refuse(command, &Problem::busy()),
            Stage::Gone(problem) => {
                refuse(command, problem);
                self.retire(ctx);
            }
            Stage::Open { room, order } => match command {
                Command::Post(post) => self.post(post, ctx),
                Command::Mutate(mutate) => self.mutate(mutate, ctx),
                Command::Watermark { chatter_id, steps, asker } => {
                    if !room.has(chatter_id) {
                        if let Some(asker) = asker {
                            asker.refuse(&Problem::not_found("chatroom"));
                        }
                    } else if !room.with_oneself() {
                        self.busy_at = Some(Instant::now());
                        for step in steps.into_iter().flatten() {
                            self.parts.store.writer().move_watermark(self.id, chatter_id, step);
                        }
                    }
                }
                Command::Typing { typing, asker } => self.types(typing, asker),
                Command::Relayed(changes) => self.relayed(changes, ctx),
                Command::Delete { by, reply } => self.delete(by, reply, ctx),
                Command::Deleted => {
                    self.stage = Stage::Gone(Problem::not_found("chatroom"));
                    self.retire(ctx);
                }
                #[cfg(test)]
                Command::Panic => panic!("a room fails on purpose"),
                Command::CatchUp => {
                    order.doubt();
                    self.fill_if_needed(ctx);
                }
            },
        }
    }

    fn post(&mut self, post: Post, ctx: &mut Context<Self>) {
        let Post { sender_id, receiver_id, content, client_id, reply } = post;
        let Stage::Open { room, .. } = &self.stage else { return };
        let other = room.other(sender_id);
        if !room.has(sender_id) {
            return answer(reply, Err(Problem::not_found("chatroom")));
        }
        if receiver_id.is_some_and(|given| given != other) {
            return answer(
                reply,
                Err(Problem::invalid("receiver_id", "It must be the other participant of the room, or left out.")),
            );
        }
        if !room.with_oneself() {
            self.parts.store.writer().move_watermark(self.id, sender_id, WatermarkUpdate::Sent);
        }
        let append = Append { chatroom_id: self.id, sender_id, receiver_id: other, client_id, content };
        self.submit(writer::Command::Append(append), reply, ctx);
    }

    fn mutate(&mut self, mutate: Mutate, ctx: &mut Context<Self>) {
        let Mutate { by, chat_id, mutation, reply } = mutate;
        let Stage::Open { room, .. } = &self.stage else { return };
        if !room.has(by) {
            return answer(reply, Err(Problem::not_found("chat")));
        }
        let mutate = writer::Mutate { chatroom_id: self.id, chat_id, by, receiver_id: room.other(by), mutation };
        self.submit(writer::Command::Mutate(mutate), reply, ctx);
    }

    fn submit(&mut self, command: writer::Command, reply: Reply, ctx: &mut Context<Self>) {
        if self.waiting.len() >= ROOM_IN_FLIGHT {
            return answer(reply, Err(Problem::busy()));
        }
        self.busy_at = Some(Instant::now());
        let home = self.home.get_or_insert_with(|| {
            Arc::new(RoomOutcomeSink { id: self.id, room: ctx.address(), registry: self.registry.clone() })
        });
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        match self.parts.store.writer().submit(Submission { ticket, command, sink: home.clone() }) {
            Ok(()) => drop(self.waiting.insert(ticket, reply)),
            Err(full) => answer(reply, Err(full.into())),
        }
    }

    fn delete(
        &mut self,
        by: ChatterId,
        reply: tokio::sync::oneshot::Sender<Result<(), Problem>>,
        ctx: &mut Context<Self>,
    ) {
        let Stage::Open { room, .. } = &self.stage else { return };
        if !room.has(by) {
            let _ = reply.send(Err(Problem::not_found("chatroom")));
            return;
        }
        let (store, id) = (self.parts.store.clone(), self.id);
        let delete = async move { store.delete_chatroom(id).await };
        ctx.spawn(wrap_future::<_, Self>(delete).map(move |deleted, room, ctx| {
            let answer = match deleted {
                Ok(true) => {
                    room.gone(ctx);
                    Ok(())
                }
                Ok(false) => Err(Problem::not_found("chatroom")),
                Err(error) => Err(error.into()),
            };
            let _ = reply.send(answer);
        }));
    }

    fn gone(&mut self, ctx: &mut Context<Self>) {
        let gone = Stage::Gone(Problem::not_found("chatroom"));
        if let Stage::Open { room, .. } = std::mem::replace(&mut self.stage, gone) {
            self.parts.connections.close_room(self.id, [room.owner_id, room.opponent_id]);
        }
        self.retire(ctx);
    }

    fn tick(&mut self, ctx: &mut Context<Self>) {
        self.fill_if_needed(ctx);
        self.end_stale_typing();
        let quiet = match &self.stage {
            Stage::Open { order, .. } => {
                order.is_quiet()
                    && self.typing.is_empty()
                    && self.busy_at.is_none_or(|at| at.elapsed() >= self.parts.idle)
            }
            Stage::Gone(_) => true,
            Stage::Loading(_) => false,
        };
        if quiet {
            self.retire(ctx);
        }
    }

    /// Stops, unless a commit is awaited or somebody has just told the room something.
    fn retire(&mut self, ctx: &mut Context<Self>) {
        let retired = |registry: Arc<Registry>| registry.retire(self.id, &self.delivered);
        if self.waiting.is_empty() && self.registry.upgrade().is_none_or(retired) {
            ctx.stop();
        }
    }
}

impl Actor for Room {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let (store, id) = (self.parts.store.clone(), self.id);
        let load = async move { store.chatroom(id).await };
        ctx.spawn(wrap_future::<_, Self>(load).map(|found, room, ctx| room.loaded(found, ctx)));
        ctx.run_interval(self.parts.idle.clamp(Duration::from_millis(1), TICK_MAX), |room, ctx| room.tick(ctx));
    }
}

impl Handler<RoomMessage> for Room {
    type Result = ();

    fn handle(&mut self, asked: RoomMessage, ctx: &mut Self::Context) {
        let RoomMessage { command, guard } = asked;
        self.carry_out(command, ctx);
        drop(guard);
    }
}

impl Handler<Committed> for Room {
    type Result = ();

    fn handle(&mut self, settled: Committed, ctx: &mut Self::Context) {
        self.settled(settled.0, ctx);
    }
}
