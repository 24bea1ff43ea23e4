//! The state of the notifier and its decisions. No actor, no I/O: events in, effects out.

mod admit;
mod limited;
mod pace;
mod pause;
mod recent;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use self::limited::LimitedDevices;
use self::pace::Pace;
use self::pause::Pause;
use self::recent::RecentPushes;
use super::decision::{Decision, backoff, decide};
use super::effect::{AfterSend, Effect, Job, Retry, Sent};
use super::outage_log::OutageLog;
use super::settings::Settings;
use crate::domain::ChatterId;
use crate::metrics::PushMetrics;
use crate::store::outbox::{Key, Lease, PendingPush, Settlement};

/// Hinted rows that may wait for a claim; further ones are left to their grace.
const HINTED_MAX: usize = 1_024;

/// See the module.
pub(super) struct State {
    settings: Settings,
    metrics: Arc<PushMetrics>,
    log: OutageLog,
    /// Rows that push hints made due now.
    hinted: VecDeque<Key>,
    /// The timer, or a full claim, says that due rows may exist.
    poll: bool,
    claiming: bool,
    /// Claimed, and waiting for a free send.
    waiting: VecDeque<Job>,
    sending: usize,
    /// Results that wait to be written.
    results: Vec<Settlement>,
    /// How many results are being written.
    writing: usize,
    /// The database refused the last results: the next tick tries again.
    write_refused: bool,
    pause: Pause,
    recent: RecentPushes,
    pace: Pace,
    limited: LimitedDevices,
    draining: bool,
}

impl State {
    pub(super) fn new(settings: Settings, metrics: Arc<PushMetrics>) -> Self {
        Self {
            recent: RecentPushes::new(settings.push_gap),
            settings,
            log: OutageLog::new(metrics.clone()),
            metrics,
            hinted: VecDeque::new(),
            poll: true,
            claiming: false,
            waiting: VecDeque::new(),
            sending: 0,
            results: Vec::new(),
            writing: 0,
            write_refused: false,
            pause: Pause::default(),
            pace: Pace::default(),
            limited: LimitedDevices::default(),
            draining: false,
        }
    }

    /// The timer: due rows may exist, and the database may be back.
    pub(super) fn tick(&mut self) {
        self.poll = true;
        self.write_refused = false;
    }

    /// A claim was full: more rows may be due.
    pub(super) fn poll_again(&mut self) {
        self.poll = true;
    }

    /// A push hint. Within the gap after a push it is ignored, since the row is due soon anyway.
    pub(super) fn hinted(&mut self, key: Key, now: Instant) {
        if self.recent.within_gap(&key, now) || self.draining || self.hinted.contains(&key) {
            return;
        }
        if self.hinted.len() >= HINTED_MAX {
            self.metrics.hints_dropped.add(1);
            return;
        }
        self.hinted.push_back(key);
    }

    /// Shutdown: jobs that have not begun are released.
    pub(super) fn drain(&mut self) {
        self.draining = true;
        self.hinted.clear();
    }

    /// What can begin now; the actor calls this after every event.
    pub(super) fn effects(&mut self, now: Instant) -> Vec<Effect> {
        let mut effects = Vec::new();
        if self.draining || self.pause.rest(now).is_some() {
            self.release_waiting(now);
        }
        while self.sending < self.settings.sends_max {
            let Some(job) = self.waiting.pop_front() else { break };
            if now < job.until {
                self.sending += 1;
                effects.push(Effect::Send(job));
            } else {
                self.release_job(&job, Duration::ZERO, now);
            }
        }
        if self.writing == 0 && !self.write_refused && !self.results.is_empty() {
            self.writing = self.results.len();
            effects.push(Effect::Write(std::mem::take(&mut self.results)));
        }
        effects.extend(self.claim(now));
        if self.draining && !self.claiming && self.in_hand() == 0 {
            effects.push(Effect::Drained);
        }
        effects
    }

    fn claim(&mut self, now: Instant) -> Option<Effect> {
        let room = self.settings.rows_max.saturating_sub(self.in_hand());
        let rows_may_exist = self.poll || !self.hinted.is_empty();
        if !rows_may_exist || room == 0 || self.claiming || self.draining || self.pause.rest(now).is_some() {
            return None;
        }
        let hinted: Vec<Key> = self.hinted.drain(..self.hinted.len().min(room)).collect();
        let due_max = if std::mem::take(&mut self.poll) { room - hinted.len() } else { 0 };
        self.claiming = true;
        Some(Effect::Claim { hinted, due_max })
    }

    fn in_hand(&self) -> usize {
        self.waiting.len() + self.sending + self.results.len() + self.writing
    }

    /// Rows that were claimed. `live` tells whether a receiver has a live socket.
    pub(super) fn claimed(&mut self, rows: Vec<PendingPush>, live: impl Fn(ChatterId) -> bool, now: Instant) {
        self.log.database_works();
        self.claiming = false;
        for pending in rows {
            let lease = pending.lease;
            let decided = decide(pending, &live, self.recent.get(&lease.key), &self.settings, now);
            let decision = match decided {
                Decision::Push { push, tokens, .. } => self.admit(&lease, push, tokens, now),
                other => other,
            };
            self.carry_out(lease, decision, now);
        }
    }

    fn carry_out(&mut self, lease: Lease, decision: Decision, now: Instant) {
        match decision {
            Decision::Push { push, tokens, rest } => {
                let until = now + self.settings.lease / 2;
                self.waiting.push_back(Job { lease, push, tokens, rest, until });
                return;
            }
            Decision::Keep { wait, attempts } => {
                self.results.push(Settlement { lease, ends: false, wait, attempts, dead_tokens: Vec::new() });
                return;
            }
            Decision::Satisfied => self.metrics.pushes_satisfied.add(1),
            Decision::NoToken => self.metrics.pushes_without_token.add(1),
            Decision::Expired => {
                self.metrics.pushes_expired.add(1);
                let (chatroom_id, receiver_id) = (lease.key.chatroom_id.get(), lease.key.receiver_id.get());
                tracing::warn!(chatroom_id, receiver_id, "a push expired before it could be sent");
            }
        }
        self.results.push(Settlement { lease, ends: true, wait: Duration::ZERO, attempts: 0, dead_tokens: Vec::new() });
    }

    /// Claimed, but not readable after that: the rows are released.
    pub(super) fn unread(&mut self, leases: Vec<Lease>, error: &str) {
        self.not_claimed(error);
        for lease in leases {
            self.release(lease, Duration::ZERO);
        }
    }

    /// The database refused the claim; the next tick claims again.
    pub(super) fn not_claimed(&mut self, error: &str) {
        self.claiming = false;
        self.log.database_fails(error);
    }

    /// A job has ended. `jitter` is between 0 and 1.
    pub(super) fn sent(&mut self, sent: Sent, jitter: f64, now: Instant) {
        self.sending -= 1;
        self.count(&sent);
        let Sent { job: Job { lease, push, rest, .. }, accepted, gone, limited, after, .. } = sent;
        let is_accepted = !accepted.is_empty();
        let gap = if is_accepted { self.settings.push_gap } else { Duration::ZERO };
        if is_accepted {
            self.pause.accepted();
            self.limited.accepted();
            self.log.fcm_works();
            self.recent.remember(lease.key, push.seq, accepted, now);
        } else {
            self.pace.reserve(lease.key, now, now);
            if matches!(after, AfterSend::Retry(_)) {
                self.pause.nothing_accepted();
            }
        }
        let rest = self.limit(limited, jitter, now).into_iter().chain(rest).min();
        let result = match (after, rest) {
            // The row is due at the gap, so that the other devices get newer chats in time.
            (AfterSend::Complete, Some(rest)) if is_accepted => {
                Settlement { lease, ends: false, wait: rest.min(gap), attempts: 0, dead_tokens: gone }
            }
            (AfterSend::Complete, Some(rest)) => {
                Settlement { lease, ends: false, wait: rest, attempts: 1, dead_tokens: gone }
            }
            (AfterSend::Complete, None) => Settlement { lease, ends: true, wait: gap, attempts: 1, dead_tokens: gone },
            (AfterSend::Unfinished, _) => {
                Settlement { lease, ends: false, wait: Duration::ZERO, attempts: 1, dead_tokens: gone }
            }
            (AfterSend::Retry(retry), _) => {
                let wait = self.retry_wait(&retry, lease.attempts, jitter, now);
                Settlement { lease, ends: false, wait, attempts: lease.attempts, dead_tokens: gone }
            }
        };
        self.results.push(result);
    }

    fn count(&mut self, sent: &Sent) {
        self.metrics.sends_accepted.add(sent.accepted.len());
        self.metrics.sends_to_gone_tokens.add(sent.gone.len());
        self.metrics.sends_refused.add(sent.refused.len());
        self.metrics.sends_retried.add(usize::from(matches!(sent.after, AfterSend::Retry(_))) + sent.limited.len());
        if sent.other_sender {
            self.log.other_sender(sent.job.lease.key.receiver_id);
        }
        for reason in &sent.refused {
            let Key { chatroom_id, receiver_id } = sent.job.lease.key;
            let (chatroom_id, receiver_id) = (chatroom_id.get(), receiver_id.get());
            tracing::error!(chatroom_id, receiver_id, reason, "FCM refuses this push for good: it is given up");
        }
    }

    /// A send failed: how long its row waits. All sends may have to pause.
    fn retry_wait(&mut self, retry: &Retry, attempts: i64, jitter: f64, now: Instant) -> Duration {
        self.pause.failed(retry, &self.settings, jitter, now);
        if self.pause.is_outage(retry) {
            self.log.fcm_fails(&retry.reason);
        }
        let own = backoff(&self.settings, u32::try_from(attempts).unwrap_or(u32::MAX), jitter);
        own.max(retry.after.unwrap_or_default()).max(self.pause.rest(now).unwrap_or_default())
    }

    fn release_waiting(&mut self, now: Instant) {
        let wait = self.pause.rest(now).unwrap_or_default();
        for job in std::mem::take(&mut self.waiting) {
            self.release_job(&job, wait, now);
        }
    }

    fn release_job(&mut self, job: &Job, wait: Duration, now: Instant) {
        self.pace.reserve(job.lease.key, now, now);
        self.release(job.lease, wait);
    }

    /// Gives a row back as if it had never been claimed.
    fn release(&mut self, lease: Lease, wait: Duration) {
        let attempts = lease.attempts.saturating_sub(1);
        self.results.push(Settlement { lease, ends: false, wait, attempts, dead_tokens: Vec::new() });
    }

    /// The database accepted the results, or refused them and gets them again at the next tick. A drain does not wait
    /// for that, since the leases run out by themselves.
    pub(super) fn written(&mut self, result: Result<(), (Vec<Settlement>, String)>) {
        self.writing = 0;
        let Err((settlements, error)) = result else {
            self.log.database_works();
            return;
        };
        self.log.database_fails(&error);
        if !self.draining {
            self.write_refused = true;
            self.results.extend(settlements);
        }
    }
}

#[cfg(test)]
mod tests;
