//! Re-checks the tokens of open connections: when a chatter's access may have been revoked elsewhere, and in rounds,
//! since rows that are changed by hand leave no other trace.
//!
//! A message of another instance closes no connection by itself: only the database decides. While it does not answer,
//! connections stay.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::sleep;

use crate::connections::registry::ConnectionRegistry;
use crate::domain::ChatterId;
use crate::store::{Store, StoreError};
use crate::websocket::framing::Close;

/// The pause after a check that the database did not answer.
const RETRY_AFTER: Duration = Duration::from_millis(500);
/// The most tokens that are checked with one query.
const TOKENS_AT_ONCE: usize = 500;
/// The most chatters in a piece of a round; most have one token.
const CHATTERS_AT_ONCE: usize = 400;
/// The longest round. A connection that opens just behind the round waits for two of them: less than 30 s.
const ROUND: Duration = Duration::from_secs(14);
/// The shortest round, as a part of the longest: instances that start together do not stay in step.
const ROUND_MIN_PART: f64 = 0.8;

/// The connections whose tokens have to be checked, and the task that checks them.
pub struct AccessCheck {
    store: Arc<Store>,
    connections: Arc<ConnectionRegistry>,
    needs_recheck: Mutex<HashSet<ChatterId>>,
    added: Notify,
}

impl AccessCheck {
    /// Checks the tokens of these connections in this database, once it runs.
    #[must_use]
    pub fn new(store: Arc<Store>, connections: Arc<ConnectionRegistry>) -> Self {
        Self { store, connections, needs_recheck: Mutex::default(), added: Notify::new() }
    }

    /// Has the tokens of this chatter's connections checked soon.
    pub(super) fn recheck(&self, chatter: ChatterId) {
        if self.connections.is_connected_here(chatter) {
            self.needs_recheck.lock().insert(chatter);
            self.added.notify_one();
        }
    }

    /// Has the tokens of all connections checked soon.
    pub(super) fn recheck_all(&self) {
        self.needs_recheck.lock().extend(self.connections.chatters());
        self.added.notify_one();
    }

    /// Checks for as long as the instance runs.
    pub async fn run(&self) {
        tokio::join!(self.check_requested(), self.request_rounds());
    }

    /// Has the tokens of all connections checked in each round, in pieces that are spread over it.
    async fn request_rounds(&self) {
        loop {
            let round = ROUND.mul_f64(rand::random_range(ROUND_MIN_PART..1.0));
            let chatters = self.connections.chatters();
            if chatters.is_empty() {
                sleep(round).await;
            }
            let pieces = chatters.len().div_ceil(CHATTERS_AT_ONCE);
            for some in chatters.chunks(CHATTERS_AT_ONCE) {
                sleep(round.div_f64(pieces as f64)).await;
                self.needs_recheck.lock().extend(some);
                self.added.notify_one();
            }
        }
    }

    async fn check_requested(&self) {
        loop {
            self.added.notified().await;
            let chatters = std::mem::take(&mut *self.needs_recheck.lock());
            if self.check(&chatters).await.is_err() {
                self.needs_recheck.lock().extend(chatters);
                sleep(RETRY_AFTER).await;
                self.added.notify_one();
            }
        }
    }

    /// Closes the connections of these chatters whose token is no longer valid.
    async fn check(&self, chatters: &HashSet<ChatterId>) -> Result<(), StoreError> {
        let mut by_token: HashMap<_, Vec<_>> = HashMap::new();
        for chatter in chatters {
            self.connections.for_each(*chatter, |connection| {
                by_token.entry((*chatter, connection.grant())).or_default().push(connection.clone());
            });
        }
        let tokens: Vec<_> = by_token.keys().copied().collect();
        for some in tokens.chunks(TOKENS_AT_ONCE) {
            for (token, standing) in self.store.standings(some).await? {
                if standing.is_err() {
                    let mut revoked = by_token.remove(&token).unwrap_or_default();
                    // A token that was replaced meanwhile is another one.
                    revoked.retain(|connection| connection.grant() == token.1);
                    revoked.iter().for_each(|connection| connection.close(Close::TOKEN_REFUSED));
                }
            }
        }
        Ok(())
    }
}
