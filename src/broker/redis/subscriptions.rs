//! Who is listened to, how often, and what of that Redis has confirmed.

use std::collections::{HashMap, VecDeque};

use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

use crate::domain::ChatterId;

/// How many channels one command asks for. Fewer to leave, since those who arrive wait for the answer.
pub(super) const SUBSCRIBED_AT_ONCE: usize = 1_000;
const UNSUBSCRIBED_AT_ONCE: usize = 200;

/// The subscriptions that are wanted; lost and made again with each connection.
#[derive(Default)]
pub(super) struct Subscriptions {
    inner: Mutex<Inner>,
    changed: Notify,
}

#[derive(Default)]
struct Inner {
    chatters: HashMap<ChatterId, Entry>,
    /// Who may have to be subscribed, and who may not be wanted any more; each once.
    arrived: VecDeque<ChatterId>,
    left: VecDeque<ChatterId>,
    connected: bool,
}

#[derive(Default)]
struct Entry {
    listens: usize,
    /// On the connection of now.
    confirmed: bool,
    in_arrived: bool,
    in_left: bool,
    waiting: Vec<oneshot::Sender<()>>,
}

/// What is known of a subscription when it is asked for.
pub(super) enum Answer {
    Confirmed,
    Away,
    Soon(oneshot::Receiver<()>),
}

/// What has to be asked of Redis.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Round {
    Subscribe(Vec<ChatterId>),
    Unsubscribe(Vec<ChatterId>),
}

impl Inner {
    /// What only counts on one connection; only who is still listened to stays.
    fn forget(&mut self) {
        self.arrived.clear();
        self.left.clear();
        self.chatters.retain(|_, entry| entry.listens > 0);
        for entry in self.chatters.values_mut() {
            *entry = Entry { listens: entry.listens, ..Entry::default() };
        }
    }
}

impl Subscriptions {
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
        if !connected {
            return Answer::Away;
        }
        entry.waiting.push(sender);
        if !std::mem::replace(&mut entry.in_arrived, true) {
            inner.arrived.push_back(chatter);
        }
        drop(inner);
        self.changed.notify_one();
        Answer::Soon(receiver)
    }

    /// One less listens.
    pub fn remove(&self, chatter: ChatterId) {
        let mut inner = self.inner.lock();
        let connected = inner.connected;
        let Some(entry) = inner.chatters.get_mut(&chatter) else { return };
        entry.listens = entry.listens.saturating_sub(1);
        if entry.listens > 0 {
            return;
        }
        if !connected {
            // Whoever is wanted is asked for when there is a connection.
            inner.chatters.remove(&chatter);
        } else if !std::mem::replace(&mut entry.in_left, true) {
            inner.left.push_back(chatter);
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
        inner.forget();
        inner.connected = true;
        inner.arrived = inner.chatters.keys().copied().collect();
        inner.chatters.values_mut().for_each(|entry| entry.in_arrived = true);
        inner.arrived.len()
    }

    /// The connection broke: who waits is told no.
    pub fn disconnected(&self) {
        let mut inner = self.inner.lock();
        inner.forget();
        inner.connected = false;
    }

    /// Returns when there may be something to ask.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// What to ask next; none when nothing has changed. Who left does not keep those waiting who arrive.
    pub fn next_round(&self) -> Option<Round> {
        let mut inner = self.inner.lock();
        let mut subscribe = Vec::new();
        while subscribe.len() < SUBSCRIBED_AT_ONCE
            && let Some(chatter) = inner.arrived.pop_front()
        {
            let Some(entry) = inner.chatters.get_mut(&chatter) else { continue };
            entry.in_arrived = false;
            if entry.listens > 0 && !entry.confirmed {
                subscribe.push(chatter);
            }
        }
        if !subscribe.is_empty() {
            return Some(Round::Subscribe(subscribe));
        }
        let mut unsubscribe = Vec::new();
        while unsubscribe.len() < UNSUBSCRIBED_AT_ONCE
            && let Some(chatter) = inner.left.pop_front()
        {
            let Some(entry) = inner.chatters.get_mut(&chatter) else { continue };
            entry.in_left = false;
            if entry.listens == 0 {
                if entry.confirmed {
                    unsubscribe.push(chatter);
                }
                inner.chatters.remove(&chatter);
            }
        }
        (!unsubscribe.is_empty()).then_some(Round::Unsubscribe(unsubscribe))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn connected(chatters: std::ops::Range<i64>) -> Subscriptions {
        let subscriptions = Subscriptions::default();
        subscriptions.connected();
        for chatter in chatters.map(ChatterId::new) {
            drop(subscriptions.add(chatter));
        }
        while let Some(Round::Subscribe(chatters)) = subscriptions.next_round() {
            subscriptions.confirmed(&chatters);
        }
        subscriptions
    }

    #[test]
    fn who_arrives_does_not_wait_for_those_who_left() {
        let subscriptions = connected(0..3_000);
        (0..3_000).map(ChatterId::new).for_each(|chatter| subscriptions.remove(chatter));
        assert!(matches!(subscriptions.next_round(), Some(Round::Unsubscribe(_))));
        drop(subscriptions.add(ChatterId::new(9_000)));
        assert_eq!(subscriptions.next_round(), Some(Round::Subscribe(vec![ChatterId::new(9_000)])));
        let mut left = 3_000 - UNSUBSCRIBED_AT_ONCE;
        while let Some(Round::Unsubscribe(chatters)) = subscriptions.next_round() {
            left -= chatters.len();
        }
        assert_eq!(left, 0);
    }

    #[test]
    fn each_is_asked_for_once_however_often_they_come_and_go() {
        let subscriptions = connected(1..2);
        for _ in 0..5 {
            subscriptions.remove(ChatterId::new(1));
            drop((subscriptions.add(ChatterId::new(1)), subscriptions.add(ChatterId::new(2))));
            subscriptions.remove(ChatterId::new(2));
        }
        assert_eq!(subscriptions.next_round(), None, "1 is subscribed, 2 is not wanted");
        subscriptions.remove(ChatterId::new(1));
        assert_eq!(subscriptions.next_round(), Some(Round::Unsubscribe(vec![ChatterId::new(1)])));
        drop((subscriptions.add(ChatterId::new(1)), subscriptions.add(ChatterId::new(1))));
        assert_eq!(
            subscriptions.next_round(),
            Some(Round::Subscribe(vec![ChatterId::new(1)])),
            "not confirmed any more"
        );
    }

    #[test]
    fn a_new_connection_is_asked_for_all_who_are_still_listened_to() {
        let subscriptions = connected(1..4);
        subscriptions.disconnected();
        subscriptions.remove(ChatterId::new(2));
        assert!(matches!(subscriptions.add(ChatterId::new(5)), Answer::Away));
        assert_eq!(subscriptions.connected(), 3);
        let Some(Round::Subscribe(mut all)) = subscriptions.next_round() else { panic!("nobody is asked for") };
        all.sort_unstable();
        assert_eq!(all, [1, 3, 5].map(ChatterId::new));
    }
}
