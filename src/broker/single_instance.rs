//! The broker of an instance without others: every message is dropped, and no chatter is connected elsewhere.

use std::collections::HashSet;
use std::future::ready;

use futures_util::future::BoxFuture;

use super::{Broker, ClusterMessage, Orphans, State};
use crate::domain::ChatterId;
use crate::metrics::BrokerMetrics;

/// See the module.
#[derive(Default)]
pub(super) struct SingleInstance {
    metrics: BrokerMetrics,
}

impl Broker for SingleInstance {
    fn publish(&self, _message: ClusterMessage) {}

    fn subscribe(&self, _chatter: ChatterId) -> BoxFuture<'static, bool> {
        Box::pin(ready(true))
    }

    fn unsubscribe(&self, _chatter: ChatterId) {}

    fn join(&self, _chatter: ChatterId) {}

    fn leave(&self, _chatter: ChatterId) {}

    fn was_connected_elsewhere(&self, _chatter: ChatterId) -> bool {
        false
    }

    fn connected_elsewhere<'a>(&'a self, _chatters: &'a [ChatterId]) -> BoxFuture<'a, Option<HashSet<ChatterId>>> {
        Box::pin(ready(Some(HashSet::new())))
    }

    fn claim_orphans(&self) -> BoxFuture<'_, Option<Orphans>> {
        Box::pin(ready(None))
    }

    fn release_orphans<'a>(&'a self, _orphans: &'a Orphans) -> BoxFuture<'a, bool> {
        Box::pin(ready(true))
    }

    fn leave_all(&self) {}

    fn state(&self) -> State {
        State::Single
    }

    fn directory_is_up(&self) -> bool {
        true
    }

    fn metrics(&self) -> &BrokerMetrics {
        &self.metrics
    }
}
