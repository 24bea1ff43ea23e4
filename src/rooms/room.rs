//! A room's state, and how it starts and stops.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use actix::dev::channel::channel;
use actix::{ActorContext, Addr, ArbiterHandle, Context};

use super::broadcast;
use super::command::{Command, Reply};
use super::host::{Delivered, RoomHost, RoomParts};
use super::reply::refuse;
use super::sent_chats::SentChats;
use super::typing::Typists;
use crate::broker::Broker;
use crate::connections::registry::ConnectionRegistry;
use crate::delivery::order::Order;
use crate::domain::ChatroomId;
use crate::domain::chatroom::Chatroom;
use crate::metrics::DeliveryMetrics;
use crate::problem::Problem;
use crate::store::epoch::EpochNumber;
use crate::store::writer::OutcomeSink;

/// The size of a room's mailbox: it takes a burst of every pipelining client in the room.
pub(super) const ROOM_MAILBOX: usize = 512;
/// The longest time between two checks of whether a room may retire or has to query the database again.
const TICK_MAX: Duration = Duration::from_millis(500);

/// The actor of one chatroom in use on this instance.
pub(crate) struct Room {
    pub(super) id: ChatroomId,
    pub(super) parts: RoomParts,
    pub(super) host: Weak<dyn RoomHost>,
    pub(super) delivered: Delivered,
    /// The epoch in which the room was started. In another one its row may be that of others.
    pub(super) epoch: EpochNumber,
    pub(super) stage: Stage,
    /// The replies of the commands that wait for their commit, by ticket.
    pub(super) waiting: HashMap<u64, Reply>,
    pub(super) next_ticket: u64,
    pub(super) outcome_sink: Option<Arc<dyn OutcomeSink>>,
    /// The last activity of a participant or of the store; none while only others sent commands.
    pub(super) active_at: Option<Instant>,
    pub(super) typists: Typists,
    /// The room's rows are being deleted.
    pub(super) is_deleting: bool,
    /// The chats behind which confirmations of their senders count as read.
    pub(super) sent_chats: SentChats,
    /// A timer runs, after which the room stops waiting for the events that others overtook.
    pub(super) gap_timer_runs: bool,
}

/// How far a room has got with its row.
pub(super) enum Stage {
    /// The room's row is being read; these commands wait for it.
    Loading(Vec<Command>),
    Open {
        chatroom: Chatroom,
        order: Order,
    },
    /// The room does not exist, was deleted, or could not be read: commands are refused with this problem.
    Closed(Problem),
}

impl Room {
    /// A room that will read its row first. `delivered` holds the head of a failed actor of the same room, if any.
    #[must_use]
    pub(crate) fn new(id: ChatroomId, parts: RoomParts, host: Weak<dyn RoomHost>, delivered: Delivered) -> Self {
        let epoch = parts.store.epochs().number();
        Self {
            id,
            parts,
            host,
            delivered,
            epoch,
            stage: Stage::Loading(Vec::new()),
            waiting: HashMap::new(),
            next_ticket: 0,
            outcome_sink: None,
            active_at: None,
            typists: Typists::default(),
            is_deleting: false,
            sent_chats: SentChats::default(),
            gap_timer_runs: false,
        }
    }

    /// Starts a room on that thread. Its mailbox has its size from the first message on.
    #[must_use]
    pub(crate) fn launch(thread: &ArbiterHandle, make: impl FnOnce() -> Self + Send + 'static) -> Addr<Self> {
        let (sender, receiver) = channel(ROOM_MAILBOX);
        thread.spawn_fn(move || {
            Context::with_receiver(receiver).run(make());
        });
        Addr::new(sender)
    }

    pub(super) fn connections(&self) -> &ConnectionRegistry {
        &self.parts.connections
    }

    pub(super) fn broker(&self) -> &dyn Broker {
        self.parts.broker.as_ref()
    }

    pub(super) fn metrics(&self) -> &DeliveryMetrics {
        &self.parts.metrics
    }

    /// The time between two ticks.
    pub(super) fn tick_every(&self) -> Duration {
        self.parts.idle.clamp(Duration::from_millis(1), TICK_MAX)
    }

    /// Records that the room is in use.
    pub(super) fn touch(&mut self) {
        self.active_at = Some(Instant::now());
    }

    /// Records the delivered head, for a successor of this actor.
    pub(super) fn mark_delivered(&self) {
        if let Stage::Open { order, .. } = &self.stage {
            self.delivered.set(order.head());
        }
    }

    /// The room's rows no longer exist: closes the room on all instances.
    pub(super) fn deleted(&mut self, ctx: &mut Context<Self>) {
        let closed = Stage::Closed(Problem::not_found("chatroom"));
        if let Stage::Open { chatroom, .. } = std::mem::replace(&mut self.stage, closed) {
            broadcast::close(&self.parts.broadcaster, &chatroom);
        }
        self.retire(ctx);
    }

    /// Closes a room of an earlier epoch: its commands are refused, and the next one starts the room anew.
    pub(super) fn close_if_outdated(&mut self) {
        if self.epoch != self.parts.store.epochs().number() && !matches!(self.stage, Stage::Closed(_)) {
            let closed = Stage::Closed(Problem::unavailable());
            if let Stage::Loading(waiting) = std::mem::replace(&mut self.stage, closed) {
                waiting.into_iter().for_each(|command| refuse(command, &Problem::unavailable()));
            }
        }
    }

    /// Whether nothing keeps the room in use.
    pub(super) fn is_idle(&self) -> bool {
        match &self.stage {
            Stage::Open { order, .. } => {
                order.is_quiet()
                    && !self.is_deleting
                    && self.typists.is_empty()
                    && self.active_at.is_none_or(|at| at.elapsed() >= self.parts.idle)
            }
            Stage::Closed(_) => true,
            Stage::Loading(_) => false,
        }
    }

    /// Stops the actor, unless a reply waits for its commit or a command is in flight.
    pub(super) fn retire(&mut self, ctx: &mut Context<Self>) {
        let retired = |host: Arc<dyn RoomHost>| host.retire(self.id, &self.delivered);
        if self.waiting.is_empty() && self.host.upgrade().is_none_or(retired) {
            ctx.stop();
        }
    }
}
