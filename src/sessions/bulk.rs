//! The gate for bulk reads: the pages of long answers, searches, and what sockets read when they catch up with much.
//!
//! However many clients read in bulk, the instance builds one page at a time, and pauses behind each for longer than the
//! page took. So bulk reads take a quarter of one core at most, together with what the database does for them. Chatters
//! take turns: one with many streams has as many pages as one with a single stream. Small answers do not pass the gate.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{Instant, sleep_until};

use super::turns::{Turn, Turns};
use crate::limits::Sender;

/// An answer or a frame of more bytes is bulk. Smaller ones fit into the buffers of their connection.
pub const SMALL_BYTES: usize = 32_768;
/// The pause behind a page is so many times as long as the page took, but not longer than the bound: a page also waits
/// for a database that hangs.
const PAUSE_PER_PAGE: u32 = 3;
const PAUSE_MAX: Duration = Duration::from_millis(100);

/// The gate of one instance.
pub struct BulkGate {
    turns: Arc<Turns>,
    /// The next page begins after this.
    free_at: Mutex<Instant>,
}

/// The turn of one page, which ends when this is dropped, even if the client has gone meanwhile.
pub struct BulkTurn {
    gate: Arc<BulkGate>,
    begun: Instant,
    _turn: Turn,
}

impl Default for BulkGate {
    fn default() -> Self {
        Self { turns: Arc::new(Turns::new(1)), free_at: Mutex::new(Instant::now()) }
    }
}

impl BulkGate {
    /// Waits for the turn of a page that is yet to be built.
    pub async fn pass(self: &Arc<Self>, sender: Sender) -> BulkTurn {
        let turn = self.turns.take(sender).await;
        let free_at = *self.free_at.lock();
        sleep_until(free_at).await;
        BulkTurn { gate: self.clone(), begun: Instant::now(), _turn: turn }
    }

    /// Waits for the turn of a page that was found to be large after it had been built, which took so long.
    pub async fn pass_built(self: &Arc<Self>, sender: Sender, took: Duration) {
        let _turn = self.pass(sender).await;
        self.pause(took * (1 + PAUSE_PER_PAGE));
    }

    fn pause(&self, pause: Duration) {
        let mut free_at = self.free_at.lock();
        *free_at = (*free_at).max(Instant::now() + pause.min(PAUSE_MAX));
    }
}

impl Drop for BulkTurn {
    fn drop(&mut self) {
        self.gate.pause(self.begun.elapsed() * PAUSE_PER_PAGE);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use tokio::time::{advance, sleep};

    use super::*;
    use crate::domain::ChatterId;

    const PAGE: Duration = Duration::from_millis(10);

    fn chatter(id: i64) -> Sender {
        Sender::Chatter(ChatterId::new(id))
    }

    #[tokio::test(start_paused = true)]
    async fn a2_the_gate_pauses_behind_a_page_in_proportion_to_what_it_took() {
        let gate = Arc::new(BulkGate::default());
        let begun = Instant::now();
        for _ in 0..5 {
            let _turn = gate.pass(chatter(1)).await;
            sleep(PAGE).await;
        }
        let pause = PAGE * PAUSE_PER_PAGE;
        assert_eq!(begun.elapsed(), PAGE * 5 + pause * 4, "five pages and four pauses");
        gate.pass_built(chatter(1), PAGE).await;
        assert_eq!(begun.elapsed(), (PAGE + pause) * 5);
        gate.pass(chatter(1)).await;
        assert_eq!(begun.elapsed(), (PAGE + pause) * 6, "a page that was built before its turn takes as long");
        {
            let _turn = gate.pass(chatter(1)).await;
            sleep(Duration::from_secs(3)).await;
        }
        let ended = Instant::now();
        gate.pass(chatter(1)).await;
        assert_eq!(ended.elapsed(), PAUSE_MAX);
    }

    #[tokio::test(start_paused = true)]
    async fn a2_a_chatter_with_many_streams_has_one_turn_among_the_chatters() {
        let gate = Arc::new(BulkGate::default());
        let pages: Arc<Mutex<Vec<i64>>> = Arc::default();
        let stream = |id: i64| {
            let (gate, pages) = (gate.clone(), pages.clone());
            tokio::spawn(async move {
                loop {
                    let _turn = gate.pass(chatter(id)).await;
                    pages.lock().push(id);
                    sleep(PAGE).await;
                }
            })
        };
        let mut streams: Vec<_> = (0..50).map(|_| stream(1)).collect();
        tokio::task::yield_now().await;
        streams.extend([stream(2), stream(3)]);
        sleep((PAGE * (1 + PAUSE_PER_PAGE)) * 30).await;
        let pages = pages.lock().clone();
        for id in 1..=3 {
            let of_one = pages.iter().filter(|page| **page == id).count();
            assert!((9..=11).contains(&of_one), "{id} had {of_one} of {} pages: {pages:?}", pages.len());
        }
        streams.iter().for_each(|stream| stream.abort());
    }

    #[tokio::test(start_paused = true)]
    async fn a2_a_client_that_goes_away_leaves_its_pause_and_not_its_turn() {
        let gate = Arc::new(BulkGate::default());
        let turn = gate.pass(chatter(1)).await;
        let mut gone = Box::pin(gate.pass(chatter(2)));
        assert!(gone.as_mut().now_or_never().is_none());
        advance(PAGE).await;
        drop(turn);
        assert!(gone.as_mut().now_or_never().is_none(), "it waits for the pause");
        drop(gone);
        let ended = Instant::now();
        gate.pass(chatter(3)).await;
        assert_eq!(ended.elapsed(), PAGE * PAUSE_PER_PAGE);
    }
}
