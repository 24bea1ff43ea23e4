//! Who is connected here, as far as the others have to know it: what each twin of the roster writes down for them.
//!
//! Coming and going is counted, so that the order of two calls that overlap does not matter.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::domain::ChatterId;

/// Chatters of an instance that died, for whoever got them to take them off.
#[derive(Debug)]
pub struct Orphans {
    /// Who they are; somebody may be connected to another instance by now.
    pub chatters: Vec<ChatterId>,
    /// How long their instance has not been heard of.
    pub silent: Duration,
    /// What names the dead instance.
    pub(super) instance: String,
    /// How they are written down there, also what is no chatter.
    pub(super) members: Vec<Vec<u8>>,
}

/// The chatters of this instance.
#[derive(Default)]
pub(super) struct Here {
    inner: Mutex<Inner>,
    changed: Notify,
}

#[derive(Default)]
struct Inner {
    chatters: HashMap<ChatterId, Entry>,
    /// Who came or went since that was last written down; nobody while all has to be written anyway.
    changed: HashSet<ChatterId>,
    writing: bool,
    left: bool,
}

#[derive(Default)]
struct Entry {
    /// Below zero for a moment, where somebody's going overtakes their coming.
    count: i32,
    joined: bool,
}

/// What has to be written down.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Batch {
    pub here: Vec<ChatterId>,
    pub gone: Vec<ChatterId>,
}

impl Batch {
    pub fn is_empty(&self) -> bool {
        self.here.is_empty() && self.gone.is_empty()
    }
}

impl Here {
    pub fn join(&self, chatter: ChatterId) {
        self.count(chatter, 1);
    }

    pub fn leave(&self, chatter: ChatterId) {
        self.count(chatter, -1);
    }

    fn count(&self, chatter: ChatterId, change: i32) {
        let mut inner = self.inner.lock();
        let entry = inner.chatters.entry(chatter).or_default();
        entry.count += change;
        if entry.count == 0 {
            inner.chatters.remove(&chatter);
        }
        if inner.writing && inner.changed.insert(chatter) {
            drop(inner);
            self.changed.notify_one();
        }
    }

    /// Whether the chatter was connected elsewhere when they came here.
    pub fn joined(&self, chatter: ChatterId) -> bool {
        self.inner.lock().chatters.get(&chatter).is_some_and(|entry| entry.joined)
    }

    /// What was found out about those who came.
    pub fn set_joined(&self, came: &[ChatterId], elsewhere: &[ChatterId]) {
        let mut inner = self.inner.lock();
        for chatter in came {
            if let Some(entry) = inner.chatters.get_mut(chatter) {
                entry.joined = elsewhere.contains(chatter);
            }
        }
    }

    /// Whether the chatter is here.
    pub fn has(&self, chatter: ChatterId) -> bool {
        self.inner.lock().chatters.get(&chatter).is_some_and(|entry| entry.count > 0)
    }

    /// Everybody who is here.
    pub fn all(&self) -> Vec<ChatterId> {
        self.inner.lock().chatters.iter().filter(|(_, entry)| entry.count > 0).map(|(chatter, _)| *chatter).collect()
    }

    /// Takes a chatter off, however often they came.
    pub fn forget(&self, chatter: ChatterId) {
        self.inner.lock().chatters.remove(&chatter);
    }

    /// Everybody has to be written down anew.
    pub fn begin(&self) {
        let inner = &mut *self.inner.lock();
        inner.writing = true;
        inner.changed = inner.chatters.keys().copied().collect();
    }

    /// Nothing can be written down until it begins anew.
    pub fn pause(&self) {
        let mut inner = self.inner.lock();
        inner.writing = false;
        inner.changed = HashSet::new();
    }

    /// Waits until something has to be written down, or this instance leaves.
    pub async fn changed(&self) {
        loop {
            let (waits, left) = {
                let inner = self.inner.lock();
                (inner.changed.is_empty(), inner.left)
            };
            if !waits || left {
                return;
            }
            self.changed.notified().await;
        }
    }

    /// What to write down next, of so many chatters at most.
    pub fn next_batch(&self, most: usize) -> Batch {
        let inner = &mut *self.inner.lock();
        let some: Vec<ChatterId> = inner.changed.iter().take(most).copied().collect();
        let mut batch = Batch::default();
        for chatter in some {
            inner.changed.remove(&chatter);
            let here = inner.chatters.get(&chatter).is_some_and(|entry| entry.count > 0);
            if here { &mut batch.here } else { &mut batch.gone }.push(chatter);
        }
        batch
    }

    /// From now on nothing is written down any more.
    pub fn leave_all(&self) {
        self.inner.lock().left = true;
        self.changed.notify_one();
    }

    pub fn has_left(&self) -> bool {
        self.inner.lock().left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(here: &[i64], gone: &[i64]) -> Batch {
        let chatters = |ids: &[i64]| ids.iter().copied().map(ChatterId::new).collect();
        Batch { here: chatters(here), gone: chatters(gone) }
    }

    #[test]
    fn who_comes_and_goes_in_between_is_written_once_as_they_are() {
        let here = Here::default();
        here.begin();
        (0..5).for_each(|_| {
            here.join(ChatterId::new(1));
            here.leave(ChatterId::new(1));
        });
        assert_eq!(here.next_batch(9), batch(&[], &[1]));
        here.leave(ChatterId::new(2));
        here.join(ChatterId::new(2));
        here.join(ChatterId::new(2));
        assert_eq!(here.next_batch(9), batch(&[2], &[]), "a going that overtakes its coming");
        here.join(ChatterId::new(2));
        here.leave(ChatterId::new(2));
        assert_eq!(here.next_batch(9), batch(&[2], &[]), "still here");
        assert!(here.next_batch(9).is_empty());
    }

    #[test]
    fn a_new_beginning_writes_all_who_are_here_and_nobody_else() {
        let here = Here::default();
        (1..=3).map(ChatterId::new).for_each(|chatter| here.join(chatter));
        assert!(here.next_batch(9).is_empty(), "not before it begins");
        here.begin();
        assert_eq!(here.next_batch(2).here.len(), 2);
        here.pause();
        here.leave(ChatterId::new(2));
        here.begin();
        let mut all = here.next_batch(9);
        all.here.sort_unstable();
        assert_eq!(all, batch(&[1, 3], &[]));
    }

    #[test]
    fn who_had_been_elsewhere_is_known_until_they_go() {
        let here = Here::default();
        here.join(ChatterId::new(1));
        let both = [1, 2].map(ChatterId::new);
        here.set_joined(&both, &both);
        assert!(here.joined(ChatterId::new(1)) && !here.joined(ChatterId::new(2)));
        here.leave(ChatterId::new(1));
        here.join(ChatterId::new(1));
        assert!(!here.joined(ChatterId::new(1)));
    }
}
