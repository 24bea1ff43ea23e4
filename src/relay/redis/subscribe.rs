//! The connection that is subscribed: asks for what is wanted, hears, and makes sure that Redis is still there.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use redis::RedisResult;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};

use super::Shared;
use super::connect::{Connection, Failure, Pace};
use super::health::Side;
use super::hearing::Hearing;
use super::wanted::Round;
use crate::domain::ChatterId;
use crate::relay::Hear;

/// How many channels are asked for at once.
const CHANNELS: usize = 1_000;

/// Subscribes for ever.
pub(super) async fn run(shared: &Arc<Shared>, hear: &Arc<dyn Hear>) {
    let mut pace = Pace::new(shared.settings.backoff);
    let traffic = Arc::new(AtomicU64::new(0));
    loop {
        let ear = || {
            let hearing = Hearing::new(shared.clone(), hear.clone(), traffic.clone());
            move |push| hearing.pushed(push)
        };
        let connection = pace.connection(shared, Side::Subscribed, ear).await;
        let line = Line { shared, connection, traffic: &traffic };
        let failure = line.serve(&**hear).await;
        shared.wanted.disconnected();
        shared.health.down(Side::Subscribed, &failure);
    }
}

struct Line<'a> {
    shared: &'a Shared,
    connection: Connection,
    traffic: &'a AtomicU64,
}

impl Line<'_> {
    /// Until the connection fails.
    async fn serve(mut self, hear: &dyn Hear) -> Failure {
        let Err(failure) = self.try_serve(hear).await;
        failure
    }

    async fn try_serve(&mut self, hear: &dyn Hear) -> Result<std::convert::Infallible, Failure> {
        // As many rounds as it takes for all that was wanted before; what comes meanwhile is waited for by nobody here.
        for _ in 0..self.shared.wanted.connected().div_ceil(CHANNELS) {
            self.ask_next_round().await?;
        }
        self.shared.health.up(Side::Subscribed);
        hear.reconnected();
        let every = self.shared.settings.ping_interval;
        let mut ticks = interval_at(Instant::now() + every, every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            while self.ask_next_round().await? {}
            tokio::select! {
                () = self.shared.wanted.changed() => {}
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
        let Some(Round { subscribe, unsubscribe }) = self.shared.wanted.next_round(CHANNELS) else { return Ok(false) };
        let mut redis = self.connection.redis.clone();
        if !subscribe.is_empty() {
            self.answered(redis.subscribe(self.channels(&subscribe))).await?;
            self.shared.wanted.confirmed(&subscribe);
        }
        if !unsubscribe.is_empty() {
            self.answered(redis.unsubscribe(self.channels(&unsubscribe))).await?;
        }
        Ok(true)
    }

    fn channels(&self, chatters: &[ChatterId]) -> Vec<String> {
        chatters.iter().map(|chatter| self.shared.channel(*chatter)).collect()
    }

    /// Waits as long as anything comes at all: behind a flood an answer may be late.
    async fn answered(&self, asked: impl Future<Output = RedisResult<()>>) -> Result<(), Failure> {
        let within: Duration = self.shared.settings.answer_timeout;
        let mut asked = pin!(asked);
        loop {
            let before = self.traffic.load(Ordering::Relaxed);
            match timeout(within, &mut asked).await {
                Ok(answer) => return answer.map_err(Failure::Redis),
                Err(_) if self.traffic.load(Ordering::Relaxed) == before => return Err(Failure::Silent),
                Err(_) => {}
            }
        }
    }
}
