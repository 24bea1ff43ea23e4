//! A broker within one process: the same contract as over Redis, so that its tests show what the contract is.

use std::collections::{HashMap, HashSet};
use std::future::ready;
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::future::BoxFuture;
use hyper_chat::broker::{Broker, BrokerEventHandler, ClusterMessage, Orphans, State};
use hyper_chat::domain::ChatterId;
use hyper_chat::metrics::BrokerMetrics;
use parking_lot::Mutex;
use tokio::sync::mpsc;

/// Messages that may wait for one member: as many as over Redis.
const QUEUE: usize = 8_192;
/// Orphans that one claim returns at most.
const ORPHANS_PER_CLAIM: usize = 256;

/// Where the instances meet.
#[derive(Clone, Default)]
pub struct Hub(Arc<Mutex<Vec<Entry>>>);

/// A member, and what it leaves when it is dropped.
struct Entry {
    name: usize,
    member: Weak<Member>,
    present: Arc<Mutex<HashMap<ChatterId, Presence>>>,
    /// The member that has claimed the chatters of a dropped one.
    heir: Weak<Member>,
}

#[derive(Default)]
struct Presence {
    /// Below zero for a moment, where a leave overtakes its join.
    count: i32,
    was_connected_elsewhere: bool,
}

/// The state of one instance.
struct Member {
    subscribers: Mutex<HashMap<ChatterId, usize>>,
    present: Arc<Mutex<HashMap<ChatterId, Presence>>>,
    inbox: mpsc::Sender<ClusterMessage>,
    metrics: Arc<BrokerMetrics>,
}

/// One instance's broker.
struct MemoryBroker {
    hub: Hub,
    member: Arc<Member>,
}

impl Hub {
    /// One more instance, whose messages go to this handler.
    pub fn join(&self, handler: Arc<dyn BrokerEventHandler>) -> Arc<dyn Broker> {
        let (inbox, mut messages) = mpsc::channel(QUEUE);
        let (metrics, present) = (Arc::new(BrokerMetrics::default()), Arc::default());
        let member = Arc::new(Member {
            subscribers: Mutex::default(),
            present: Arc::clone(&present),
            inbox,
            metrics: metrics.clone(),
        });
        let mut entries = self.0.lock();
        let name = entries.iter().map(|entry| entry.name + 1).max().unwrap_or(0);
        entries.push(Entry { name, member: Arc::downgrade(&member), present, heir: Weak::new() });
        drop(entries);
        tokio::spawn(async move {
            handler.on_reconnected();
            while let Some(message) = messages.recv().await {
                metrics.messages_received.add(1);
                handler.on_message(message);
            }
        });
        Arc::new(MemoryBroker { hub: self.clone(), member })
    }
}

impl Entry {
    fn is_alive(&self) -> bool {
        self.member.strong_count() > 0
    }

    fn has(&self, chatter: ChatterId) -> bool {
        self.present.lock().get(&chatter).is_some_and(|presence| presence.count > 0)
    }
}

impl MemoryBroker {
    fn is_elsewhere(&self, entries: &[Entry], chatter: ChatterId) -> bool {
        let mut others =
            entries.iter().filter(|entry| entry.is_alive() && !Arc::ptr_eq(&entry.present, &self.member.present));
        others.any(|entry| entry.has(chatter))
    }

    fn count(&self, chatter: ChatterId, change: i32) {
        let mut present = self.member.present.lock();
        let presence = present.entry(chatter).or_default();
        presence.count += change;
        if presence.count == 0 {
            present.remove(&chatter);
        }
    }
}

impl Broker for MemoryBroker {
    fn publish(&self, message: ClusterMessage) {
        let (first, second) = message.recipients();
        // The lock is held meanwhile, so that all members receive in one order.
        let entries = self.hub.0.lock();
        for member in entries.iter().filter_map(|entry| entry.member.upgrade()) {
            if Arc::ptr_eq(&member, &self.member) {
                continue;
            }
            let subscribers = member.subscribers.lock();
            let subscribed = |chatter| subscribers.contains_key(&chatter);
            if (subscribed(first) || second.is_some_and(subscribed)) && member.inbox.try_send(message.clone()).is_err()
            {
                self.member.metrics.messages_dropped.add(1);
            }
        }
        self.member.metrics.messages_sent.add(1);
    }

    fn subscribe(&self, chatter: ChatterId) -> BoxFuture<'static, bool> {
        *self.member.subscribers.lock().entry(chatter).or_default() += 1;
        Box::pin(ready(true))
    }

    fn unsubscribe(&self, chatter: ChatterId) {
        let mut subscribers = self.member.subscribers.lock();
        if let Some(count) = subscribers.get_mut(&chatter) {
            *count -= 1;
            if *count == 0 {
                subscribers.remove(&chatter);
            }
        }
    }

    fn join(&self, chatter: ChatterId) {
        // The lock is held until the chatter is written, so that of two instances one is the first.
        let entries = self.hub.0.lock();
        self.count(chatter, 1);
        if self.is_elsewhere(&entries, chatter)
            && let Some(presence) = self.member.present.lock().get_mut(&chatter)
        {
            presence.was_connected_elsewhere = true;
        }
    }

    fn leave(&self, chatter: ChatterId) {
        self.count(chatter, -1);
    }

    fn was_connected_elsewhere(&self, chatter: ChatterId) -> bool {
        self.member.present.lock().get(&chatter).is_some_and(|presence| presence.was_connected_elsewhere)
    }

    fn connected_elsewhere<'a>(&'a self, chatters: &'a [ChatterId]) -> BoxFuture<'a, Option<HashSet<ChatterId>>> {
        let entries = self.hub.0.lock();
        let elsewhere = chatters.iter().copied().filter(|chatter| self.is_elsewhere(&entries, *chatter)).collect();
        Box::pin(ready(Some(elsewhere)))
    }

    fn claim_orphans(&self) -> BoxFuture<'_, Option<Orphans>> {
        let mut entries = self.hub.0.lock();
        entries.retain(|entry| entry.is_alive() || !entry.present.lock().is_empty());
        let own = Arc::downgrade(&self.member);
        let free =
            |entry: &&mut Entry| !entry.is_alive() && (entry.heir.strong_count() == 0 || entry.heir.ptr_eq(&own));
        let Some(dead) = entries.iter_mut().find(free) else { return Box::pin(ready(None)) };
        dead.heir.clone_from(&own);
        let chatters = dead.present.lock().keys().copied().take(ORPHANS_PER_CLAIM).collect();
        let (silent, instance) = (Duration::ZERO, dead.name.to_string());
        Box::pin(ready(Some(Orphans { chatters, silent, instance, entries: Vec::new() })))
    }

    fn release_orphans<'a>(&'a self, orphans: &'a Orphans) -> BoxFuture<'a, bool> {
        let entries = self.hub.0.lock();
        if let Some(dead) = entries.iter().find(|entry| entry.name.to_string() == orphans.instance) {
            dead.present.lock().retain(|chatter, _| !orphans.chatters.contains(chatter));
        }
        Box::pin(ready(true))
    }

    fn leave_all(&self) {}

    fn state(&self) -> State {
        State::Up
    }

    fn directory_is_up(&self) -> bool {
        true
    }

    fn metrics(&self) -> &BrokerMetrics {
        &self.member.metrics
    }
}
