//! Who is there: notes when a chatter's last socket went, and tells the device sockets of those who share a room.
//!
//! One task on this instance, started by `app`. It gathers who came and went, so that a page that is loaded anew is no
//! news to anybody, and asks the database once for many of them. Whether somebody is connected elsewhere is asked last,
//! right before it is told; a second task takes the chatters of dead instances off.

mod announced;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use self::announced::{Announced, News};
use crate::broker::{Orphans, State};
use crate::connections::registry::ConnectionRegistry;
use crate::domain::ChatterId;
use crate::domain::clock::Micros;
use crate::protocol::device::server::ServerFrame;
use crate::store::{Store, StoreError};
use crate::websocket::framing::text_frame;

/// How long those who come are gathered.
const GATHER: Duration = Duration::from_millis(200);
/// When the database or the other instances did not answer, the next try comes after this.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
/// How often dead instances are looked for.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Chatters that the database is asked about at once.
const CHUNK: usize = 64;
/// Chunks of those in doubt that are looked at before news are again.
const DOUBTFUL_CHUNKS: usize = 10;
/// Watchers that the other instances are asked about at once.
const WATCHERS: usize = 5_000;

/// Tells who came and who went.
pub struct Presence {
    store: Arc<Store>,
    connections: Arc<ConnectionRegistry>,
    known: Mutex<Announced>,
    doubted: Notify,
}

impl Presence {
    /// Nobody is online yet.
    #[must_use]
    pub fn new(store: Arc<Store>, connections: Arc<ConnectionRegistry>) -> Arc<Self> {
        Arc::new(Self { store, connections, known: Mutex::default(), doubted: Notify::new() })
    }

    /// Tells for as long as the instance runs.
    pub async fn run(self: Arc<Self>) {
        tokio::join!(self.tell_for_ever(), self.take_off_for_ever());
    }

    async fn tell_for_ever(&self) {
        loop {
            let next = self.known.lock().next_at();
            tokio::select! {
                () = self.connections.changed() => sleep(GATHER).await,
                () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {}
                () = self.doubted.notified() => {}
            }
            if !self.connections.takes_chats() && self.connections.broker().state() != State::Single {
                // Whom a draining instance sends away comes back elsewhere, or is taken off by the others.
                return;
            }
            let news = self.news();
            if let Err(error) = self.tell(&news).await {
                tracing::debug!(error = &error as &dyn std::error::Error, "presence waits for the database");
                sleep(AGAIN_AFTER).await;
            }
        }
    }

    /// Tells again who came and went within this time. Called when other instances hear again that did not, or this one is heard.
    pub fn tell_again(&self, within: Duration) {
        self.known.lock().was_unheard(within);
        self.doubted.notify_one();
    }

    /// Stores when those were last seen who have not been told of yet; at shutdown, when nobody is left to be told.
    pub async fn note_all(&self, until: Instant) {
        let _ = self.news();
        let leaving = self.known.lock().take_leaving();
        for chunk in leaving.chunks(CHUNK) {
            if !matches!(timeout_at(until, self.store.record_last_seen(chunk, Duration::ZERO)).await, Ok(Ok(_))) {
                break;
            }
        }
    }

    fn news(&self) -> News {
        let mut known = self.known.lock();
        known.forget(&self.connections.take_untold());
        for id in self.connections.take_changed() {
            known.changed(
                id,
                self.connections.is_connected_here(id),
                self.connections.broker().was_connected_elsewhere(id),
            );
        }
        known.news(Instant::now())
    }

    async fn tell(&self, news: &News) -> Result<(), StoreError> {
        for (at, chunk) in news.came.chunks(CHUNK).enumerate() {
            let told = async {
                let seen = self.store.last_seen(chunk).await?;
                self.tell_some(chunk, seen, |_, _| Some(true)).await
            };
            if let Err(error) = told.await {
                self.known.lock().came_again(&news.came[at * CHUNK..]);
                return Err(error);
            }
            self.known.lock().told_online(chunk, self.is_unheard());
        }
        for chunk in news.gone.chunks(CHUNK) {
            // Others may have yet to write down who is connected there.
            let nobody_knows =
                !self.is_unheard() && self.connections.broker().connected_elsewhere(chunk).await.is_none();
            if nobody_knows && self.known.lock().put_off(chunk, Instant::now()) {
                continue;
            }
            let seen = self.store.record_last_seen(chunk, Duration::ZERO).await?;
            let told = self.known.lock().told(chunk);
            // Who is connected elsewhere goes on there; but somebody has to have told of them.
            let what = |id, connected| match connected {
                Some(true) => (!told.contains(&id)).then_some(true),
                _ => Some(false),
            };
            let certain = self.tell_some(chunk, seen, what).await?;
            self.known.lock().told_gone(chunk, certain, self.is_unheard());
        }
        if news.doubt {
            self.tell_doubtful().await?;
        }
        Ok(())
    }

    /// What others could not hear, or what was told without knowing of the other instances, once that has changed.
    async fn tell_doubtful(&self) -> Result<(), StoreError> {
        let (doubtful, mut pause) = (self.known.lock().doubtful(), AGAIN_AFTER);
        for (at, chunk) in doubtful.chunks(CHUNK).enumerate() {
            if at == DOUBTFUL_CHUNKS {
                pause = Duration::ZERO;
                break;
            }
            let ids: Vec<ChatterId> = chunk.iter().map(|(id, _)| *id).collect();
            let unheard: HashSet<ChatterId> = chunk.iter().filter(|(_, unheard)| *unheard).map(|(id, _)| *id).collect();
            if self.is_unheard() || self.connections.broker().connected_elsewhere(&ids[..1]).await.is_none() {
                break;
            }
            let seen = self.store.last_seen(&ids).await?;
            let what = |id, connected: Option<bool>| {
                let connected = connected?;
                let wrong = connected && !self.connections.is_connected_here(id);
                (wrong || unheard.contains(&id)).then_some(connected)
            };
            if self.tell_some(&ids, seen, what).await? {
                self.known.lock().no_longer_doubtful(chunk);
            }
        }
        self.known.lock().doubt_again_at(Instant::now() + pause);
        Ok(())
    }

    /// Whether the other instances cannot hear what is told.
    fn is_unheard(&self) -> bool {
        matches!(self.connections.broker().state(), State::Away { .. })
    }

    async fn take_off_for_ever(&self) {
        loop {
            sleep(LOOK_EVERY).await;
            while let Some(orphans) = self.connections.broker().claim_orphans().await {
                if !self.take_off(&orphans).await {
                    sleep(AGAIN_AFTER).await;
                }
            }
        }
    }

    /// Tells that the chatters of a dead instance are gone, but for those who are connected to another one by now.
    async fn take_off(&self, orphans: &Orphans) -> bool {
        for chunk in orphans.chatters.chunks(CHUNK) {
            let told = async {
                let Some(elsewhere) = self.connections.broker().connected_elsewhere(chunk).await else {
                    return Ok(false);
                };
                let gone = |id: &&ChatterId| !elsewhere.contains(id) && !self.connections.is_connected_here(**id);
                let gone: Vec<ChatterId> = chunk.iter().filter(gone).copied().collect();
                // The last sign of their instance: nobody knows better when they were last seen.
                let seen = self.store.record_last_seen(&gone, orphans.silent).await?;
                let certain =
                    self.tell_some(&gone, seen, |_, connected| (connected == Some(false)).then_some(false)).await?;
                self.known.lock().told_gone(&gone, certain, self.is_unheard());
                Ok::<_, StoreError>(certain)
            };
            match told.await {
                Ok(true) => {}
                Ok(false) => return false,
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::debug!(error, "the chatters of a dead instance wait for the database");
                    return false;
                }
            }
        }
        self.connections.broker().release_orphans(orphans).await
    }

    /// Tells those who share a room with these what `what` makes of each and of whether they are connected anywhere, which is
    /// none where nobody says so and the other instances did not answer; false is returned then.
    async fn tell_some(
        &self,
        chatters: &[ChatterId],
        seen: Vec<(ChatterId, Micros)>,
        what: impl Fn(ChatterId, Option<bool>) -> Option<bool>,
    ) -> Result<bool, StoreError> {
        if chatters.is_empty() {
            return Ok(true);
        }
        let seen: HashMap<ChatterId, Micros> = seen.into_iter().collect();
        let mut pairs = self.store.watchers_of(chatters).await?;
        pairs.retain(|(_, watcher)| self.connections.may_have_device(*watcher));
        let reached = self.reached(&pairs).await;
        // Last, so that nobody comes elsewhere between this and the telling.
        let elsewhere = self.connections.broker().connected_elsewhere(chatters).await;
        let is_elsewhere = |id| elsewhere.as_ref().map(|there| there.contains(&id));
        let mut frames: HashMap<ChatterId, Option<Bytes>> = HashMap::new();
        for (chatter_id, watcher) in pairs {
            if !self.connections.is_connected_here(watcher)
                && reached.as_ref().is_some_and(|reached| !reached.contains(&watcher))
            {
                continue;
            }
            let frame = frames.entry(chatter_id).or_insert_with(|| {
                let connected =
                    if self.connections.is_connected_here(chatter_id) { Some(true) } else { is_elsewhere(chatter_id) };
                let online = what(chatter_id, connected)?;
                let last_seen = seen.get(&chatter_id).copied();
                Some(text_frame(&ServerFrame::Presence { chatter_id, online, last_seen }))
            });
            if let Some(frame) = frame {
                self.connections.send_durable(watcher, frame);
            }
        }
        Ok(elsewhere.is_some())
    }

    /// Which of these watchers are connected elsewhere; none where that is not known.
    async fn reached(&self, pairs: &[(ChatterId, ChatterId)]) -> Option<HashSet<ChatterId>> {
        let watchers: HashSet<ChatterId> = pairs.iter().map(|(_, watcher)| *watcher).collect();
        let away: Vec<ChatterId> =
            watchers.into_iter().filter(|watcher| !self.connections.is_connected_here(*watcher)).collect();
        let mut reached = HashSet::new();
        for some in away.chunks(WATCHERS) {
            reached.extend(self.connections.broker().connected_elsewhere(some).await?);
        }
        Some(reached)
    }
}
