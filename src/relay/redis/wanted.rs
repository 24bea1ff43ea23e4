//! Who is listened to, how often, and what of that Redis has confirmed.

use std::collections::{HashMap, VecDeque};

use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

use crate::domain::ChatterId;

/// The subscriptions that are wanted; lost and made again with each connection.
#[derive(Default)]
pub(super) struct Wanted {
    inner: Mutex<Inner>,
    changed: Notify,
}

#[derive(Default)]
struct Inner {
    chatters: HashMap<ChatterId, Entry>,
    /// Whose subscription has to be looked at, each once.
    queue: VecDeque<ChatterId>,
    connected: bool,
}

#[derive(Default)]
struct Entry {
    listens: usize,
    /// On the connection of now.
    confirmed: bool,
    queued: bool,
    waiting: Vec<oneshot::Sender<()>>,
}

/// What is known of a subscription when it is asked for.
pub(super) enum Answer {
    Confirmed,
    Away,
    Soon(oneshot::Receiver<()>),
}

/// What has to be asked of Redis.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Round {
    pub subscribe: Vec<ChatterId>,
    pub unsubscribe: Vec<ChatterId>,
}

impl Inner {
    fn enqueue(&mut self, chatter: ChatterId) {
        if let Some(entry) = self.chatters.get_mut(&chatter)
            && !entry.queued
        {
            entry.queued = true;
            self.queue.push_back(chatter);
        }
    }
}

impl Wanted {
    /// One more listens.
    pub fn add(&self, chatter: ChatterId) -> Answer {
        let mut inner = self.inner.lock();
        let connected = inner.connected;
        let entry = inner.chatters.entry(chatter).or_default();
        entry.listens += 1;
        if entry.confirmed {
            return Answer::Confirmed;
        }
        let (sender, receiver) = oneshot::channel();
        if connected {
            entry.waiting.push(sender);
        }
        inner.enqueue(chatter);
        drop(inner);
        if !connected {
            return Answer::Away;
        }
        self.changed.notify_one();
        Answer::Soon(receiver)
    }

    /// One less listens.
    pub fn remove(&self, chatter: ChatterId) {
        let mut inner = self.inner.lock();
        let Some(entry) = inner.chatters.get_mut(&chatter) else { return };
        entry.listens = entry.listens.saturating_sub(1);
        if entry.listens == 0 {
            inner.enqueue(chatter);
            drop(inner);
            self.changed.notify_one();
        }
    }

    /// Whether anybody listens.
    pub fn has(&self, chatter: ChatterId) -> bool {
        self.inner.lock().chatters.get(&chatter).is_some_and(|entry| entry.listens > 0)
    }

    /// A new connection: all has to be subscribed again. How many that are.
    pub fn connected(&self) -> usize {
        let mut inner = self.inner.lock();
        inner.connected = true;
        inner.chatters.retain(|_, entry| entry.listens > 0);
        let all: VecDeque<_> = inner.chatters.keys().copied().collect();
        for entry in inner.chatters.values_mut() {
            entry.confirmed = false;
            entry.queued = true;
        }
        inner.queue = all;
        inner.queue.len()
    }

    /// The connection broke: who waits is told no.
    pub fn disconnected(&self) {
        let mut inner = self.inner.lock();
        inner.connected = false;
        inner.queue.clear();
        inner.chatters.retain(|_, entry| entry.listens > 0);
        for entry in inner.chatters.values_mut() {
            *entry = Entry { listens: entry.listens, ..Entry::default() };
        }
    }

    /// Returns when there may be something to ask.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// What to ask next, of so many chatters at most; none when nothing has changed.
    pub fn next_round(&self, most: usize) -> Option<Round> {
        let mut inner = self.inner.lock();
        let mut round = Round::default();
        while round.subscribe.len() + round.unsubscribe.len() < most {
            let Some(chatter) = inner.queue.pop_front() else { break };
            let Some(entry) = inner.chatters.get_mut(&chatter) else { continue };
            entry.queued = false;
            let (listens, confirmed) = (entry.listens, entry.confirmed);
            if listens > 0 && !confirmed {
                round.subscribe.push(chatter);
            }
            if listens == 0 {
                inner.chatters.remove(&chatter);
                if confirmed {
                    round.unsubscribe.push(chatter);
                }
            }
        }
        (round != Round::default()).then_some(round)
    }

    /// Redis confirmed these subscriptions.
    pub fn confirmed(&self, chatters: &[ChatterId]) {
        let mut inner = self.inner.lock();
        for chatter in chatters {
            // Only a round removes entries, and there is one round at a time.
            let Some(entry) = inner.chatters.get_mut(chatter) else { continue };
            entry.confirmed = true;
            for waiting in entry.waiting.drain(..) {
                // Who waited no longer waits.
                let _ = waiting.send(());
            }
        }
    }
}
