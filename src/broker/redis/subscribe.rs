//! The connection that is subscribed: requests subscriptions, receives messages, and checks that Redis still answers.

use std::convert::Infallible;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use redis::{Pipeline, RedisResult};
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use super::connect::{Connection, in_time};
use super::failure::Failure;
use super::health::Role;
use super::inbound::Inbound;
use super::reconnect::Reconnector;
use super::shared::Shared;
use super::subscriptions::{Request, SUBSCRIBED_AT_ONCE};
use crate::broker::BrokerEventHandler;
use crate::broker::envelope::replay::Received;
use crate::domain::ChatterId;

/// Keeps the subscriptions established, for ever.
pub(super) async fn run(shared: &Arc<Shared>, handler: &Arc<dyn BrokerEventHandler>) {
    let mut reconnector = Reconnector::new(Role::Subscribed, shared.settings.backoff);
    let traffic = Arc::new(AtomicU64::new(0));
    let received = Arc::new(Mutex::new(Received::default()));
    loop {
        let receiver = || {
            let inbound = Inbound::new(shared.clone(), handler.clone(), traffic.clone(), received.clone());
            move |push| inbound.on_push(push)
        };
        let connection = reconnector.connection(shared, receiver).await;
        let failure = Subscriber { shared, connection, traffic: &traffic }.serve(&**handler).await;
        shared.subscriptions.disconnected();
        shared.health.down(Role::Subscribed, &failure);
        handler.on_disconnected();
    }
}

/// One connection's life.
struct Subscriber<'a> {
    shared: &'a Shared,
    connection: Connection,
    traffic: &'a AtomicU64,
}

impl Subscriber<'_> {
    /// Serves until the connection fails, then closes it.
    async fn serve(mut self, handler: &dyn BrokerEventHandler) -> Failure {
        let Err(failure) = self.try_serve(handler).await;
        failure
    }

    async fn try_serve(&mut self, handler: &dyn BrokerEventHandler) -> Result<Infallible, Failure> {
        // As many requests as all earlier subscriptions take. Subscriptions that are added meanwhile come after them.
        for _ in 0..self.shared.subscriptions.connected().div_ceil(SUBSCRIBED_AT_ONCE) {
            self.send_next_request().await?;
        }
        self.shared.health.up(Role::Subscribed);
        handler.on_reconnected();
        let every = self.shared.settings.ping_interval;
        let mut ticks = interval_at(Instant::now() + every, every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            while self.send_next_request().await? {}
            tokio::select! {
                () = self.shared.subscriptions.changed() => {}
                _ = ticks.tick() => {
                    self.answered(self.connection.role(&self.shared.connector)).await?.check()?;
                    self.connection.check_sentinels(&self.shared.connector).await?;
                }
                failure = self.connection.ended() => return Err(failure),
            }
        }
    }

    /// Sends the next request and waits for its answer; false where there was nothing to request.
    async fn send_next_request(&self) -> Result<bool, Failure> {
        let Some(request) = self.shared.subscriptions.next_request() else { return Ok(false) };
        self.answered(self.send(&request)).await?;
        if let Request::Subscribe(chatters) = &request {
            self.shared.subscriptions.confirmed(chatters);
        }
        Ok(true)
    }

    async fn send(&self, request: &Request) -> RedisResult<()> {
        let mut redis = self.connection.redis.clone();
        let (sharded, chatters) = match request {
            Request::Subscribe(chatters) => ("SSUBSCRIBE", chatters),
            Request::Unsubscribe(chatters) => ("SUNSUBSCRIBE", chatters),
        };
        let channels = self.channels(chatters);
        if self.shared.settings.is_cluster() {
            // The client library expects one confirmation for a command of its own that it does not know.
            let mut pipeline = Pipeline::new();
            for channel in channels {
                pipeline.cmd(sharded).arg(channel).ignore();
            }
            return pipeline.exec_async(&mut redis).await;
        }
        match request {
            Request::Subscribe(_) => redis.subscribe(channels).await,
            Request::Unsubscribe(_) => redis.unsubscribe(channels).await,
        }
    }

    fn channels(&self, chatters: &[ChatterId]) -> Vec<String> {
        chatters.iter().map(|chatter| self.shared.channel(*chatter)).collect()
    }

    /// Waits as long as messages arrive: behind a flood of them an answer may be late.
    async fn answered<T>(&self, request: impl Future<Output = RedisResult<T>>) -> Result<T, Failure> {
        let mut request = pin!(request);
        loop {
            let before = self.traffic.load(Ordering::Relaxed);
            match in_time(self.shared.settings.answer_timeout, &mut request).await {
                Err(Failure::Silent) if self.traffic.load(Ordering::Relaxed) != before => {}
                answer => return answer,
            }
        }
    }
}
