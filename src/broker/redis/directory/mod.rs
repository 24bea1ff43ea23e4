//! The presence directory in Redis: a lease for each instance, and the set of chatters who are connected to it.
//!
//! Each connection registers the instance under a new name. All its chatters are written before the lease is, so
//! nothing has to be repaired. The lease of an instance that dies runs out. A surviving instance claims the dead one
//! and releases its chatters one batch after the other, under a claim that expires too. Every key in Redis expires.

pub(super) mod heartbeat;
mod local;
mod scripts;

use std::collections::HashSet;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use redis::aio::MultiplexedConnection;
use redis::{Cmd, Pipeline};

use self::local::LocalChatters;
use super::connect::in_time;
use super::settings::Settings;
use crate::broker::Orphans;
use crate::broker::envelope::FORMAT;
use crate::domain::ChatterId;

/// Chatters in one script: below the number of arguments that Lua can take.
const CHATTERS_PER_SCRIPT: usize = 500;
/// Orphans that one claim returns at most.
const ORPHANS_PER_CLAIM: usize = 256;

/// What the handles and the heartbeat share.
pub(super) struct PresenceDirectory {
    pub local: LocalChatters,
    keys: Keys,
    lease: Duration,
    session: Mutex<Session>,
}

/// The keys in Redis; the last two are prefixes.
struct Keys {
    leases: String,
    since: String,
    chatters_of: String,
    claim_of: String,
}

/// The connection to Redis, while there is one, and how long it has been working.
struct Session {
    redis: Option<MultiplexedConnection>,
    registration: Registration,
    last_heartbeat: Instant,
    steady_since: Instant,
}

/// The name of this instance on the current connection, and on the one before it.
#[derive(Clone, Default)]
struct Registration {
    own: String,
    previous: String,
}

impl PresenceDirectory {
    pub(crate) fn new(settings: &Settings) -> Self {
        let key = |part| format!("{}:{FORMAT}:{part}", settings.key_prefix());
        let keys =
            Keys { leases: key("leases"), since: key("since"), chatters_of: key("at:"), claim_of: key("claim:") };
        let now = Instant::now();
        let session =
            Session { redis: None, registration: Registration::default(), last_heartbeat: now, steady_since: now };
        Self { local: LocalChatters::default(), keys, lease: settings.lease, session: Mutex::new(session) }
    }

    /// Three heartbeats in a lease.
    fn heartbeat_interval(&self) -> Duration {
        self.lease / 3
    }

    /// An instance whose last heartbeat is older does not count, even if no other instance could claim it.
    fn stale_after(&self) -> Duration {
        self.lease * 2
    }

    fn chatters_of(&self, instance: &str) -> String {
        format!("{}{instance}", self.keys.chatters_of)
    }

    /// The connection and the registration, if both have been working for so long.
    fn session(&self, steady_for: Duration) -> Option<(MultiplexedConnection, Registration)> {
        let session = self.session.lock();
        let redis = session.redis.clone()?;
        let works = session.last_heartbeat.elapsed() < self.heartbeat_interval() * 2
            && session.steady_since.elapsed() >= steady_for;
        works.then(|| (redis, session.registration.clone()))
    }

    /// Whether Redis has lately accepted what this instance writes into it.
    pub(crate) fn is_up(&self) -> bool {
        self.session(Duration::ZERO).is_some()
    }

    /// Those of these chatters who are connected elsewhere; none where that is not known.
    pub(crate) async fn connected_elsewhere(
        &self,
        chatters: &[ChatterId],
        within: Duration,
    ) -> Option<HashSet<ChatterId>> {
        if chatters.is_empty() {
            return Some(HashSet::new());
        }
        // An instance that lost Redis at the same time, such as in a pause of Redis, has had the time to write again.
        let (mut redis, registration) = self.session(self.lease / 5)?;
        let mut pipeline = Pipeline::new();
        for some in chatters.chunks(CHATTERS_PER_SCRIPT) {
            let read = pipeline.cmd("EVAL").arg(scripts::READ).arg(2).arg(&self.keys.leases).arg(&self.keys.since);
            read.arg(&self.keys.chatters_of).arg(&registration.own).arg(&registration.previous);
            // By then every instance has noticed that Redis was emptied, and has written again.
            read.arg(ms(self.stale_after())).arg(ms(self.lease / 2)).arg(numbers(some));
        }
        match in_time(within, pipeline.query_async::<Vec<Option<Vec<i64>>>>(&mut redis)).await {
            Ok(answers) => {
                let answers: Option<Vec<_>> = answers.into_iter().collect();
                answers.map(|all| all.into_iter().flatten().map(ChatterId::new).collect())
            }
            Err(_) => {
                // Further reads do not wait. The heartbeat restores the session once Redis answers.
                self.session.lock().redis = None;
                None
            }
        }
    }

    /// Claims some chatters of a dead instance that no other instance has claimed.
    pub(crate) async fn claim_orphans(&self, within: Duration) -> Option<Orphans> {
        // An instance that was frozen together with this one, or with Redis, has had a lease's time to come back.
        let (mut redis, registration) = self.session(self.lease)?;
        let mut claim = eval(scripts::CLAIM, &[&self.keys.leases]);
        claim.arg(&self.keys.chatters_of).arg(&self.keys.claim_of).arg(registration.own);
        claim.arg(ms(self.lease)).arg(ms(self.lease * 2 / 3)).arg(ORPHANS_PER_CLAIM);
        let request = claim.query_async::<Option<(String, u64, Vec<Vec<u8>>)>>(&mut redis);
        let (instance, silent, entries) = in_time(within, request).await.ok()??;
        let chatters = entries.iter().filter_map(|entry| std::str::from_utf8(entry).ok()?.parse().ok()).collect();
        Some(Orphans { chatters, silent: Duration::from_millis(silent), instance, entries })
    }

    /// Removes claimed chatters from the dead instance's set; false if that failed.
    pub(crate) async fn release_orphans(&self, orphans: &Orphans, within: Duration) -> bool {
        let Some((mut redis, _)) = self.session(Duration::ZERO) else { return false };
        let mut remove = redis::cmd("SREM");
        remove.arg(self.chatters_of(&orphans.instance)).arg(&orphans.entries);
        in_time(within, remove.exec_async(&mut redis)).await.is_ok()
    }
}

fn eval(script: &str, keys: &[&String]) -> Cmd {
    let mut eval = redis::cmd("EVAL");
    eval.arg(script).arg(keys.len()).arg(keys);
    eval
}

fn numbers(chatters: &[ChatterId]) -> Vec<i64> {
    chatters.iter().map(|chatter| chatter.get()).collect()
}

fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
