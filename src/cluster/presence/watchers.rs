//! Sends a chatter's presence to the device sockets of their watchers, who share a room with them.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;

use super::announced::{Certainty, Status};
use crate::broker::Broker;
use crate::connections::broadcaster::Broadcaster;
use crate::connections::registry::ConnectionRegistry;
use crate::domain::ChatterId;
use crate::domain::clock::Micros;
use crate::protocol::device::server::ServerFrame;
use crate::store::{Store, StoreError};
use crate::websocket::framing::text_frame;

/// The most watchers whose connections the directory is asked for at once.
const WATCHERS_AT_ONCE: usize = 5_000;

/// Where a chatter is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Online {
    /// On this instance, and perhaps on others too.
    Here,
    /// On another instance only.
    Elsewhere,
    Nowhere,
    /// Not here, and the directory did not answer.
    Unknown,
}

/// Finds watchers and sends them frames.
pub(super) struct Watchers {
    store: Arc<Store>,
    connections: Arc<ConnectionRegistry>,
    broadcaster: Broadcaster,
    broker: Arc<dyn Broker>,
}

impl Watchers {
    pub(super) fn new(
        store: Arc<Store>,
        connections: Arc<ConnectionRegistry>,
        broadcaster: Broadcaster,
        broker: Arc<dyn Broker>,
    ) -> Self {
        Self { store, connections, broadcaster, broker }
    }

    /// Sends the watchers of these chatters the status that `decide` finds for each; none sends nothing. `last_seen`
    /// holds the times of the frames.
    pub(super) async fn announce(
        &self,
        chatters: &[ChatterId],
        last_seen: Vec<(ChatterId, Micros)>,
        decide: impl Fn(ChatterId, Online) -> Option<Status>,
    ) -> Result<Certainty, StoreError> {
        if chatters.is_empty() {
            return Ok(Certainty::Certain);
        }
        let last_seen: HashMap<ChatterId, Micros> = last_seen.into_iter().collect();
        let mut pairs = self.store.watchers_of(chatters).await?;
        pairs.retain(|(_, watcher)| self.broadcaster.may_have_device(*watcher));
        let reachable = self.connected_elsewhere(&pairs).await;
        // The chatters' own connections are looked up last, so that this answer is still true when the frames are sent.
        let elsewhere = self.broker.connected_elsewhere(chatters).await;
        let mut frames: HashMap<ChatterId, Option<Bytes>> = HashMap::new();
        for (chatter_id, watcher) in pairs {
            if !self.connections.is_connected_here(watcher)
                && reachable.as_ref().is_some_and(|reachable| !reachable.contains(&watcher))
            {
                continue;
            }
            let frame = frames.entry(chatter_id).or_insert_with(|| {
                let status = decide(chatter_id, self.online(chatter_id, elsewhere.as_ref()))?;
                let (online, last_seen) = (status == Status::Online, last_seen.get(&chatter_id).copied());
                Some(text_frame(&ServerFrame::Presence { chatter_id, online, last_seen }))
            });
            if let Some(frame) = frame {
                self.broadcaster.send_durable(watcher, frame);
            }
        }
        Ok(if elsewhere.is_some() { Certainty::Certain } else { Certainty::Uncertain })
    }

    /// Where a chatter is connected, as far as the directory answered with those connected elsewhere.
    fn online(&self, chatter: ChatterId, elsewhere: Option<&HashSet<ChatterId>>) -> Online {
        if self.connections.is_connected_here(chatter) {
            return Online::Here;
        }
        match elsewhere {
            None => Online::Unknown,
            Some(elsewhere) if elsewhere.contains(&chatter) => Online::Elsewhere,
            Some(_) => Online::Nowhere,
        }
    }

    /// The watchers among these who are connected elsewhere; none if the directory did not answer.
    async fn connected_elsewhere(&self, pairs: &[(ChatterId, ChatterId)]) -> Option<HashSet<ChatterId>> {
        let watchers: HashSet<ChatterId> = pairs.iter().map(|(_, watcher)| *watcher).collect();
        let not_here: Vec<ChatterId> =
            watchers.into_iter().filter(|watcher| !self.connections.is_connected_here(*watcher)).collect();
        let mut elsewhere = HashSet::new();
        for some in not_here.chunks(WATCHERS_AT_ONCE) {
            elsewhere.extend(self.broker.connected_elsewhere(some).await?);
        }
        Some(elsewhere)
    }
}
