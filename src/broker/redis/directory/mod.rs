//! Who is connected where, in Redis: a lease for each instance, a set of its chatters, and who takes off a dead one's.
//!
//! Each connection is a new life of the instance under a new name: all its chatters are written before the lease is,
//! so that nothing has to be mended. Who dies leaves a lease that runs out; a survivor claims it and takes the chatters
//! off one batch after the other, under a claim that runs out too. Everything in Redis has an end of its own.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use redis::aio::MultiplexedConnection;
use redis::{Cmd, Pipeline};
use tokio::time::{MissedTickBehavior, interval_at, sleep};

use super::connect::{Connection, Failure, Pace, in_time};
use super::health::Side;
use super::{FORMAT, Settings, Shared};
use crate::broker::BrokerEventHandler;
use crate::broker::directory::{Batch, Here, Orphans};
use crate::domain::ChatterId;

mod scripts;

/// Chatters in one script: below what Lua can take as arguments.
const AT_ONCE: usize = 500;
/// Chatters of a dead instance that are handed out at once.
const ORPHANS: usize = 256;
/// How long those who come and go are gathered behind a batch.
const GATHER: Duration = Duration::from_millis(50);
/// How long what nobody renews is kept.
const KEPT: Duration = Duration::from_secs(3_600);

/// What the handles and the worker share.
pub(super) struct PresenceDirectory {
    pub here: Here,
    names: Names,
    lease: Duration,
    line: Mutex<Line>,
}

/// The keys in Redis.
struct Names {
    leases: String,
    since: String,
    sets: String,
    claims: String,
}

/// The way to Redis, while there is one, and how long it has been good.
struct Line {
    redis: Option<MultiplexedConnection>,
    life: Life,
    beat: Instant,
    steady_since: Instant,
}

/// The name of now, and that of the connection before.
#[derive(Clone, Default)]
struct Life {
    own: String,
    before: String,
}

impl PresenceDirectory {
    pub fn new(settings: &Settings) -> Self {
        let name = |part| format!("{}:{FORMAT}:{part}", settings.prefix);
        let names = Names { leases: name("leases"), since: name("since"), sets: name("at:"), claims: name("claim:") };
        let now = Instant::now();
        let line = Line { redis: None, life: Life::default(), beat: now, steady_since: now };
        Self { here: Here::default(), names, lease: settings.lease, line: Mutex::new(line) }
    }

    /// Three in a lease.
    fn beat_every(&self) -> Duration {
        self.lease / 3
    }

    /// Whose last sign of life is older counts no more, even if nobody could claim it.
    fn stale(&self) -> Duration {
        self.lease * 2
    }

    fn set_of(&self, life: &str) -> String {
        format!("{}{life}", self.names.sets)
    }

    /// The connection and the names, if it has been good for so long.
    fn line(&self, steady_for: Duration) -> Option<(MultiplexedConnection, Life)> {
        let line = self.line.lock();
        let redis = line.redis.clone()?;
        let good = line.beat.elapsed() < self.beat_every() * 2 && line.steady_since.elapsed() >= steady_for;
        good.then(|| (redis, line.life.clone()))
    }

    /// Whether Redis has lately taken what this instance writes into it.
    pub fn is_kept(&self) -> bool {
        self.line(Duration::ZERO).is_some()
    }

    /// Who of these is connected elsewhere; none where that is not known.
    pub async fn connected_elsewhere(&self, chatters: &[ChatterId], within: Duration) -> Option<HashSet<ChatterId>> {
        if chatters.is_empty() {
            return Some(HashSet::new());
        }
        // Who was away with us, such as in a pause of Redis, has had the time to say so.
        let (mut redis, life) = self.line(self.lease / 5)?;
        let mut pipeline = Pipeline::new();
        for some in chatters.chunks(AT_ONCE) {
            let ask = pipeline.cmd("EVAL").arg(scripts::ASK).arg(2).arg(&self.names.leases).arg(&self.names.since);
            ask.arg(&self.names.sets).arg(&life.own).arg(&life.before).arg(ms(self.stale()));
            // Two beats: by then everybody has found out.
            ask.arg(ms(self.lease / 2));
            for chatter in some {
                ask.arg(chatter.get());
            }
        }
        match in_time(within, pipeline.query_async::<Vec<Option<Vec<i64>>>>(&mut redis)).await {
            Ok(answers) => {
                let answers = answers.into_iter().collect::<Option<Vec<_>>>();
                answers.map(|all| all.into_iter().flatten().map(ChatterId::new).collect())
            }
            Err(_) => {
                // The next one does not wait; the worker opens the line again once Redis answers.
                self.line.lock().redis = None;
                None
            }
        }
    }

    /// Some chatters of a dead instance that nobody else takes off.
    pub async fn orphans(&self, within: Duration) -> Option<Orphans> {
        // Who was frozen with us, or with Redis, has had a lease's time to come back.
        let (mut redis, life) = self.line(self.lease)?;
        let mut claim = eval(scripts::CLAIM, &[&self.names.leases]);
        claim.arg(&self.names.sets).arg(&self.names.claims).arg(life.own);
        claim.arg(ms(self.lease)).arg(ms(self.lease * 2 / 3)).arg(ORPHANS);
        let asked = claim.query_async::<Option<(String, u64, Vec<Vec<u8>>)>>(&mut redis);
        let (instance, silent, members) = in_time(within, asked).await.ok()??;
        let chatters = members.iter().filter_map(|member| std::str::from_utf8(member).ok()?.parse().ok()).collect();
        Some(Orphans { chatters, silent: Duration::from_millis(silent), instance, members })
    }

    /// These are taken off.
    pub async fn settle(&self, orphans: &Orphans, within: Duration) -> bool {
        let Some((mut redis, _)) = self.line(Duration::ZERO) else { return false };
        let mut remove = redis::cmd("SREM");
        remove.arg(self.set_of(&orphans.instance)).arg(&orphans.members);
        in_time(within, remove.exec_async(&mut redis)).await.is_ok()
    }
}

/// Keeps the roster for ever.
pub(super) async fn run(shared: &Shared, handler: &dyn BrokerEventHandler) {
    let mut pace = Pace::new(shared.settings.backoff);
    // The last life that Redis knew of.
    let mut before = String::new();
    let mut said = false;
    loop {
        let connection = pace.connection(shared, Side::PresenceDirectory, || |_| {}).await;
        let life = Life { own: format!("{:016x}", rand::random::<u64>()), before: before.clone() };
        let mut keeping = Keeping { shared, roster: &shared.roster, connection, life, written: 0 };
        let failure = keeping.keep(&mut before, handler).await;
        if matches!(&failure, Failure::Redis(error) if !error.is_io_error()) && !std::mem::replace(&mut said, true) {
            tracing::warn!(why = %failure, "Redis refuses the scripts of the roster: who is connected elsewhere is not known");
        }
        shared.roster.here.pause();
        shared.roster.line.lock().redis = None;
        shared.health.down(Side::PresenceDirectory, &failure);
    }
}

/// One life.
struct Keeping<'a> {
    shared: &'a Shared,
    roster: &'a PresenceDirectory,
    connection: Connection,
    life: Life,
    /// How many are in the set.
    written: i64,
}

impl Keeping<'_> {
    /// Until the connection fails or the life is over.
    async fn keep(&mut self, before: &mut String, handler: &dyn BrokerEventHandler) -> Failure {
        let Err(failure) = self.try_keep(before, handler).await;
        failure
    }

    async fn try_keep(
        &mut self,
        before: &mut String,
        handler: &dyn BrokerEventHandler,
    ) -> Result<std::convert::Infallible, Failure> {
        self.roster.here.begin();
        while self.write_next().await? {}
        let silent = self.roster.line.lock().beat.elapsed();
        let end: i32 = self.ask(self.begin()).await?;
        // A name that nobody knows may have been taken off, if it was silent for long enough; else Redis forgot it.
        let on_presumed_dead = end < 0 || (end == 0 && !before.is_empty() && silent >= self.roster.lease);
        before.clone_from(&self.life.own);
        self.is_good();
        if on_presumed_dead {
            tracing::warn!("others took this instance for dead; its chatters are told of again");
            handler.on_presumed_dead();
        }
        let every = self.shared.settings.ping_interval.min(self.roster.beat_every());
        let mut ticks = interval_at(tokio::time::Instant::now() + every, every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            // The ticks first: who was frozen finds out before it writes.
            tokio::select! {
                biased;
                _ = ticks.tick() => self.tick().await?,
                failure = self.connection.ended() => return Err(failure),
                () = self.roster.here.changed() => {
                    if self.roster.here.has_left() {
                        self.leave_all().await?;
                        std::future::pending::<()>().await;
                    }
                    self.write_next().await?;
                    sleep(GATHER).await;
                }
            }
        }
    }

    async fn tick(&mut self) -> Result<(), Failure> {
        if self.roster.line.lock().beat.elapsed() < self.roster.beat_every() {
            self.connection.ping(self.shared.settings.answer_timeout).await?;
            // It may have been given up by somebody who did not want to wait.
            self.roster.line.lock().redis = Some(self.connection.redis.clone());
            return Ok(());
        }
        let names = &self.roster.names;
        let mut beat = eval(scripts::BEAT, &[&names.leases, &names.since, &self.roster.set_of(&self.life.own)]);
        beat.arg(&self.life.own).arg(ms(KEPT));
        if self.ask::<Option<i64>>(beat).await? != Some(self.written) {
            return Err(Failure::Forgotten);
        }
        self.is_good();
        Ok(())
    }

    fn is_good(&self) {
        let mut line = self.roster.line.lock();
        if line.redis.is_none() && line.life.own.is_empty() || line.beat.elapsed() > self.roster.beat_every() * 2 {
            line.steady_since = Instant::now();
        }
        line.beat = Instant::now();
        line.life = self.life.clone();
        line.redis = Some(self.connection.redis.clone());
    }

    fn begin(&self) -> Cmd {
        let names = &self.roster.names;
        let mut begin = eval(scripts::BEGIN, &[&names.leases, &names.since, &self.roster.set_of(&self.life.before)]);
        begin.arg(&self.life.own).arg(&self.life.before).arg(ms(KEPT));
        begin
    }

    /// Whether there was anything to write.
    async fn write_next(&mut self) -> Result<bool, Failure> {
        let batch = self.roster.here.next_batch(AT_ONCE);
        if batch.is_empty() {
            return Ok(false);
        }
        let Batch { here, gone } = batch;
        let names = &self.roster.names;
        let mut write = eval(scripts::WRITE, &[&names.leases, &self.roster.set_of(&self.life.own)]);
        write.arg(&names.sets).arg(&self.life.own).arg(&self.life.before);
        write.arg(ms(self.roster.stale())).arg(ms(KEPT)).arg(here.len());
        for chatter in here.iter().chain(&gone) {
            write.arg(chatter.get());
        }
        let (more, elsewhere): (i64, Vec<i64>) = self.ask(write).await?;
        let elsewhere: Vec<ChatterId> = elsewhere.into_iter().map(ChatterId::new).collect();
        self.written += more;
        self.roster.here.set_joined(&here, &elsewhere);
        Ok(true)
    }

    async fn leave_all(&mut self) -> Result<(), Failure> {
        let mut leave = eval(scripts::LEAVE, &[&self.roster.names.leases]);
        leave.arg(&self.life.own).arg(ms(self.roster.lease - self.roster.beat_every()));
        self.ask(leave).await
    }

    async fn ask<T: redis::FromRedisValue>(&self, asked: Cmd) -> Result<T, Failure> {
        let mut redis = self.connection.redis.clone();
        in_time(self.shared.settings.answer_timeout, asked.query_async(&mut redis)).await
    }
}

fn eval(script: &str, keys: &[&String]) -> Cmd {
    let mut eval = redis::cmd("EVAL");
    eval.arg(script).arg(keys.len()).arg(keys);
    eval
}

fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
