//! The broker over Redis: one connection that publishes, one that is subscribed to a channel for each chatter, and one
//! that keeps the presence directory.
//!
//! Each connection is replaced for as long as the server runs. Only [`Broker::subscribe`] waits for Redis, for at most
//! 500 ms, and reads of the directory, for at most 300 ms.

mod connect;
mod directory;
mod failure;
mod health;
mod inbound;
mod publish;
mod reconnect;
mod settings;
mod shared;
mod subscribe;
mod subscriptions;
mod topology;

use std::collections::HashSet;
use std::future::ready;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use tokio::sync::mpsc;
use tokio::time::timeout;

pub use settings::{Settings, SettingsError};

use self::publish::{Outgoing, Publisher};
use self::shared::Shared;
use self::subscriptions::Confirmation;
use super::{Broker, BrokerEventHandler, ClusterMessage, Orphans, State};
use crate::domain::ChatterId;
use crate::metrics::BrokerMetrics;

/// See the module.
pub struct RedisBroker {
    shared: Arc<Shared>,
    publisher: Publisher,
}

/// Runs the connections of a broker.
pub struct RedisWorker {
    shared: Arc<Shared>,
    queue: mpsc::Receiver<Outgoing>,
}

impl RedisBroker {
    /// Refuses settings that can never work; connects to nothing.
    pub fn check(settings: &Settings) -> Result<(), SettingsError> {
        connect::Connector::new(settings).map(|_| ())
    }

    /// A broker, and its worker, which has to be run. All instances share the secrets, and no other service does: the
    /// first one signs messages, and each verifies them.
    ///
    /// Redis need not be up. Only settings that can never work are refused, such as a malformed URL.
    pub fn open(settings: &Settings, secrets: &[&[u8]]) -> Result<(Arc<dyn Broker>, RedisWorker), SettingsError> {
        let shared = Arc::new(Shared::new(settings, secrets)?);
        let (publisher, queue) = Publisher::new(shared.clone());
        Ok((Arc::new(Self { shared: shared.clone(), publisher }), RedisWorker { shared, queue }))
    }
}

impl RedisWorker {
    /// Runs until the last handle of the broker is dropped; on a tokio runtime, where each connection is a task.
    pub async fn run(self, handler: Arc<dyn BrokerEventHandler>) {
        // Publishing ends with the last handle, and ends the rest.
        tokio::select! {
            () = publish::run(&self.shared, self.queue) => {}
            () = subscribe::run(&self.shared, &handler) => {}
            () = directory::heartbeat::run(&self.shared, &*handler) => {}
        }
    }
}

impl Broker for RedisBroker {
    fn publish(&self, message: ClusterMessage) {
        self.publisher.publish(&message);
    }

    fn subscribe(&self, chatter: ChatterId) -> BoxFuture<'static, bool> {
        let within = self.shared.settings.subscribe_timeout;
        match self.shared.subscriptions.add(chatter) {
            Confirmation::Given => Box::pin(ready(true)),
            Confirmation::Away => Box::pin(ready(false)),
            Confirmation::Pending(confirmed) => {
                Box::pin(async move { matches!(timeout(within, confirmed).await, Ok(Ok(()))) })
            }
        }
    }

    fn unsubscribe(&self, chatter: ChatterId) {
        self.shared.subscriptions.remove(chatter);
    }

    fn join(&self, chatter: ChatterId) {
        self.shared.directory.local.join(chatter);
    }

    fn leave(&self, chatter: ChatterId) {
        self.shared.directory.local.leave(chatter);
    }

    fn was_connected_elsewhere(&self, chatter: ChatterId) -> bool {
        self.shared.directory.local.was_connected_elsewhere(chatter)
    }

    fn connected_elsewhere<'a>(&'a self, chatters: &'a [ChatterId]) -> BoxFuture<'a, Option<HashSet<ChatterId>>> {
        Box::pin(self.shared.directory.connected_elsewhere(chatters, self.shared.settings.publish_timeout))
    }

    fn claim_orphans(&self) -> BoxFuture<'_, Option<Orphans>> {
        Box::pin(self.shared.directory.claim_orphans(self.shared.settings.answer_timeout))
    }

    fn release_orphans<'a>(&'a self, orphans: &'a Orphans) -> BoxFuture<'a, bool> {
        Box::pin(self.shared.directory.release_orphans(orphans, self.shared.settings.answer_timeout))
    }

    fn leave_all(&self) {
        self.shared.directory.local.leave_all();
    }

    fn state(&self) -> State {
        self.shared.health.state()
    }

    fn directory_is_up(&self) -> bool {
        self.shared.directory.is_up()
    }

    fn metrics(&self) -> &BrokerMetrics {
        &self.shared.metrics
    }
}
