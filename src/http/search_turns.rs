//! Turns at searching: one search a chatter at a time, whose pages pass the gate for bulk reads.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::domain::ChatterId;
use crate::limits::Sender;
use crate::problem::{Code, Problem};
use crate::sessions::bulk::{BulkGate, BulkTurn};

/// How long a search waits for the chatter's search before it, which may have been given up and is about to end.
const OWN_WAIT: Duration = Duration::from_secs(1);
/// The searches of one chatter that run or wait; one more is refused.
const OWN_MAX: usize = 3;
/// How long a page waits for what other chatters read in bulk.
const PAGE_WAIT: Duration = Duration::from_secs(2);

/// The turns of an instance.
pub struct SearchTurns {
    bulk: Arc<BulkGate>,
    chatters: Mutex<HashMap<ChatterId, Own>>,
}

/// The searches of one chatter.
struct Own {
    turn: Arc<Semaphore>,
    /// Those that run or wait.
    count: usize,
}

/// One search of a chatter, which ends when it is dropped.
pub(super) struct Search {
    turns: Arc<SearchTurns>,
    chatter: ChatterId,
    turn: Option<OwnedSemaphorePermit>,
}

impl SearchTurns {
    /// Turns at searches whose pages pass this gate.
    #[must_use]
    pub fn new(bulk: Arc<BulkGate>) -> Arc<Self> {
        Arc::new(Self { bulk, chatters: Mutex::default() })
    }

    /// Begins a search when the chatter's search before it has ended.
    pub(super) async fn begin(self: &Arc<Self>, chatter: ChatterId) -> Result<Search, Problem> {
        let refused = || {
            let detail = "Another search of yours is running; wait for its answer, or give it up, before the next one.";
            Problem::new(Code::RateLimited, detail)
        };
        let turn = {
            let mut chatters = self.chatters.lock();
            let own = chatters.entry(chatter).or_insert_with(|| Own { turn: Arc::new(Semaphore::new(1)), count: 0 });
            if own.count >= OWN_MAX {
                return Err(refused());
            }
            own.count += 1;
            own.turn.clone()
        };
        let mut search = Search { turns: self.clone(), chatter, turn: None };
        search.turn =
            Some(timeout(OWN_WAIT, turn.acquire_owned()).await.ok().and_then(Result::ok).ok_or_else(refused)?);
        Ok(search)
    }
}

impl Search {
    /// Waits for the turn of a page.
    pub(super) async fn page(&self) -> Result<BulkTurn, Problem> {
        let turn = timeout(PAGE_WAIT, self.turns.bulk.pass(Sender::Chatter(self.chatter))).await;
        turn.map_err(|_| Problem::new(Code::Busy, "Too many people are searching right now. Try again in a moment."))
    }
}

impl Drop for Search {
    fn drop(&mut self) {
        let mut chatters = self.turns.chatters.lock();
        if let Some(own) = chatters.get_mut(&self.chatter) {
            own.count -= 1;
            if own.count == 0 {
                chatters.remove(&self.chatter);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_chatter_has_one_search_at_a_time_and_few_that_wait() {
        let (turns, ann, bob) = (SearchTurns::new(Arc::default()), ChatterId::new(1), ChatterId::new(2));
        let first = turns.begin(ann).await.unwrap();
        assert!(turns.begin(bob).await.is_ok(), "another chatter has a turn of their own");
        assert_eq!(turns.begin(ann).await.err().map(|problem| problem.code), Some(Code::RateLimited), "it waited");
        let waiting =
            [turns.clone(), turns.clone()].map(|turns| tokio::spawn(async move { turns.begin(ann).await.is_ok() }));
        tokio::task::yield_now().await;
        assert!(turns.begin(ann).await.is_err(), "enough wait already");
        drop(first);
        for search in waiting {
            assert!(search.await.unwrap());
        }
        assert!(turns.chatters.lock().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_page_that_gets_no_turn_is_busy() {
        let turns = SearchTurns::new(Arc::default());
        let (ann, bob) = (turns.begin(ChatterId::new(1)).await.unwrap(), turns.begin(ChatterId::new(2)).await.unwrap());
        let page = ann.page().await.unwrap();
        assert_eq!(bob.page().await.err().map(|problem| problem.code), Some(Code::Busy));
        drop(page);
        assert!(bob.page().await.is_ok());
    }
}
