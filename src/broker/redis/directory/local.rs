//! The chatters who are connected to this instance, as far as the presence directory has to know them. Pure.
//!
//! Joins and leaves are counted, so the order of two overlapping calls does not matter.

use std::collections::{HashMap, HashSet};

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::domain::ChatterId;

/// The chatters of this instance.
#[derive(Default)]
pub(in crate::broker::redis) struct LocalChatters {
    inner: Mutex<Inner>,
    changed: Notify,
}

#[derive(Default)]
struct Inner {
    chatters: HashMap<ChatterId, Entry>,
    /// Chatters who joined or left since they were last written; empty while nothing can be written.
    changed: HashSet<ChatterId>,
    writable: bool,
    leaving: bool,
}

#[derive(Default)]
struct Entry {
    /// Below zero for a moment, where a leave overtakes its join.
    count: i32,
    was_connected_elsewhere: bool,
}

/// What has to be written to the directory.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::broker::redis) struct Batch {
    pub present: Vec<ChatterId>,
    pub absent: Vec<ChatterId>,
}

impl Batch {
    pub(crate) fn is_empty(&self) -> bool {
        self.present.is_empty() && self.absent.is_empty()
    }
}

impl LocalChatters {
    /// Counts one more connection of the chatter.
    pub(crate) fn join(&self, chatter: ChatterId) {
        self.count(chatter, 1);
    }

    /// Counts one connection of the chatter less.
    pub(crate) fn leave(&self, chatter: ChatterId) {
        self.count(chatter, -1);
    }

    fn count(&self, chatter: ChatterId, change: i32) {
        let mut inner = self.inner.lock();
        let entry = inner.chatters.entry(chatter).or_default();
        entry.count += change;
        if entry.count == 0 {
            inner.chatters.remove(&chatter);
        }
        if inner.writable && inner.changed.insert(chatter) {
            drop(inner);
            self.changed.notify_one();
        }
    }

    /// Whether the chatter was connected elsewhere when they joined here.
    pub(crate) fn was_connected_elsewhere(&self, chatter: ChatterId) -> bool {
        self.inner.lock().chatters.get(&chatter).is_some_and(|entry| entry.was_connected_elsewhere)
    }

    /// Records which of the written chatters were connected elsewhere.
    pub(crate) fn set_connected_elsewhere(&self, written: &[ChatterId], elsewhere: &[ChatterId]) {
        let mut inner = self.inner.lock();
        for chatter in written {
            if let Some(entry) = inner.chatters.get_mut(chatter) {
                entry.was_connected_elsewhere = elsewhere.contains(chatter);
            }
        }
    }

    /// Starts over: every chatter has to be written.
    pub(crate) fn start_writing(&self) {
        let inner = &mut *self.inner.lock();
        inner.writable = true;
        inner.changed = inner.chatters.keys().copied().collect();
    }

    /// Nothing can be written until [`LocalChatters::start_writing`].
    pub(crate) fn stop_writing(&self) {
        let mut inner = self.inner.lock();
        inner.writable = false;
        inner.changed = HashSet::new();
    }

    /// Waits until something has to be written, or this instance leaves.
    pub(crate) async fn changed(&self) {
        loop {
            let ready = {
                let inner = self.inner.lock();
                !inner.changed.is_empty() || inner.leaving
            };
            if ready {
                return;
            }
            self.changed.notified().await;
        }
    }

    /// What to write next, of so many chatters at most.
    pub(crate) fn next_batch(&self, most: usize) -> Batch {
        let inner = &mut *self.inner.lock();
        let chatters: Vec<ChatterId> = inner.changed.iter().take(most).copied().collect();
        let mut batch = Batch::default();
        for chatter in chatters {
            inner.changed.remove(&chatter);
            let present = inner.chatters.get(&chatter).is_some_and(|entry| entry.count > 0);
            if present { &mut batch.present } else { &mut batch.absent }.push(chatter);
        }
        batch
    }

    /// This instance leaves: nothing more is written.
    pub(crate) fn leave_all(&self) {
        self.inner.lock().leaving = true;
        self.changed.notify_one();
    }

    /// Whether this instance leaves.
    pub(crate) fn is_leaving(&self) -> bool {
        self.inner.lock().leaving
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(present: &[i64], absent: &[i64]) -> Batch {
        let chatters = |ids: &[i64]| ids.iter().copied().map(ChatterId::new).collect();
        Batch { present: chatters(present), absent: chatters(absent) }
    }

    #[test]
    fn a_chatter_who_joins_and_leaves_between_two_writes_is_written_once_in_the_final_state() {
        let local = LocalChatters::default();
        local.start_writing();
        (0..5).for_each(|_| {
            local.join(1.into());
            local.leave(1.into());
        });
        assert_eq!(local.next_batch(9), batch(&[], &[1]));
        local.leave(2.into());
        local.join(2.into());
        local.join(2.into());
        assert_eq!(local.next_batch(9), batch(&[2], &[]), "a leave that overtakes its join");
        local.join(2.into());
        local.leave(2.into());
        assert_eq!(local.next_batch(9), batch(&[2], &[]), "still present");
        assert!(local.next_batch(9).is_empty());
    }

    #[test]
    fn starting_over_writes_every_present_chatter_and_no_other() {
        let local = LocalChatters::default();
        (1..=3).for_each(|chatter| local.join(ChatterId::new(chatter)));
        assert!(local.next_batch(9).is_empty(), "not before it starts");
        local.start_writing();
        assert_eq!(local.next_batch(2).present.len(), 2);
        local.stop_writing();
        local.leave(2.into());
        local.start_writing();
        let mut all = local.next_batch(9);
        all.present.sort_unstable();
        assert_eq!(all, batch(&[1, 3], &[]));
    }

    #[test]
    fn a_chatter_counts_as_connected_elsewhere_until_they_leave() {
        let local = LocalChatters::default();
        local.join(1.into());
        let both = [1, 2].map(ChatterId::new);
        local.set_connected_elsewhere(&both, &both);
        assert!(local.was_connected_elsewhere(1.into()) && !local.was_connected_elsewhere(2.into()));
        local.leave(1.into());
        local.join(1.into());
        assert!(!local.was_connected_elsewhere(1.into()));
    }
}
