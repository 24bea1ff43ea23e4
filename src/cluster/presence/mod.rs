//! Presence: records when a chatter's last socket closed, and announces it to the device sockets of those who share a
//! room with them, their watchers.
//!
//! One task of this instance, started by `app`, announces. It batches changes for a moment, so that a page reload
//! produces no event, and handles many chatters with one query. It asks last, right before it sends, whether a chatter
//! is connected elsewhere. A second task announces the departures of the chatters of dead instances.

mod announced;
mod watchers;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use self::announced::{Announced, Certainty, Change, Changes, Reach, Status};
use self::watchers::{Online, Watchers};
use crate::broker::{Broker, Orphans, State};
use crate::connections::broadcaster::Broadcaster;
use crate::connections::drain_flag::DrainFlag;
use crate::connections::presence_changes::PresenceChanges;
use crate::connections::registry::ConnectionRegistry;
use crate::domain::ChatterId;
use crate::store::{Store, StoreError};

/// How long changes are batched.
const BATCH_FOR: Duration = Duration::from_millis(200);
/// The pause after the database or the directory did not answer.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// The pause between two searches for dead instances.
const SEARCH_EVERY: Duration = Duration::from_secs(2);
/// The most chatters of one query.
const CHUNK: usize = 64;
/// The most chunks of uncertain chatters between two announcements of changes.
const UNCERTAIN_CHUNKS: usize = 10;

/// Announces presence.
pub struct Presence {
    parts: Parts,
    watchers: Watchers,
    announced: Mutex<Announced>,
    repeat_wanted: Notify,
}

/// The parts of the instance that the presence task uses.
pub struct Parts {
    /// Finds watchers, and keeps when chatters were last seen.
    pub store: Arc<Store>,
    /// Says whether a chatter has a socket on this instance.
    pub connections: Arc<ConnectionRegistry>,
    /// Sends presence frames to the watchers' device sockets on all instances.
    pub broadcaster: Broadcaster,
    /// Says whether a chatter has a socket on another instance, and hands out the chatters of dead instances.
    pub broker: Arc<dyn Broker>,
    /// The chatters who connected or disconnected here; the task takes them in batches.
    pub changes: Arc<PresenceChanges>,
    /// Read before each batch: once it refuses chats, an instance with others beside it stops announcing.
    pub drain: Arc<DrainFlag>,
}

impl Presence {
    /// No chatter is online yet.
    #[must_use]
    pub fn new(parts: Parts) -> Arc<Self> {
        let Parts { store, connections, broadcaster, broker, .. } = &parts;
        let watchers = Watchers::new(store.clone(), connections.clone(), broadcaster.clone(), broker.clone());
        Arc::new(Self { parts, watchers, announced: Mutex::default(), repeat_wanted: Notify::new() })
    }

    /// Announces for as long as the instance runs.
    pub async fn run(self: Arc<Self>) {
        tokio::join!(self.keep_announcing(), self.keep_removing_orphans());
    }

    async fn keep_announcing(&self) {
        loop {
            let next = self.announced.lock().next_at();
            tokio::select! {
                () = self.parts.changes.wait() => sleep(BATCH_FOR).await,
                () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {}
                () = self.repeat_wanted.notified() => {}
            }
            if !self.parts.drain.takes_chats() && self.parts.broker.state() != State::Single {
                // Clients of a draining instance reconnect elsewhere, or other instances remove them as orphans.
                return;
            }
            let changes = self.take_changes();
            if let Err(error) = self.announce(&changes).await {
                let error = &error as &dyn std::error::Error;
                tracing::debug!(error, "the database did not answer; presence is announced later");
                sleep(RETRY_AFTER).await;
            }
        }
    }

    /// Has the announcements of the last `within` repeated, as other instances may not have received them.
    pub fn repeat(&self, within: Duration) {
        self.announced.lock().may_be_lost(within);
        self.repeat_wanted.notify_one();
    }

    /// Records when the chatters were last seen whose departure was not announced yet. Called at shutdown, when no
    /// socket is left that an announcement could reach.
    pub async fn record_all(&self, until: Instant) {
        // The departures that have not been taken yet are among the leaving after this.
        let _ = self.take_changes();
        let leaving = self.announced.lock().take_leaving();
        for chunk in leaving.chunks(CHUNK) {
            if !matches!(timeout_at(until, self.parts.store.record_last_seen(chunk, Duration::ZERO)).await, Ok(Ok(_))) {
                break;
            }
        }
    }

    fn take_changes(&self) -> Changes {
        let mut announced = self.announced.lock();
        announced.forget(&self.parts.changes.take_forgotten());
        for id in self.parts.changes.take() {
            announced.changed(id, self.change_of(id));
        }
        announced.take_changes(Instant::now())
    }

    fn change_of(&self, chatter: ChatterId) -> Change {
        if !self.parts.connections.is_connected_here(chatter) {
            Change::Disconnected
        } else if self.parts.broker.was_connected_elsewhere(chatter) {
            Change::ConnectedToo
        } else {
            Change::Connected
        }
    }

    async fn announce(&self, changes: &Changes) -> Result<(), StoreError> {
        for (at, chunk) in changes.arrived.chunks(CHUNK).enumerate() {
            if let Err(error) = self.announce_arrived(chunk).await {
                self.announced.lock().arrived_again(&changes.arrived[at * CHUNK..]);
                return Err(error);
            }
        }
        for chunk in changes.left.chunks(CHUNK) {
            self.announce_left(chunk).await?;
        }
        if changes.is_recheck_due {
            self.announce_uncertain().await?;
        }
        Ok(())
    }

    async fn announce_arrived(&self, chatters: &[ChatterId]) -> Result<(), StoreError> {
        let last_seen = self.parts.store.last_seen(chatters).await?;
        self.watchers.announce(chatters, last_seen, |_, _| Some(Status::Online)).await?;
        self.announced.lock().announced_online(chatters, self.reach());
        Ok(())
    }

    async fn announce_left(&self, chatters: &[ChatterId]) -> Result<(), StoreError> {
        // While the directory does not answer, other instances may have to enter their chatters first.
        let is_unknown = self.reach() == Reach::Everywhere && !self.directory_answers(chatters).await;
        if is_unknown && self.announced.lock().postpone(chatters, Instant::now()) {
            return Ok(());
        }
        let last_seen = self.parts.store.record_last_seen(chatters, Duration::ZERO).await?;
        let online = self.announced.lock().online_among(chatters);
        // A chatter who is connected elsewhere stays online there, and was announced unless that failed.
        let decide = |id, connected| match connected {
            Online::Here | Online::Elsewhere => (!online.contains(&id)).then_some(Status::Online),
            Online::Nowhere | Online::Unknown => Some(Status::Offline),
        };
        let certainty = self.watchers.announce(chatters, last_seen, decide).await?;
        self.announced.lock().announced_left(chatters, certainty, self.reach());
        Ok(())
    }

    /// Once the broker and the directory answer again: announces what other instances could not receive, and corrects
    /// what was announced without an answer of the directory.
    async fn announce_uncertain(&self) -> Result<(), StoreError> {
        let (uncertain, mut pause) = (self.announced.lock().uncertain(), RETRY_AFTER);
        for (at, chunk) in uncertain.chunks(CHUNK).enumerate() {
            if at == UNCERTAIN_CHUNKS {
                pause = Duration::ZERO;
                break;
            }
            let ids: Vec<ChatterId> = chunk.iter().map(|(id, _)| *id).collect();
            if self.reach() == Reach::OnlyHere || !self.directory_answers(&ids[..1]).await {
                break;
            }
            let last_seen = self.parts.store.last_seen(&ids).await?;
            let reaches: HashMap<ChatterId, Reach> = chunk.iter().copied().collect();
            let was_lost = |id| reaches.get(&id) == Some(&Reach::OnlyHere);
            let decide = |id, connected| match connected {
                // Announced as offline while the directory did not answer.
                Online::Elsewhere => Some(Status::Online),
                Online::Here => was_lost(id).then_some(Status::Online),
                Online::Nowhere => was_lost(id).then_some(Status::Offline),
                Online::Unknown => None,
            };
            if self.watchers.announce(&ids, last_seen, decide).await? == Certainty::Certain {
                self.announced.lock().resolved(chunk);
            }
        }
        self.announced.lock().recheck_at(Instant::now() + pause);
        Ok(())
    }

    async fn directory_answers(&self, chatters: &[ChatterId]) -> bool {
        self.parts.broker.connected_elsewhere(chatters).await.is_some()
    }

    /// The instances that receive what is sent now.
    fn reach(&self) -> Reach {
        match self.parts.broker.state() {
            State::Away { .. } => Reach::OnlyHere,
            State::Single | State::Up => Reach::Everywhere,
        }
    }

    async fn keep_removing_orphans(&self) {
        loop {
            sleep(SEARCH_EVERY).await;
            while let Some(orphans) = self.parts.broker.claim_orphans().await {
                if self.announce_orphans(&orphans).await == Certainty::Uncertain
                    || !self.parts.broker.release_orphans(&orphans).await
                {
                    sleep(RETRY_AFTER).await;
                }
            }
        }
    }

    /// Announces that the chatters of a dead instance are offline, except those who are connected elsewhere by now.
    async fn announce_orphans(&self, orphans: &Orphans) -> Certainty {
        for chunk in orphans.chatters.chunks(CHUNK) {
            match self.announce_orphaned(chunk, orphans.silent).await {
                Ok(Certainty::Certain) => {}
                Ok(Certainty::Uncertain) => return Certainty::Uncertain,
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::debug!(error, "the database did not answer; a dead instance's chatters go offline later");
                    return Certainty::Uncertain;
                }
            }
        }
        Certainty::Certain
    }

    async fn announce_orphaned(&self, chatters: &[ChatterId], silent: Duration) -> Result<Certainty, StoreError> {
        let Some(elsewhere) = self.parts.broker.connected_elsewhere(chatters).await else {
            return Ok(Certainty::Uncertain);
        };
        let is_gone = |id: &ChatterId| !elsewhere.contains(id) && !self.parts.connections.is_connected_here(*id);
        let gone: Vec<ChatterId> = chatters.iter().copied().filter(is_gone).collect();
        // The last heartbeat of their instance is the best estimate of when they were last seen.
        let last_seen = self.parts.store.record_last_seen(&gone, silent).await?;
        let decide = |_, connected| (connected == Online::Nowhere).then_some(Status::Offline);
        let certainty = self.watchers.announce(&gone, last_seen, decide).await?;
        self.announced.lock().announced_left(&gone, certainty, self.reach());
        Ok(certainty)
    }
}
