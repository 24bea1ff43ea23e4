//! Who is there: notes when a chatter's last socket went, and tells the device sockets of those who share a room.
//!
//! One task on this instance, started by `app`. It gathers who came and went for a moment, so that a page that is loaded
//! anew is no news to anybody, and asks the database once for all of them.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::session::frame::text_frame;
use super::sessions::Sessions;
use crate::domain::ChatterId;
use crate::domain::clock::Micros;
use crate::store::{Store, StoreError};
use crate::wire::device::server::ServerFrame;

/// How long those who come and go are gathered.
const GATHER: Duration = Duration::from_millis(200);
/// When the database did not answer, the next try comes after this.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// Tells who came and who went.
pub struct Presence {
    store: Arc<Store>,
    sessions: Arc<Sessions>,
    /// Those whom others were told to be online.
    online: Mutex<HashSet<ChatterId>>,
}

impl Presence {
    /// Nobody is online yet.
    #[must_use]
    pub fn new(store: Arc<Store>, sessions: Arc<Sessions>) -> Arc<Self> {
        Arc::new(Self { store, sessions, online: Mutex::default() })
    }

    /// Tells for as long as the instance runs.
    pub async fn run(self: Arc<Self>) {
        loop {
            self.sessions.changed().await;
            tokio::time::sleep(GATHER).await;
            if !self.tell_all().await {
                tokio::time::sleep(AGAIN_AFTER).await;
            }
        }
    }

    /// Tells of all who came or went until now; false if the database did not answer, then they are told of later. Called
    /// by the drain too, so that nobody stays online for ever.
    pub async fn tell_all(&self) -> bool {
        let changed = self.sessions.take_changed();
        if changed.is_empty() {
            return true;
        }
        let chatters: Vec<ChatterId> = changed.iter().copied().collect();
        match self.tell(&chatters).await {
            Ok(()) => true,
            Err(error) => {
                tracing::debug!(error = &error as &dyn std::error::Error, "presence waits for the database");
                self.sessions.came_or_went(chatters);
                false
            }
        }
    }

    async fn tell(&self, changed: &[ChatterId]) -> Result<(), StoreError> {
        let (here, gone): (Vec<_>, Vec<_>) = changed.iter().copied().partition(|id| self.sessions.is_here(*id));
        let came: Vec<ChatterId> = here.into_iter().filter(|id| !self.online.lock().contains(id)).collect();
        let mut seen: HashMap<ChatterId, Micros> = self.store.seen_now(&gone).await?.into_iter().collect();
        seen.extend(self.store.last_seen(&came).await?);
        let news: Vec<ChatterId> = came.iter().chain(&gone).copied().collect();
        for (chatter_id, watcher) in self.store.watchers_of(&news).await? {
            if self.sessions.has_device(watcher) {
                let online = came.contains(&chatter_id);
                let last_seen = seen.get(&chatter_id).copied();
                let frame = text_frame(&ServerFrame::Presence { chatter_id, online, last_seen });
                self.sessions.announce(watcher, &frame);
            }
        }
        let mut online = self.online.lock();
        online.retain(|id| !gone.contains(id));
        online.extend(came);
        Ok(())
    }
}
