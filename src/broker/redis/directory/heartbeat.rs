//! Keeps this instance in the presence directory: registers it, writes its chatters, renews its lease.

use std::convert::Infallible;
use std::time::{Duration, Instant};

use redis::Cmd;
use tokio::time::{MissedTickBehavior, interval_at, sleep};

use super::local::Batch;
use super::{CHATTERS_PER_SCRIPT, PresenceDirectory, Registration, eval, ms, numbers, scripts};
use crate::broker::BrokerEventHandler;
use crate::broker::redis::connect::{Connection, in_time};
use crate::broker::redis::failure::Failure;
use crate::broker::redis::health::Role;
use crate::broker::redis::reconnect::Reconnector;
use crate::broker::redis::shared::Shared;
use crate::domain::ChatterId;

/// How long joins and leaves are gathered after a batch.
const GATHER: Duration = Duration::from_millis(50);
/// How long Redis keeps a key that is not renewed.
const KEPT: Duration = Duration::from_secs(3_600);

/// Keeps the directory up to date, for ever.
pub(in crate::broker::redis) async fn run(shared: &Shared, handler: &dyn BrokerEventHandler) {
    let directory = &shared.directory;
    let mut reconnector = Reconnector::new(Role::Directory, shared.settings.backoff);
    // The last name under which Redis knew this instance.
    let mut previous = String::new();
    let mut logged_refusal = false;
    loop {
        let connection = reconnector.connection(shared, || |_| {}).await;
        let own = format!("{:016x}", rand::random::<u64>());
        let registration = Registration { own, previous: previous.clone() };
        let mut heartbeat = Heartbeat { shared, directory, connection, registration, written: 0 };
        let Err(failure) = heartbeat.keep_registered(&mut previous, handler).await;
        let refused = matches!(&failure, Failure::Redis(error) if !error.is_io_error());
        if refused && !std::mem::replace(&mut logged_refusal, true) {
            tracing::warn!(why = %failure, "Redis refuses the scripts of the presence directory");
        }
        directory.local.stop_writing();
        directory.session.lock().redis = None;
        shared.health.down(Role::Directory, &failure);
    }
}

/// One registration.
struct Heartbeat<'a> {
    shared: &'a Shared,
    directory: &'a PresenceDirectory,
    connection: Connection,
    registration: Registration,
    /// Chatters in this instance's set.
    written: i64,
}

impl Heartbeat<'_> {
    /// Runs until the connection fails or Redis has lost the registration.
    async fn keep_registered(
        &mut self,
        previous: &mut String,
        handler: &dyn BrokerEventHandler,
    ) -> Result<Infallible, Failure> {
        self.directory.local.start_writing();
        while self.write_next().await? {}
        let silent = self.directory.session.lock().last_heartbeat.elapsed();
        let fate: i32 = self.query(self.register()).await?;
        // An unknown name was released by another instance if it was silent for a lease; otherwise Redis lost it.
        let presumed_dead = fate < 0 || (fate == 0 && !previous.is_empty() && silent >= self.directory.lease);
        previous.clone_from(&self.registration.own);
        self.renewed();
        if presumed_dead {
            tracing::warn!("other instances presumed this one dead: the presence of its chatters is announced again");
            handler.on_presumed_dead();
        }
        let every = self.shared.settings.ping_interval.min(self.directory.heartbeat_interval());
        let mut ticks = interval_at(tokio::time::Instant::now() + every, every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            // The ticks come first: an instance that was frozen learns its fate before it writes.
            tokio::select! {
                biased;
                _ = ticks.tick() => self.tick().await?,
                failure = self.connection.ended() => return Err(failure),
                () = self.directory.local.changed() => {
                    if self.directory.local.is_leaving() {
                        self.leave_all().await?;
                        std::future::pending::<()>().await;
                    }
                    self.write_next().await?;
                    sleep(GATHER).await;
                }
            }
        }
    }

    /// Renews the lease when it is time, otherwise only pings.
    async fn tick(&mut self) -> Result<(), Failure> {
        if self.directory.session.lock().last_heartbeat.elapsed() < self.directory.heartbeat_interval() {
            self.connection.ping(&self.shared.connector, self.shared.settings.answer_timeout).await?;
            // A read that timed out may have removed it.
            self.directory.session.lock().redis = Some(self.connection.redis.clone());
            return Ok(());
        }
        let keys = &self.directory.keys;
        let chatters = self.directory.chatters_of(&self.registration.own);
        let mut renew = eval(scripts::RENEW, &[&keys.leases, &keys.since, &chatters]);
        renew.arg(&self.registration.own).arg(ms(KEPT));
        if self.query::<Option<i64>>(renew).await? != Some(self.written) {
            return Err(Failure::Forgotten);
        }
        self.renewed();
        Ok(())
    }

    /// The lease was renewed: the session works.
    fn renewed(&self) {
        let mut session = self.directory.session.lock();
        let first = session.redis.is_none() && session.registration.own.is_empty();
        if first || session.last_heartbeat.elapsed() > self.directory.heartbeat_interval() * 2 {
            session.steady_since = Instant::now();
        }
        session.last_heartbeat = Instant::now();
        session.registration = self.registration.clone();
        session.redis = Some(self.connection.redis.clone());
    }

    fn register(&self) -> Cmd {
        let keys = &self.directory.keys;
        let previous = self.directory.chatters_of(&self.registration.previous);
        let mut register = eval(scripts::REGISTER, &[&keys.leases, &keys.since, &previous]);
        register.arg(&self.registration.own).arg(&self.registration.previous).arg(ms(KEPT));
        register
    }

    /// Writes the next batch of joins and leaves; false where there was none.
    async fn write_next(&mut self) -> Result<bool, Failure> {
        let batch = self.directory.local.next_batch(CHATTERS_PER_SCRIPT);
        if batch.is_empty() {
            return Ok(false);
        }
        let Batch { present, absent } = batch;
        let keys = &self.directory.keys;
        let mut write = eval(scripts::WRITE, &[&keys.leases, &self.directory.chatters_of(&self.registration.own)]);
        write.arg(&keys.chatters_of).arg(&self.registration.own).arg(&self.registration.previous);
        write.arg(ms(self.directory.stale_after())).arg(ms(KEPT)).arg(present.len());
        write.arg(numbers(&present)).arg(numbers(&absent));
        let (more, elsewhere): (i64, Vec<i64>) = self.query(write).await?;
        let elsewhere: Vec<ChatterId> = elsewhere.into_iter().map(ChatterId::new).collect();
        self.written += more;
        self.directory.local.set_connected_elsewhere(&present, &elsewhere);
        Ok(true)
    }

    async fn leave_all(&mut self) -> Result<(), Failure> {
        let mut leave = eval(scripts::LEAVE, &[&self.directory.keys.leases]);
        leave.arg(&self.registration.own).arg(ms(self.directory.lease - self.directory.heartbeat_interval()));
        self.query(leave).await
    }

    async fn query<T: redis::FromRedisValue>(&self, request: Cmd) -> Result<T, Failure> {
        let mut redis = self.connection.redis.clone();
        in_time(self.shared.settings.answer_timeout, request.query_async(&mut redis)).await
    }
}
