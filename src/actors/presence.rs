//! Who is there: notes when a chatter's last socket went, and tells the device sockets of those who share a room.
//!
//! One task on this instance, started by `app`. It gathers who came and went, so that a page that is loaded anew is no
//! news to anybody, and asks the database once for many of them.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use super::session::frame::text_frame;
use super::sessions::Sessions;
use crate::domain::ChatterId;
use crate::domain::clock::Micros;
use crate::store::{Store, StoreError};
use crate::wire::device::server::ServerFrame;

/// How long those who come are gathered.
const GATHER: Duration = Duration::from_millis(200);
/// Who is back by then was never gone.
const GONE_AFTER: Duration = Duration::from_secs(2);
/// When the database did not answer, the next try comes after this.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
/// Chatters that the database is asked about at once.
const CHUNK: usize = 64;

/// Tells who came and who went.
pub struct Presence {
    store: Arc<Store>,
    sessions: Arc<Sessions>,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// Those whom others were told to be online.
    online: HashSet<ChatterId>,
    /// Those who have no socket any more, and when they count as gone.
    leaving: HashMap<ChatterId, Instant>,
}

impl Presence {
    /// Nobody is online yet.
    #[must_use]
    pub fn new(store: Arc<Store>, sessions: Arc<Sessions>) -> Arc<Self> {
        Arc::new(Self { store, sessions, known: Mutex::default() })
    }

    /// Tells for as long as the instance runs.
    pub async fn run(self: Arc<Self>) {
        loop {
            let next = self.known.lock().leaving.values().min().copied();
            tokio::select! {
                () = self.sessions.changed() => sleep(GATHER).await,
                () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {}
            }
            let (came, gone) = self.news();
            if let Err(error) = self.tell(&came, &gone).await {
                tracing::debug!(error = &error as &dyn std::error::Error, "presence waits for the database");
                sleep(AGAIN_AFTER).await;
            }
        }
    }

    /// Stores when those were last seen who have not been told of yet; at shutdown, when nobody is left to be told.
    pub async fn note_all(&self, until: Instant) {
        let _ = self.news();
        let leaving: Vec<ChatterId> = self.known.lock().leaving.drain().map(|(id, _)| id).collect();
        for chunk in leaving.chunks(CHUNK) {
            if !matches!(timeout_at(until, self.store.seen_now(chunk)).await, Ok(Ok(_))) {
                break;
            }
        }
    }

    /// Who has come, and who has been gone for long enough.
    fn news(&self) -> (Vec<ChatterId>, Vec<ChatterId>) {
        let now = Instant::now();
        let mut known = self.known.lock();
        for id in self.sessions.take_untold() {
            known.online.remove(&id);
        }
        let mut came = Vec::new();
        for id in self.sessions.take_changed() {
            if !self.sessions.is_here(id) {
                known.leaving.entry(id).or_insert(now + GONE_AFTER);
            } else {
                known.leaving.remove(&id);
                if !known.online.contains(&id) {
                    came.push(id);
                }
            }
        }
        let gone: Vec<ChatterId> = known.leaving.iter().filter(|(_, due)| **due <= now).map(|(id, _)| *id).collect();
        (came, gone)
    }

    async fn tell(&self, came: &[ChatterId], gone: &[ChatterId]) -> Result<(), StoreError> {
        for (at, chunk) in came.chunks(CHUNK).enumerate() {
            let told = async {
                let seen = self.store.last_seen(chunk).await?;
                self.tell_some(chunk, true, seen).await
            };
            if let Err(error) = told.await {
                self.sessions.came_or_went(came[at * CHUNK..].iter().copied());
                return Err(error);
            }
            self.known.lock().online.extend(chunk);
        }
        for chunk in gone.chunks(CHUNK) {
            let seen = self.store.seen_now(chunk).await?;
            self.tell_some(chunk, false, seen).await?;
            let mut known = self.known.lock();
            for id in chunk {
                known.online.remove(id);
                known.leaving.remove(id);
            }
        }
        Ok(())
    }

    async fn tell_some(
        &self,
        chatters: &[ChatterId],
        online: bool,
        seen: Vec<(ChatterId, Micros)>,
    ) -> Result<(), StoreError> {
        let seen: HashMap<ChatterId, Micros> = seen.into_iter().collect();
        let mut frames: HashMap<ChatterId, Bytes> = HashMap::new();
        for (chatter_id, watcher) in self.store.watchers_of(chatters).await? {
            if self.sessions.may_have_device(watcher) {
                let last_seen = seen.get(&chatter_id).copied();
                let frame = || text_frame(&ServerFrame::Presence { chatter_id, online, last_seen });
                self.sessions.announce(watcher, frames.entry(chatter_id).or_insert_with(frame));
            }
        }
        Ok(())
    }
}
