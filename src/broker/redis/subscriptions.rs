//! Which chatters are subscribed to, how often, and which subscriptions Redis has confirmed.

use std::collections::{HashMap, VecDeque};

use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

use crate::domain::ChatterId;

/// How many channels one command names. Unsubscribing names fewer, since new subscriptions wait for the answer.
pub(super) const SUBSCRIBED_AT_ONCE: usize = 1_000;
const UNSUBSCRIBED_AT_ONCE: usize = 200;

/// The subscriptions of this instance; established again on each connection.
#[derive(Default)]
pub(super) struct Subscriptions {
    inner: Mutex<Inner>,
    changed: Notify,
}

#[derive(Default)]
struct Inner {
    chatters: HashMap<ChatterId, Entry>,
    /// Chatters who may have to be subscribed, and chatters who may have to be unsubscribed; each once.
    to_subscribe: VecDeque<ChatterId>,
    to_unsubscribe: VecDeque<ChatterId>,
    connected: bool,
}

#[derive(Default)]
struct Entry {
    subscribers: usize,
    /// On the current connection.
    confirmed: bool,
    in_to_subscribe: bool,
    in_to_unsubscribe: bool,
    waiting: Vec<oneshot::Sender<()>>,
}

/// Whether a subscription that is being added is confirmed.
pub(super) enum Confirmation {
    Given,
    /// There is no connection.
    Away,
    Pending(oneshot::Receiver<()>),
}

/// What to request of Redis.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Request {
    Subscribe(Vec<ChatterId>),
    Unsubscribe(Vec<ChatterId>),
}

impl Inner {
    /// Drops what held for the last connection only, and chatters without subscribers.
    fn reset(&mut self) {
        self.to_subscribe.clear();
        self.to_unsubscribe.clear();
        self.chatters.retain(|_, entry| entry.subscribers > 0);
        for entry in self.chatters.values_mut() {
            *entry = Entry { subscribers: entry.subscribers, ..Entry::default() };
        }
    }
}

impl Subscriptions {
    /// Adds one subscriber.
    pub(crate) fn add(&self, chatter: ChatterId) -> Confirmation {
        let mut inner = self.inner.lock();
        let connected = inner.connected;
        let entry = inner.chatters.entry(chatter).or_default();
        entry.subscribers += 1;
        if entry.confirmed {
            return Confirmation::Given;
        }
        if !connected {
            return Confirmation::Away;
        }
        let (sender, receiver) = oneshot::channel();
        entry.waiting.push(sender);
        if !std::mem::replace(&mut entry.in_to_subscribe, true) {
            inner.to_subscribe.push_back(chatter);
        }
        drop(inner);
        self.changed.notify_one();
        Confirmation::Pending(receiver)
    }

    /// Removes one subscriber.
    pub(crate) fn remove(&self, chatter: ChatterId) {
        let mut inner = self.inner.lock();
        let connected = inner.connected;
        let Some(entry) = inner.chatters.get_mut(&chatter) else { return };
        entry.subscribers = entry.subscribers.saturating_sub(1);
        if entry.subscribers > 0 {
            return;
        }
        if !connected {
            // The next connection subscribes to the remaining chatters.
            inner.chatters.remove(&chatter);
        } else if !std::mem::replace(&mut entry.in_to_unsubscribe, true) {
            inner.to_unsubscribe.push_back(chatter);
            drop(inner);
            self.changed.notify_one();
        }
    }

    /// Whether the chatter has subscribers.
    pub(crate) fn has(&self, chatter: ChatterId) -> bool {
        self.inner.lock().chatters.get(&chatter).is_some_and(|entry| entry.subscribers > 0)
    }

    /// A new connection: every chatter has to be subscribed again. Returns their number.
    pub(crate) fn connected(&self) -> usize {
        let mut inner = self.inner.lock();
        inner.reset();
        inner.connected = true;
        inner.to_subscribe = inner.chatters.keys().copied().collect();
        inner.chatters.values_mut().for_each(|entry| entry.in_to_subscribe = true);
        inner.to_subscribe.len()
    }

    /// The connection broke: pending confirmations fail.
    pub(crate) fn disconnected(&self) {
        let mut inner = self.inner.lock();
        inner.reset();
        inner.connected = false;
    }

    /// Returns when there may be something to request.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// What to request next; none when nothing has changed. New subscriptions come before unsubscribing.
    pub(crate) fn next_request(&self) -> Option<Request> {
        let mut inner = self.inner.lock();
        let mut subscribe = Vec::new();
        while subscribe.len() < SUBSCRIBED_AT_ONCE
            && let Some(chatter) = inner.to_subscribe.pop_front()
        {
            let Some(entry) = inner.chatters.get_mut(&chatter) else { continue };
            entry.in_to_subscribe = false;
            if entry.subscribers > 0 && !entry.confirmed {
                subscribe.push(chatter);
            }
        }
        if !subscribe.is_empty() {
            return Some(Request::Subscribe(subscribe));
        }
        let mut unsubscribe = Vec::new();
        while unsubscribe.len() < UNSUBSCRIBED_AT_ONCE
            && let Some(chatter) = inner.to_unsubscribe.pop_front()
        {
            let Some(entry) = inner.chatters.get_mut(&chatter) else { continue };
            entry.in_to_unsubscribe = false;
            if entry.subscribers == 0 {
                if entry.confirmed {
                    unsubscribe.push(chatter);
                }
                inner.chatters.remove(&chatter);
            }
        }
        (!unsubscribe.is_empty()).then_some(Request::Unsubscribe(unsubscribe))
    }

    /// Redis confirmed these subscriptions.
    pub(crate) fn confirmed(&self, chatters: &[ChatterId]) {
        let mut inner = self.inner.lock();
        for chatter in chatters {
            // Only a request removes entries, and there is one request at a time.
            let Some(entry) = inner.chatters.get_mut(chatter) else { continue };
            entry.confirmed = true;
            for waiting in entry.waiting.drain(..) {
                // The waiting side may have given up.
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
        while let Some(Request::Subscribe(chatters)) = subscriptions.next_request() {
            subscriptions.confirmed(&chatters);
        }
        subscriptions
    }

    #[test]
    fn new_subscriptions_do_not_wait_for_unsubscribing() {
        let subscriptions = connected(0..3_000);
        (0..3_000).map(ChatterId::new).for_each(|chatter| subscriptions.remove(chatter));
        assert!(matches!(subscriptions.next_request(), Some(Request::Unsubscribe(_))));
        drop(subscriptions.add(9_000.into()));
        assert_eq!(subscriptions.next_request(), Some(Request::Subscribe(vec![9_000.into()])));
        let mut left = 3_000 - UNSUBSCRIBED_AT_ONCE;
        while let Some(Request::Unsubscribe(chatters)) = subscriptions.next_request() {
            left -= chatters.len();
        }
        assert_eq!(left, 0);
    }

    #[test]
    fn a_chatter_is_requested_once_however_often_subscribers_are_added_and_removed() {
        let subscriptions = connected(1..2);
        for _ in 0..5 {
            subscriptions.remove(ChatterId::new(1));
            drop((subscriptions.add(ChatterId::new(1)), subscriptions.add(ChatterId::new(2))));
            subscriptions.remove(ChatterId::new(2));
        }
        assert_eq!(subscriptions.next_request(), None, "1 is subscribed, 2 has no subscribers");
        subscriptions.remove(1.into());
        assert_eq!(subscriptions.next_request(), Some(Request::Unsubscribe(vec![1.into()])));
        drop((subscriptions.add(1.into()), subscriptions.add(1.into())));
        assert_eq!(subscriptions.next_request(), Some(Request::Subscribe(vec![1.into()])), "not confirmed any more");
    }

    #[test]
    fn a_new_connection_subscribes_to_every_chatter_who_still_has_subscribers() {
        let subscriptions = connected(1..4);
        subscriptions.disconnected();
        subscriptions.remove(2.into());
        assert!(matches!(subscriptions.add(5.into()), Confirmation::Away));
        assert_eq!(subscriptions.connected(), 3);
        let Some(Request::Subscribe(mut all)) = subscriptions.next_request() else { panic!("nothing is requested") };
        all.sort_unstable();
        assert_eq!(all, [1, 3, 5].map(ChatterId::new));
    }
}
