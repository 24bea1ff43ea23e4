//! One chatroom on this instance: checks who may do what, hands commands to the store's writer without waiting for
//! commits, and gives what was committed, in order, to the sockets of the two.
//!
//! Only rooms store and change chats. A room holds no socket: it finds them by chatter.

pub mod messages;
pub mod state;

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use actix::fut::{ActorFutureExt, wrap_future};
use actix::{Actor, ActorContext, Addr, AsyncContext, Context, Handler};

use super::event::{Event, Kind};
use super::notifier::messages::Unreached;
use super::registry::{Delivered, Registry, RoomParts};
use super::{ROOM_IN_FLIGHT, ROOM_MAILBOX};
use crate::domain::chat::Chat;
use crate::domain::chatroom::Chatroom;
use crate::domain::{ChatroomId, ChatterId, Version};
use crate::error::{Code, Problem};
use crate::store::writer::{self, Append, Home, Move, Outcome, Refusal, Stored, Submission};
use crate::store::{Store, StoreError};
use messages::{Alter, Asked, Command, Post, Reply, Settled};
use state::{Head, Order};

/// How often an idle room looks whether it may retire, and a doubtful one asks the database again.
const TICK: Duration = Duration::from_millis(500);
/// Rows per question when a gap is filled, and the most questions.
const FILL_PAGE: u64 = 500;
const FILL_PAGES_MAX: usize = 40;

/// One chatroom in use on this instance.
pub struct Room {
    id: ChatroomId,
    parts: RoomParts,
    registry: Weak<Registry>,
    delivered: Delivered,
    stage: Stage,
    waiting: HashMap<u64, Reply>,
    next_ticket: u64,
    home: Option<Arc<dyn Home>>,
    busy_at: Instant,
}

enum Stage {
    /// The room's row is being read; commands wait.
    Loading(Vec<Command>),
    Open {
        room: Chatroom,
        order: Order,
    },
    /// There is no such room, or no more.
    Gone,
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
            busy_at: Instant::now(),
        }
    }

    fn loaded(&mut self, found: Result<Option<Chatroom>, StoreError>, ctx: &mut Context<Self>) {
        let (stage, refusal) = match found {
            Ok(Some(room)) => {
                let known = self.delivered.get();
                let mut order = Order::new(known.unwrap_or(Head { version: room.version, seq: room.last_seq }));
                if known.is_some() {
                    order.doubt();
                }
                (Stage::Open { room, order }, None)
            }
            Ok(None) => (Stage::Gone, Some(Problem::not_found("chatroom"))),
            Err(error) => {
                tracing::warn!(
                    chatroom_id = self.id,
                    error = &error as &dyn std::error::Error,
                    "a room could not be read"
                );
                (Stage::Gone, Some(Problem::unavailable()))
            }
        };
        let Stage::Loading(stashed) = std::mem::replace(&mut self.stage, stage) else { return };
        for command in stashed {
            match &refusal {
                Some(problem) => refuse(command, problem),
                None => self.carry_out(command, ctx),
            }
        }
        if matches!(self.stage, Stage::Gone) {
            self.retire(ctx);
        } else {
            self.mark_delivered();
            self.fill_if_needed(ctx);
        }
    }

    fn carry_out(&mut self, command: Command, ctx: &mut Context<Self>) {
        self.busy_at = Instant::now();
        match &mut self.stage {
            Stage::Loading(stashed) if stashed.len() < ROOM_MAILBOX => stashed.push(command),
            Stage::Loading(_) => refuse(command, &busy()),
            Stage::Gone => {
                refuse(command, &Problem::not_found("chatroom"));
                self.retire(ctx);
            }
            Stage::Open { room, order } => match command {
                Command::Post(post) => self.post(post, ctx),
                Command::Alter(alter) => self.alter(alter, ctx),
                Command::Watermark { chatter_id, step } => {
                    if room.has(chatter_id) && !room.with_oneself() {
                        self.parts.store.writer().move_watermark(self.id, chatter_id, step);
                    }
                }
                Command::Delete { by, reply } => self.delete(by, reply, ctx),
                Command::Deleted => self.gone(ctx),
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
            self.parts.store.writer().move_watermark(self.id, sender_id, Move::Sent);
        }
        let append = Append { chatroom_id: self.id, sender_id, receiver_id: other, client_id, content };
        self.submit(writer::Command::Append(append), reply, ctx);
    }

    fn alter(&mut self, alter: Alter, ctx: &mut Context<Self>) {
        let Alter { by, chat_id, change, reply } = alter;
        let Stage::Open { room, .. } = &self.stage else { return };
        if !room.has(by) {
            return answer(reply, Err(Problem::not_found("chat")));
        }
        let alter = writer::Alter { chatroom_id: self.id, chat_id, by, receiver_id: room.other(by), change };
        self.submit(writer::Command::Alter(alter), reply, ctx);
    }

    fn submit(&mut self, command: writer::Command, reply: Reply, ctx: &mut Context<Self>) {
        if self.waiting.len() >= ROOM_IN_FLIGHT {
            return answer(reply, Err(busy()));
        }
        let home = self.home.get_or_insert_with(|| {
            Arc::new(RoomHome { id: self.id, room: ctx.address(), registry: self.registry.clone() })
        });
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        match self.parts.store.writer().submit(Submission { ticket, command, home: home.clone() }) {
            Ok(()) => drop(self.waiting.insert(ticket, reply)),
            Err(writer::Full) => answer(reply, Err(busy())),
        }
    }

    /// What was committed: events to the sockets first, then the answers, so that an echo comes before a REST reply's use.
    fn settled(&mut self, outcomes: Vec<(u64, Outcome)>, ctx: &mut Context<Self>) {
        self.busy_at = Instant::now();
        let mut events = Vec::with_capacity(outcomes.len());
        let mut unknown = false;
        let mut push_owed = false;
        let mut answers = Vec::with_capacity(outcomes.len());
        for (ticket, outcome) in outcomes {
            match &outcome {
                Ok(Stored::New { chat, push_owed: owed }) => {
                    push_owed |= owed;
                    events.push(Event::new(Kind::Created, chat.clone()));
                }
                Ok(Stored::Edited(chat)) => events.push(Event::new(Kind::Edited, chat.clone())),
                Ok(Stored::Deleted(chat)) => events.push(Event::new(Kind::Deleted, chat.clone())),
                Ok(Stored::Again(_)) => {}
                Err(refusal) => unknown |= matches!(refusal, Refusal::Unavailable | Refusal::Failed),
            }
            answers.extend(self.waiting.remove(&ticket).map(|reply| (reply, outcome)));
        }
        if let Stage::Open { order, .. } = &mut self.stage {
            if unknown {
                order.doubt();
            }
            let ready = order.take(events);
            self.deliver(&ready, push_owed);
        }
        for (reply, outcome) in answers {
            answer(reply, outcome.map_err(problem_of));
        }
        self.fill_if_needed(ctx);
    }

    fn deliver(&self, events: &[Event], push_owed: bool) {
        let Stage::Open { room, order } = &self.stage else { return };
        if events.is_empty() {
            return;
        }
        let deliver_to = |chatter: ChatterId| {
            self.parts.sessions.each(chatter, |link| {
                if link.chatroom_id == self.id {
                    link.deliver(events);
                }
            });
        };
        deliver_to(room.owner_id);
        if !room.with_oneself() {
            deliver_to(room.opponent_id);
        }
        self.delivered.set(order.head());
        if push_owed {
            self.nudge_notifier(events);
        }
    }

    /// Receivers without a live socket get their push at once instead of after the grace.
    fn nudge_notifier(&self, events: &[Event]) {
        let mut receivers: Vec<ChatterId> = events
            .iter()
            .filter(|e| e.kind == Kind::Created && e.chat.sender_id != e.chat.receiver_id)
            .map(|e| e.chat.receiver_id)
            .collect();
        receivers.sort_unstable();
        receivers.dedup();
        for receiver_id in receivers {
            if !self.parts.sessions.is_here(receiver_id) {
                self.parts.notifier.nudge(Unreached { chatroom_id: self.id, receiver_id });
            }
        }
    }

    fn fill_if_needed(&mut self, ctx: &mut Context<Self>) {
        let Stage::Open { room, order } = &mut self.stage else { return };
        if !order.begin_fill() {
            return;
        }
        let (store, room, since) = (self.parts.store.clone(), room.clone(), order.head().version);
        let fill = async move { read_changes(&store, &room, since).await };
        ctx.spawn(wrap_future::<_, Self>(fill).map(|filled, room, ctx| room.filled(filled, ctx)));
    }

    fn filled(&mut self, filled: Result<Option<(Vec<Chat>, Version)>, StoreError>, ctx: &mut Context<Self>) {
        let Stage::Open { order, .. } = &mut self.stage else { return };
        match filled {
            Ok(Some((rows, version))) => {
                let ready = order.filled(rows, version);
                self.deliver(&ready, false);
                self.mark_delivered();
                self.fill_if_needed(ctx);
            }
            Ok(None) => self.gone(ctx),
            // The tick asks again.
            Err(_) => order.fill_failed(),
        }
    }

    fn mark_delivered(&self) {
        if let Stage::Open { order, .. } = &self.stage {
            self.delivered.set(order.head());
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
                Ok(true) => Ok(room.gone(ctx)),
                Ok(false) => Err(Problem::not_found("chatroom")),
                Err(error) => Err(problem_of_store(&error)),
            };
            let _ = reply.send(answer);
        }));
    }

    fn gone(&mut self, ctx: &mut Context<Self>) {
        if let Stage::Open { room, .. } = std::mem::replace(&mut self.stage, Stage::Gone) {
            self.parts.sessions.close_room(self.id, [room.owner_id, room.opponent_id]);
        }
        self.retire(ctx);
    }

    fn tick(&mut self, ctx: &mut Context<Self>) {
        self.fill_if_needed(ctx);
        let quiet = match &self.stage {
            Stage::Open { order, .. } => order.is_quiet() && self.busy_at.elapsed() >= self.parts.idle,
            Stage::Gone => true,
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
        ctx.set_mailbox_capacity(ROOM_MAILBOX);
        let (store, id) = (self.parts.store.clone(), self.id);
        let load = async move { store.chatroom(id).await };
        ctx.spawn(wrap_future::<_, Self>(load).map(|found, room, ctx| room.loaded(found, ctx)));
        ctx.run_interval(TICK, |room, ctx| room.tick(ctx));
    }
}

impl Handler<Asked> for Room {
    type Result = ();

    fn handle(&mut self, asked: Asked, ctx: &mut Self::Context) {
        let Asked { command, held } = asked;
        self.carry_out(command, ctx);
        drop(held);
    }
}

impl Handler<Settled> for Room {
    type Result = ();

    fn handle(&mut self, settled: Settled, ctx: &mut Self::Context) {
        self.settled(settled.0, ctx);
    }
}

/// How the writer reaches the room.
struct RoomHome {
    id: ChatroomId,
    room: Addr<Room>,
    registry: Weak<Registry>,
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

/// Everything above a version, from one page after the other.
async fn read_changes(
    store: &Store,
    room: &Chatroom,
    since: Version,
) -> Result<Option<(Vec<Chat>, Version)>, StoreError> {
    let mut rows = Vec::new();
    let mut version = since;
    for _ in 0..FILL_PAGES_MAX {
        let Some(page) = store.changes(room, version, FILL_PAGE).await? else { return Ok(None) };
        rows.extend(page.chats);
        version = page.version;
        if !page.has_more {
            break;
        }
    }
    Ok(Some((rows, version)))
}

fn refuse(command: Command, problem: &Problem) {
    match command {
        Command::Post(Post { reply, .. }) | Command::Alter(Alter { reply, .. }) => answer(reply, Err(problem.clone())),
        Command::Delete { reply, .. } => drop(reply.send(Err(problem.clone()))),
        Command::Watermark { .. } | Command::Deleted | Command::CatchUp => {}
    }
}

fn answer(reply: Reply, outcome: Result<Stored, Problem>) {
    match (reply, outcome) {
        (Reply::Rest(reply), outcome) => drop(reply.send(outcome)),
        (Reply::Link(link, _), Ok(Stored::Again(chat))) => link.again(&chat),
        (Reply::Link(..), Ok(_)) => {}
        (Reply::Link(link, client_id), Err(problem)) => link.refuse(&problem, client_id.as_deref()),
    }
}

fn busy() -> Problem {
    Problem::new(Code::Busy, "Too much is waiting to be stored; this was not. Try again, with the same client_id.")
}

fn problem_of(refusal: Refusal) -> Problem {
    match refusal {
        Refusal::NoRoom => Problem::not_found("chatroom"),
        Refusal::Closed => Problem::new(
            Code::ReceiverDeleted,
            "The other person has deleted their account; the history stays readable.",
        ),
        Refusal::ClientIdConflict => Problem::new(
            Code::ClientIdConflict,
            "You have used this client_id for another content or room; make a new one for a new chat.",
        ),
        Refusal::NoChat => Problem::not_found("chat"),
        Refusal::NotSender => Problem::new(Code::NotYours, "Only the sender of a chat can edit or delete it."),
        Refusal::Unavailable => Problem::unavailable(),
        Refusal::Failed => Problem::new(Code::Internal, "The chat could not be stored; the operator's log says why."),
    }
}

fn problem_of_store(error: &StoreError) -> Problem {
    match error {
        StoreError::Unavailable(_) => Problem::unavailable(),
        StoreError::Failed(_) => {
            Problem::new(Code::Internal, "The room could not be deleted; the operator's log says why.")
        }
    }
}
