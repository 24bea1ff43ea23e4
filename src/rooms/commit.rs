//! The way out of a room: committed changes to the sockets of the two, in order, gaps filled from the database.

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::fut::{ActorFutureExt, wrap_future};
use actix::{AsyncContext, Context};

use super::command::Reply;
use super::reply::answer;
use super::{Room, Stage, publish};
use crate::broker::{Changes, ClusterMessage, State};
use crate::delivery::event::{Batch, Event};
use crate::domain::chat::{ChangeKind as Kind, Chat};
use crate::domain::chatroom::Chatroom;
use crate::domain::{ChatterId, Version};
use crate::problem::Problem;
use crate::push::notifier::messages::PushHint;
use crate::store::writer::{Outcome, Refusal, Stored};
use crate::store::{Store, StoreError};

/// How long an event may wait for those before it, which other instances have stored.
const PATIENCE: Duration = Duration::from_millis(50);
/// Rows per question when a gap is filled, and the most questions.
const FILL_PAGE: u64 = 500;
const FILL_PAGES_MAX: usize = 40;

impl Room {
    /// What was committed: events to the sockets first, then the answers, so that an echo comes before a REST reply's use.
    pub(super) fn settled(&mut self, outcomes: Vec<(u64, Outcome)>, ctx: &mut Context<Self>) {
        self.busy_at = Some(Instant::now());
        let mut events = Vec::with_capacity(outcomes.len());
        let mut answers = Vec::new();
        let (mut unknown, mut push_pending, mut retried, mut again) = (false, false, Version::ZERO, Vec::new());
        for (ticket, outcome) in outcomes {
            let reply = self.waiting.remove(&ticket);
            // A seed socket's answer is the event itself; the others get the chat beside it.
            let told = match (&reply, &outcome) {
                (Some(Reply::Chatroom(..)), Ok(Stored::New { .. } | Stored::Edited(_) | Stored::Deleted(_))) => None,
                _ => Some(outcome.clone()),
            };
            match outcome {
                Ok(Stored::New { chat, push_pending: pending }) => {
                    push_pending |= pending;
                    events.push(Event::new(Kind::Created, chat));
                }
                Ok(Stored::Edited(chat)) => events.push(Event::new(Kind::Edited, chat)),
                Ok(Stored::Deleted(chat)) => events.push(Event::new(Kind::Deleted, chat)),
                // The try before this one may have been stored without being delivered, here or elsewhere.
                Ok(Stored::Again(chat)) => {
                    retried = retried.max(chat.version);
                    again.push(chat);
                }
                Err(refusal) => unknown |= matches!(refusal, Refusal::Unavailable | Refusal::Failed),
            }
            answers.extend(reply.zip(told));
        }
        if let Stage::Open { room, order } = &mut self.stage {
            let broker = self.parts.connections.broker();
            if broker.state() != State::Single {
                let told = publish::runs(room, &events, &again);
                self.parts.connections.metrics().changes_published.add(told.iter().map(|run| run.changes.len()).sum());
                told.into_iter().for_each(|changes| broker.publish(ClusterMessage::Changes(changes)));
            }
            let ready = Arc::new(order.take(events));
            let head = order.head().version;
            let in_doubt = unknown || retried > head;
            if in_doubt {
                order.doubt();
            }
            let both = [room.owner_id, room.opponent_id];
            self.chats_end_typing(&ready.events);
            self.deliver(&ready, push_pending);
            if retried > Version::ZERO && !in_doubt {
                // The room begins where the database is; a socket may not have got that far.
                self.parts.connections.look(self.id, both, head);
            }
        }
        for (reply, outcome) in answers {
            answer(reply, outcome.map_err(Problem::from));
        }
        self.fill_if_needed(ctx);
    }

    fn deliver(&self, batch: &Arc<Batch>, push_pending: bool) {
        let Stage::Open { room, order } = &self.stage else { return };
        if batch.from == batch.to {
            return;
        }
        let deliver_to =
            |chatter: ChatterId| self.parts.connections.for_each(chatter, |connection| connection.deliver(batch));
        deliver_to(room.owner_id);
        if !room.with_oneself() {
            deliver_to(room.opponent_id);
        }
        self.delivered.set(order.head());
        if push_pending {
            self.nudge_notifier(&batch.events);
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
            if !self.parts.connections.is_connected_here(receiver_id) {
                self.parts.notifier.hint(PushHint { chatroom_id: self.id, receiver_id });
            }
        }
    }

    pub(super) fn fill_if_needed(&mut self, ctx: &mut Context<Self>) {
        let Stage::Open { order, .. } = &self.stage else { return };
        // With other instances events overtake each other: what is missing is probably on its way.
        if order.is_out_of_turn() && self.parts.connections.broker().state() == State::Up {
            if !self.patient {
                self.patient = true;
                ctx.run_later(PATIENCE, |room, ctx| {
                    room.patient = false;
                    room.fill(ctx);
                });
            }
            return;
        }
        self.fill(ctx);
    }

    fn fill(&mut self, ctx: &mut Context<Self>) {
        let Stage::Open { room, order } = &mut self.stage else { return };
        if !order.begin_fill() {
            return;
        }
        self.parts.connections.metrics().room_gap_reads.add(1);
        let (store, room, since) = (self.parts.store.clone(), room.clone(), order.head().version);
        let fill = async move { read_changes(&store, &room, since).await };
        ctx.spawn(wrap_future::<_, Self>(fill).map(|filled, room, ctx| room.filled(filled, ctx)));
    }

    fn filled(&mut self, filled: Result<Option<(Vec<Chat>, Version)>, StoreError>, ctx: &mut Context<Self>) {
        let Stage::Open { order, .. } = &mut self.stage else { return };
        match filled {
            Ok(Some((rows, version))) => {
                for batch in order.filled(rows, version).map(Arc::new) {
                    self.deliver(&batch, false);
                }
                self.mark_delivered();
                self.fill_if_needed(ctx);
            }
            Ok(None) => self.gone(ctx),
            // The tick asks again.
            Err(_) => order.fill_failed(),
        }
    }

    /// What another instance has stored, if it is news.
    pub(super) fn relayed(&mut self, changes: Changes, ctx: &mut Context<Self>) {
        let Stage::Open { room, order } = &mut self.stage else { return };
        self.busy_at = Some(Instant::now());
        self.parts.connections.metrics().changes_received.add(changes.changes.len());
        let head = order.head().version;
        if changes.to <= head {
            // Stored before this room was read, and told after: no news to the room, but to its sockets.
            self.parts.connections.look(self.id, [room.owner_id, room.opponent_id], head);
            return;
        }
        let events = changes.changes.into_iter().map(|(kind, chat)| Event::new(kind, chat)).collect();
        let ready = Arc::new(order.take(events));
        self.chats_end_typing(&ready.events);
        self.deliver(&ready, false);
        self.fill_if_needed(ctx);
    }

    pub(super) fn mark_delivered(&self) {
        if let Stage::Open { order, .. } = &self.stage {
            self.delivered.set(order.head());
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
