//! What the notifier knows and decides. No actor, no I/O: events in, effects out.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::decision::{Decision, Recent, backoff, decide};
use super::effect::{Effect, Job, Retry, Sent};
use super::{OutageLog, Settings};
use crate::domain::{ChatterId, Seq};
use crate::metrics::push::Counters;
use crate::store::outbox::{DeviceToken, Key, Lease, PendingPush, Settlement};

/// Hurried rows that may wait for a claim; more are left to their grace.
const HURRIED_MAX: usize = 1_024;
/// Last pushes that are remembered; beyond them a repeat may come too early.
const RECENT_MAX: usize = 10_000;

/// Failures in a row before FCM counts as failing.
const FAILURES_TOLD: u32 = 3;

/// See the module.
pub(super) struct State {
    settings: Settings,
    counters: Arc<Counters>,
    tell: OutageLog,
    /// Rows that `PushHint` made urgent.
    hurried: VecDeque<Key>,
    /// The timer, or a full claim, says that due rows may exist.
    look: bool,
    claiming: bool,
    /// Claimed, and waiting for a free send.
    waiting: VecDeque<Job>,
    sending: usize,
    /// Done, and waiting to be written down.
    ended: Vec<Settlement>,
    /// How many are being written down.
    settling: usize,
    /// The database refused the last settlement: the next tick tries again.
    settle_refused: bool,
    paused_until: Option<Instant>,
    /// Pauses without a time of their own since the last acceptance.
    pauses: u32,
    /// Failed sends since the last acceptance.
    failures: u32,
    recent: HashMap<Key, Recent>,
    draining: bool,
}

impl State {
    pub(super) fn new(settings: Settings, counters: Arc<Counters>) -> Self {
        Self {
            settings,
            counters,
            tell: OutageLog::default(),
            hurried: VecDeque::new(),
            look: true,
            claiming: false,
            waiting: VecDeque::new(),
            sending: 0,
            ended: Vec::new(),
            settling: 0,
            settle_refused: false,
            paused_until: None,
            pauses: 0,
            failures: 0,
            recent: HashMap::new(),
            draining: false,
        }
    }

    /// The timer: due rows may exist, and the database may be back.
    pub(super) fn tick(&mut self) {
        self.look = true;
        self.settle_refused = false;
    }

    /// No socket of the receiver got the chat. Within the gap after a push the row comes due soon enough by itself.
    pub(super) fn unreached(&mut self, key: Key, now: Instant) {
        let pushed = self.recent.get(&key).is_some_and(|r| now < r.pushed_at + self.settings.push_gap);
        if pushed || self.draining || self.hurried.contains(&key) {
            return;
        }
        if self.hurried.len() >= HURRIED_MAX {
            self.counters.count_unreached_dropped(1);
            return;
        }
        self.hurried.push_back(key);
    }

    /// Shutdown: what has not begun is given back.
    pub(super) fn drain(&mut self) {
        self.draining = true;
        self.hurried.clear();
    }

    /// What can be begun now; the actor asks after every event.
    pub(super) fn effects(&mut self, now: Instant) -> Vec<Effect> {
        let mut effects = Vec::new();
        if self.draining || self.pause(now).is_some() {
            self.give_back(now);
        }
        while self.sending < self.settings.sends_max {
            let Some(job) = self.waiting.pop_front() else { break };
            if now < job.until {
                self.sending += 1;
                effects.push(Effect::Send(job));
            } else {
                self.keep(job.lease, Duration::ZERO);
            }
        }
        if self.settling == 0 && !self.settle_refused && !self.ended.is_empty() {
            self.settling = self.ended.len();
            effects.push(Effect::Settle(std::mem::take(&mut self.ended)));
        }
        effects.extend(self.claim(now));
        if self.draining && !self.claiming && self.in_hand() == 0 {
            effects.push(Effect::Drained);
        }
        effects
    }

    fn claim(&mut self, now: Instant) -> Option<Effect> {
        let room = self.settings.rows_max.saturating_sub(self.in_hand());
        let wanted = self.look || !self.hurried.is_empty();
        if !wanted || room == 0 || self.claiming || self.draining || self.pause(now).is_some() {
            return None;
        }
        let hurried: Vec<Key> = self.hurried.drain(..self.hurried.len().min(room)).collect();
        let due_max = if std::mem::take(&mut self.look) { room - hurried.len() } else { 0 };
        self.claiming = true;
        Some(Effect::Claim { hurried, due_max })
    }

    fn in_hand(&self) -> usize {
        self.waiting.len() + self.sending + self.ended.len() + self.settling
    }

    /// Rows that are ours now. `live` tells whether a receiver has a live socket; `full`: more may be due.
    pub(super) fn claimed(
        &mut self,
        rows: Vec<PendingPush>,
        full: bool,
        live: impl Fn(ChatterId) -> bool,
        now: Instant,
    ) {
        self.tell.database(None);
        self.claiming = false;
        self.look |= full;
        for owed in rows {
            let lease = owed.lease;
            let decision = decide(owed, &live, self.recent.get(&lease.key), &self.settings, now);
            self.carry_out(lease, decision, now);
        }
    }

    fn carry_out(&mut self, lease: Lease, decision: Decision, now: Instant) {
        match decision {
            Decision::Push { push, tokens } => {
                let until = now + self.settings.lease / 2;
                self.waiting.push_back(Job { lease, push, tokens, until });
                return;
            }
            Decision::Keep { wait, attempts } => {
                self.ended.push(Settlement { lease, ends: false, wait, attempts, dead_tokens: Vec::new() });
                return;
            }
            Decision::Satisfied => self.counters.count_satisfied(1),
            Decision::NoToken => self.counters.count_no_token(1),
            Decision::Expired => {
                self.counters.count_expired(1);
                tracing::warn!(
                    chatroom_id = lease.key.chatroom_id.get(),
                    receiver_id = lease.key.receiver_id.get(),
                    "a push expired before it could be sent"
                );
            }
        }
        self.ended.push(Settlement { lease, ends: true, wait: Duration::ZERO, attempts: 0, dead_tokens: Vec::new() });
    }

    /// Claimed, but what decides over them could not be read: they are given back as soon as that can be written.
    pub(super) fn unread(&mut self, leases: Vec<Lease>, error: &str) {
        self.not_claimed(error);
        for lease in leases {
            self.keep(lease, Duration::ZERO);
        }
    }

    /// The database refused the claim; the next tick asks again.
    pub(super) fn not_claimed(&mut self, error: &str) {
        self.claiming = false;
        self.tell.database(Some(error));
    }

    /// A job has come to its end. `jitter` is between 0 and 1.
    pub(super) fn sent(&mut self, sent: Sent, jitter: f64, now: Instant) {
        self.sending -= 1;
        self.count(&sent);
        let Job { lease, push, .. } = sent.job;
        if !sent.accepted.is_empty() {
            self.pauses = 0;
            self.failures = 0;
            self.tell.fcm(None);
            self.remember(lease.key, push.seq, sent.accepted.clone(), now);
        }
        let mut wait = if sent.accepted.is_empty() { Duration::ZERO } else { self.settings.push_gap };
        let ends = sent.retry.is_none() && !sent.unfinished;
        let mut attempts = 1;
        if let Some(retry) = sent.retry {
            attempts = lease.attempts;
            let own = backoff(&self.settings, u32::try_from(attempts).unwrap_or(u32::MAX), jitter);
            wait = own.max(retry.after.unwrap_or_default());
            self.failed(&retry, sent.accepted.is_empty(), jitter, now);
            wait = wait.max(self.pause(now).unwrap_or_default());
        } else if sent.unfinished {
            wait = Duration::ZERO;
        }
        self.ended.push(Settlement { lease, ends, wait, attempts, dead_tokens: sent.gone });
    }

    fn count(&self, sent: &Sent) {
        self.counters.count_accepted(sent.accepted.len());
        self.counters.count_token_gone(sent.gone.len());
        self.counters.count_refused(sent.refused.len());
        self.counters.count_retried(usize::from(sent.retry.is_some()));
        for reason in &sent.refused {
            let Key { chatroom_id, receiver_id } = sent.job.lease.key;
            let (chatroom_id, receiver_id) = (chatroom_id.get(), receiver_id.get());
            tracing::error!(chatroom_id, receiver_id, reason, "FCM refuses this push for good: it is given up");
        }
    }

    /// Nothing was accepted: FCM may be failing as a whole, and a pause may be due.
    fn failed(&mut self, retry: &Retry, for_all: bool, jitter: f64, now: Instant) {
        if for_all {
            self.failures = self.failures.saturating_add(1);
        }
        if retry.pause_all {
            // Sends that were in flight when the pause began tell nothing new, unless they name a later time.
            let own = if self.pause(now).is_some() {
                Duration::ZERO
            } else if retry.after.is_none() {
                self.pauses = self.pauses.saturating_add(1);
                backoff(&self.settings, self.pauses, jitter)
            } else {
                Duration::ZERO
            };
            let until = now + own.max(retry.after.unwrap_or_default());
            self.paused_until = self.paused_until.max(Some(until));
        }
        if retry.pause_all || self.failures >= FAILURES_TOLD {
            self.tell.fcm(Some(&retry.reason));
        }
    }

    /// How long all sends still pause.
    fn pause(&self, now: Instant) -> Option<Duration> {
        self.paused_until.map(|until| until.saturating_duration_since(now)).filter(|rest| !rest.is_zero())
    }

    fn give_back(&mut self, now: Instant) {
        let wait = self.pause(now).unwrap_or_default();
        for job in std::mem::take(&mut self.waiting) {
            self.keep(job.lease, wait);
        }
    }

    /// Back as if it had never been claimed.
    fn keep(&mut self, lease: Lease, wait: Duration) {
        let attempts = lease.attempts.saturating_sub(1);
        self.ended.push(Settlement { lease, ends: false, wait, attempts, dead_tokens: Vec::new() });
    }

    /// The database took them, or refused and gets them again at the next tick; a drain does not wait for that, as
    /// the leases end by themselves.
    pub(super) fn settled(&mut self, refused: Option<(Vec<Settlement>, String)>) {
        self.settling = 0;
        let Some((settlements, error)) = refused else {
            self.tell.database(None);
            return;
        };
        self.tell.database(Some(&error));
        if !self.draining {
            self.settle_refused = true;
            self.ended.extend(settlements);
        }
    }

    fn remember(&mut self, key: Key, seq: Seq, accepted: Vec<DeviceToken>, now: Instant) {
        if self.recent.len() >= RECENT_MAX {
            self.recent.retain(|_, r| now < r.pushed_at + self.settings.push_gap);
        }
        if let Some(recent) = self.recent.get_mut(&key) {
            if recent.seq != seq {
                recent.tokens.clear();
            }
            recent.seq = seq;
            recent.pushed_at = now;
            recent.tokens.extend(accepted);
        } else if self.recent.len() < RECENT_MAX {
            self.recent.insert(key, Recent { pushed_at: now, seq, tokens: accepted });
        }
    }
}

#[cfg(test)]
mod tests;
