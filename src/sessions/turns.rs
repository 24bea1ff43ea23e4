//! Turns at what may be done a little later: reading the database for sockets that sign in or catch up, reading in bulk,
//! and encoding lists.
//!
//! When many of them come at once, they wait for each other here, and not for a database connection, for which
//! everything else waits too and where the deadlines run. A chatter has few turns at a time, first come first served;
//! so the turns of one chatter with many sockets do not keep others waiting.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::limits::Sender;

/// The turns of one instance.
pub struct Turns {
    all: Arc<Semaphore>,
    /// How many turns one sender has at a time.
    each: usize,
    /// Those that have a turn or wait for one.
    queues: Mutex<HashMap<Sender, Arc<Semaphore>>>,
}

/// A turn; it ends when this is dropped. The fields are dropped in their order.
pub struct Turn {
    _of_all: Option<OwnedSemaphorePermit>,
    _own: Option<OwnedSemaphorePermit>,
    _queue: Queue,
}

/// Keeps a sender's queue while it is used.
struct Queue {
    turns: Arc<Turns>,
    sender: Sender,
    semaphore: Arc<Semaphore>,
}

impl Turns {
    /// So many turns at a time, of which one sender has a quarter.
    #[must_use]
    pub fn new(all: usize) -> Self {
        Self { all: Arc::new(Semaphore::new(all)), each: (all / 4).max(1), queues: Mutex::default() }
    }

    /// Waits for a turn: first for one of the sender's own, then for one of all.
    pub async fn take(self: &Arc<Self>, sender: Sender) -> Turn {
        let queue = self.queue(sender);
        // Neither semaphore is ever closed.
        let own = queue.semaphore.clone().acquire_owned().await.ok();
        let of_all = self.all.clone().acquire_owned().await.ok();
        Turn { _of_all: of_all, _own: own, _queue: queue }
    }

    fn queue(self: &Arc<Self>, sender: Sender) -> Queue {
        let mut queues = self.queues.lock();
        let semaphore = queues.entry(sender).or_insert_with(|| Arc::new(Semaphore::new(self.each))).clone();
        Queue { turns: self.clone(), sender, semaphore }
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        let mut queues = self.turns.queues.lock();
        // One is in the map, one is this: nothing else has a turn or waits for one.
        if Arc::strong_count(&self.semaphore) == 2 {
            queues.remove(&self.sender);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;
    use crate::domain::ChatterId;

    fn chatter(id: i64) -> Sender {
        Sender::Chatter(ChatterId::new(id))
    }

    #[tokio::test]
    async fn a5_a_chatter_who_waits_for_many_turns_leaves_those_of_others() {
        let turns = Arc::new(Turns::new(5));
        let first = turns.take(chatter(1)).now_or_never().unwrap();
        let mut waiting: Vec<_> = (0..100).map(|_| Box::pin(turns.take(chatter(1)))).collect();
        assert!(waiting.iter_mut().all(|turn| turn.now_or_never().is_none()));
        let others: Vec<_> = (2..6).map(|id| turns.take(chatter(id)).now_or_never()).collect();
        assert!(others.iter().all(Option::is_some));
        assert!(turns.take(chatter(6)).now_or_never().is_none(), "all five turns are taken");
        drop(first);
        drop(waiting);
        drop(others);
        assert!(turns.queues.lock().is_empty());
    }

    #[tokio::test]
    async fn a5_the_turns_of_one_chatter_come_in_the_order_in_which_they_were_asked_for() {
        let turns = Arc::new(Turns::new(5));
        let first = turns.take(chatter(1)).await;
        let mut waiting: Vec<_> = (0..3).map(|_| Box::pin(turns.take(chatter(1)))).collect();
        for turn in &mut waiting {
            assert!(turn.as_mut().now_or_never().is_none());
        }
        drop(first);
        assert!(waiting[2].as_mut().now_or_never().is_none() && waiting[1].as_mut().now_or_never().is_none());
        assert!(waiting[0].as_mut().now_or_never().is_some());
    }
}
