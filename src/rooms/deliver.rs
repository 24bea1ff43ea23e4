//! The way out of a room: its own commits and other instances' changes become deliveries in version order, and gaps in
//! that order are filled from the database.

use std::sync::Arc;
use std::time::Duration;

use actix::fut::{ActorFutureExt, wrap_future};
use actix::{AsyncContext, Context};

use super::commit::Commit;
use super::reply::answer;
use super::room::{Room, Stage};
use super::{broadcast, publish};
use crate::broker::{Changes, State};
use crate::delivery::event::{Batch, Event};
use crate::domain::Version;
use crate::domain::chat::ChangeKind;
use crate::domain::chatroom::Chatroom;
use crate::problem::Problem;
use crate::push::notifier::messages::PushHint;
use crate::store::chats::Changes as StoredChanges;
use crate::store::writer::Outcome;
use crate::store::{Store, StoreError};

/// How long an event may wait for the ones before it, which other instances have stored.
const GAP_PATIENCE: Duration = Duration::from_millis(50);
/// The rows of one query when a gap is filled, and the most queries.
const FILL_PAGE: u64 = 500;
const FILL_PAGES_MAX: usize = 40;

impl Room {
    /// Handles a commit: publishes and delivers its changes, and answers last, so that an echo precedes a REST reply.
    pub(super) fn committed(&mut self, outcomes: Vec<(u64, Outcome)>, ctx: &mut Context<Self>) {
        self.touch();
        self.close_if_outdated();
        let mut commit = Commit::sort(outcomes, |ticket| self.waiting.remove(&ticket));
        let answers = std::mem::take(&mut commit.answers);
        self.publish(&commit);
        self.deliver_commit(commit);
        for (reply, outcome) in answers {
            answer(reply, outcome.map_err(Problem::from));
        }
        self.fill_if_needed(ctx);
    }

    fn publish(&self, commit: &Commit) {
        if let Stage::Open { chatroom, .. } = &self.stage {
            publish::publish(self.broker(), self.metrics(), chatroom, commit);
        }
    }

    fn deliver_commit(&mut self, commit: Commit) {
        let Stage::Open { order, .. } = &mut self.stage else { return };
        let newest_retried = commit.newest_retried();
        let ready = Arc::new(order.take(commit.events));
        let head = order.head().version;
        let needs_query = commit.is_uncertain || newest_retried.is_some_and(|version| version > head);
        if needs_query {
            order.require_requery();
        }
        self.stop_typing_of_senders(&ready.events);
        self.deliver(&ready);
        if commit.has_pending_push {
            self.hint_pushes(&ready.events);
        }
        if newest_retried.is_some() && !needs_query {
            // The room began at the head of the database; a connection's cursor may be below it.
            self.check_version(head);
        }
    }

    fn deliver(&mut self, batch: &Arc<Batch>) {
        if let Stage::Open { chatroom, .. } = &self.stage
            && batch.from != batch.to
        {
            broadcast::deliver(self.connections(), chatroom, batch);
            self.mark_delivered();
            if !chatroom.with_oneself() {
                for (sender, seq) in broadcast::last_sent(&self.parts.connections, &batch.events) {
                    self.sent_chats.add(sender, seq);
                }
            }
        }
    }

    fn check_version(&self, version: Version) {
        if let Stage::Open { chatroom, .. } = &self.stage {
            broadcast::check_version(self.connections(), chatroom, version);
        }
    }

    /// Has the notifier send at once, instead of after the grace, the pushes of receivers without a connection here.
    fn hint_pushes(&self, events: &[Event]) {
        for receiver_id in broadcast::receivers_not_connected(self.connections(), events) {
            self.parts.notifier.hint(PushHint { chatroom_id: self.id, receiver_id });
        }
    }

    /// A chatter who has sent a chat is no longer typing. No frame says so: the chat itself does.
    fn stop_typing_of_senders(&mut self, events: &[Event]) {
        if !self.typists.is_empty() {
            for event in events.iter().filter(|event| event.kind == ChangeKind::Created) {
                self.typists.remove(event.chat.sender_id);
            }
        }
    }

    /// Delivers changes that another instance has stored, unless they were delivered already.
    pub(super) fn relayed(&mut self, changes: Changes, ctx: &mut Context<Self>) {
        self.touch();
        self.metrics().changes_received.add(changes.changes.len());
        let Stage::Open { order, .. } = &mut self.stage else { return };
        let head = order.head().version;
        if changes.to <= head {
            // The row was read after the changes were stored and before they arrived, so a connection may lack them.
            return self.check_version(head);
        }
        let events = changes.changes.into_iter().map(|(kind, chat)| Event::new(kind, chat)).collect();
        let ready = Arc::new(order.take(events));
        self.stop_typing_of_senders(&ready.events);
        self.deliver(&ready);
        self.fill_if_needed(ctx);
    }

    /// Reads the database if changes are missing. Events of several instances overtake each other, so a missing change
    /// is first given a moment to arrive.
    pub(super) fn fill_if_needed(&mut self, ctx: &mut Context<Self>) {
        let Stage::Open { order, .. } = &self.stage else { return };
        if !order.is_out_of_turn() || self.broker().state() != State::Up {
            return self.fill(ctx);
        }
        if !self.gap_timer_runs {
            self.gap_timer_runs = true;
            ctx.run_later(GAP_PATIENCE, |room, ctx| {
                room.gap_timer_runs = false;
                room.fill(ctx);
            });
        }
    }

    fn fill(&mut self, ctx: &mut Context<Self>) {
        let Stage::Open { chatroom, order } = &mut self.stage else { return };
        if !order.begin_fill() {
            return;
        }
        let (store, chatroom, since) = (self.parts.store.clone(), chatroom.clone(), order.head().version);
        self.metrics().room_gap_reads.add(1);
        let fill = async move { read_changes(&store, &chatroom, since).await };
        ctx.spawn(wrap_future::<_, Self>(fill).map(|filled, room, ctx| room.filled(filled, ctx)));
    }

    fn filled(&mut self, filled: Result<Option<StoredChanges>, StoreError>, ctx: &mut Context<Self>) {
        let Stage::Open { order, .. } = &mut self.stage else { return };
        match filled {
            Ok(Some(StoredChanges { chats, version, has_more })) => {
                let batches = order.filled(chats, version);
                if has_more {
                    order.require_requery();
                }
                for batch in batches.map(Arc::new) {
                    self.deliver(&batch);
                }
                self.mark_delivered();
                self.fill_if_needed(ctx);
            }
            Ok(None) => self.deleted(ctx),
            // The next tick reads again.
            Err(_) => order.fill_failed(),
        }
    }
}

/// The chats that changed above a version, as many as one fill reads. None if the room is deleted.
async fn read_changes(store: &Store, chatroom: &Chatroom, since: Version) -> Result<Option<StoredChanges>, StoreError> {
    let mut read = StoredChanges { chats: Vec::new(), version: since, has_more: true };
    for _ in 0..FILL_PAGES_MAX {
        let Some(page) = store.changes(chatroom, read.version, FILL_PAGE).await? else { return Ok(None) };
        read.chats.extend(page.chats);
        (read.version, read.has_more) = (page.version, page.has_more);
        if !read.has_more {
            break;
        }
    }
    Ok(Some(read))
}
