//! The connection that is subscribed: asks for what is wanted, hears, and makes sure that Redis is still there.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use redis::RedisResult;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use super::Shared;
use super::connect::{Connection, Failure, Pace, in_time};
use super::health::Side;
use super::inbound::Inbound;
use super::subscriptions::{Round, SUBSCRIBED_AT_ONCE};
use crate::broker::BrokerEventHandler;
use crate::domain::ChatterId;

/// Subscribes for ever.
pub(super) async fn run(shared: &Arc<Shared>, handler: &Arc<dyn BrokerEventHandler>) {
    let mut pace = Pace::new(shared.settings.backoff);
    let traffic = Arc::new(AtomicU64::new(0));
    loop {
        let ear = || {
            let hearing = Inbound::new(shared.clone(), handler.clone(), traffic.clone());
            move |push| hearing.pushed(push)
        };
        let connection = pace.connection(shared, Side::Subscribed, ear).await;
        let line = Line { shared, connection, traffic: &traffic };
        let failure = line.serve(&**handler).await;
        shared.subscriptions.disconnected();
        shared.health.down(Side::Subscribed, &failure);
        handler.on_disconnected();
    }
}

struct Line<'a> {
    shared: &'a Shared,
    connection: Connection,
    traffic: &'a AtomicU64,
}

impl Line<'_> {
    /// Until the connection fails.
    async fn serve(mut self, handler: &dyn BrokerEventHandler) -> Failure {
        let Err(failure) = self.try_serve(handler).await;
        failure
    }

    async fn try_serve(&mut self, handler: &dyn BrokerEventHandler) -> Result<std::convert::Infallible, Failure> {
        // As many rounds as it takes for all that was wanted before; what comes meanwhile is waited for by nobody here.
        for _ in 0..self.shared.subscriptions.connected().div_ceil(SUBSCRIBED_AT_ONCE) {
            self.ask_next_round().await?;
        }
        self.shared.health.up(Side::Subscribed);
        handler.on_reconnected();
        let every = self.shared.settings.ping_interval;
        let mut ticks = interval_at(Instant::now() + every, every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            while self.ask_next_round().await? {}
            tokio::select! {
                () = self.shared.subscriptions.changed() => {}
                _ = ticks.tick() => {
                    let mut redis = self.connection.redis.clone();
                    self.answered(redis::cmd("PING").exec_async(&mut redis)).await?;
                }
                failure = self.connection.ended() => return Err(failure),
            }
        }
    }

    /// Whether there was anything to ask.
    async fn ask_next_round(&self) -> Result<bool, Failure> {
        let mut redis = self.connection.redis.clone();
        match self.shared.subscriptions.next_round() {
            None => return Ok(false),
            Some(Round::Subscribe(chatters)) => {
                self.answered(redis.subscribe(self.channels(&chatters))).await?;
                self.shared.subscriptions.confirmed(&chatters);
            }
            Some(Round::Unsubscribe(chatters)) => {
                self.answered(redis.unsubscribe(self.channels(&chatters))).await?;
            }
        }
        Ok(true)
    }

    fn channels(&self, chatters: &[ChatterId]) -> Vec<String> {
        chatters.iter().map(|chatter| self.shared.channel(*chatter)).collect()
    }

    /// Waits as long as anything comes at all: behind a flood an answer may be late.
    async fn answered(&self, asked: impl Future<Output = RedisResult<()>>) -> Result<(), Failure> {
        let mut asked = pin!(asked);
        loop {
            let before = self.traffic.load(Ordering::Relaxed);
            match in_time(self.shared.settings.answer_timeout, &mut asked).await {
                Err(Failure::Silent) if self.traffic.load(Ordering::Relaxed) != before => {}
                answer => return answer,
            }
        }
    }
}
