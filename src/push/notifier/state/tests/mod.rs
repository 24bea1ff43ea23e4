//! The notifier's decisions, without a runtime.

mod outage;
mod pace;

use super::*;
use crate::domain::chat::Chat;
use crate::domain::clock::{Micros, micros};
use crate::push::Scope;
use crate::push::tests::chat;
use crate::store::outbox::{ClaimCause, DeviceToken};

const S: Duration = Duration::from_secs(1);

fn state() -> State {
    let mut state = State::new(Settings::default(), Arc::default());
    state.poll = false;
    state
}

/// Claimed `age` after its only chat was stored; each room has a receiver of its own.
fn pending(room: i64, age: Duration, tokens: &[&str]) -> PendingPush {
    let key = Key { chatroom_id: room.into(), receiver_id: (1_000 + room).into() };
    let claim_time = Micros(1_000_000_000_000);
    let create_time = Micros(claim_time.0 - micros(age));
    let Key { chatroom_id, receiver_id } = key;
    let newest = Chat { chatroom_id, receiver_id, seq: 7.into(), create_time, ..chat("hello") };
    let due_time = claim_time.plus(60 * S);
    PendingPush {
        lease: Lease { key, to_seq: 7.into(), create_time, due_time, attempts: 1, claim_time, cause: ClaimCause::Hint },
        newest: Some(newest),
        oldest_create_time: Some(create_time),
        tokens: tokens.iter().map(|t| DeviceToken::new((*t).to_owned())).collect(),
    }
}

fn decision(pending: PendingPush, live: bool) -> Decision {
    decide(pending, |_| live, None, &Settings::default(), Instant::now())
}

/// Claims rows and returns the jobs that begin.
fn jobs(state: &mut State, rows: Vec<PendingPush>, now: Instant) -> Vec<Job> {
    state.claimed(rows, |_| false, now);
    sends(state.effects(now))
}

fn sends(effects: Vec<Effect>) -> Vec<Job> {
    let job = |effect| if let Effect::Send(job) = effect { Some(job) } else { None };
    effects.into_iter().filter_map(job).collect()
}

fn settlements(effects: Vec<Effect>) -> Vec<Settlement> {
    let results = |effect| if let Effect::Write(results) = effect { Some(results) } else { None };
    effects.into_iter().filter_map(results).flatten().collect()
}

fn sent(job: Job) -> Sent {
    let accepted = job.tokens.clone();
    Sent {
        job,
        accepted,
        gone: vec![],
        limited: vec![],
        refused: vec![],
        other_sender: false,
        after: AfterSend::Complete,
    }
}

fn failed(job: Job, after: Option<Duration>, pause_all: bool) -> Sent {
    let scope = if pause_all { Scope::All } else { Scope::Push };
    let retry = Retry { after, scope, reason: "503".to_owned() };
    Sent { accepted: vec![], after: AfterSend::Retry(retry), ..sent(job) }
}

fn claims(state: &mut State, now: Instant) -> bool {
    state.effects(now).iter().any(|e| matches!(e, Effect::Claim { .. }))
}

#[test]
fn a_row_whose_chats_are_confirmed_ends() {
    assert_eq!(decision(PendingPush { newest: None, ..pending(1, S, &["t"]) }, true), Decision::Satisfied);
}

#[test]
fn a_live_socket_delays_a_push_only_within_the_grace() {
    let rest = Decision::Keep { wait: 2 * S, attempts: 0 };
    assert_eq!(decision(pending(1, S, &["t"]), true), rest);
    assert!(matches!(decision(pending(1, S, &["t"]), false), Decision::Push { .. }));
    assert!(matches!(decision(pending(1, 3 * S, &["t"]), true), Decision::Push { .. }), "it never cancels");
}

#[test]
fn a_receiver_who_was_just_confirming_has_the_grace_on_any_instance() {
    let mut due = pending(1, S, &["t"]);
    due.lease.cause = ClaimCause::Due;
    assert_eq!(decision(due.clone(), false), Decision::Keep { wait: 2 * S, attempts: 0 });
    due.lease.attempts = 2;
    assert!(matches!(decision(due, false), Decision::Push { .. }), "after a failure");
}

#[test]
fn the_grace_runs_from_the_oldest_chat_that_is_pending() {
    let mut row = pending(1, S, &["t"]);
    row.oldest_create_time = Some(Micros(row.lease.claim_time.0 - micros(4 * S)));
    assert!(matches!(decision(row, true), Decision::Push { .. }));
}

#[test]
fn a_row_without_a_device_or_a_day_old_ends() {
    assert_eq!(decision(pending(1, S, &[]), true), Decision::NoToken);
    assert_eq!(decision(pending(1, 25 * 3_600 * S, &["t"]), false), Decision::Expired);
}

#[test]
fn a_chat_from_a_clock_ahead_counts_as_new() {
    let mut row = pending(1, S, &["t"]);
    row.lease.claim_time = Micros(0);
    assert_eq!(decision(row, true), Decision::Keep { wait: 3 * S, attempts: 0 });
}

#[test]
fn an_accepted_push_ends_the_row_or_keeps_it_for_the_gap() {
    let (mut state, now) = (state(), Instant::now());
    let job = jobs(&mut state, vec![pending(1, S, &["t"])], now).remove(0);
    state.sent(sent(job.clone()), 0.5, now);
    let end = Settlement { lease: job.lease, ends: true, wait: 5 * S, attempts: 1, dead_tokens: vec![] };
    assert_eq!(settlements(state.effects(now)), [end]);
    assert_eq!(state.metrics.sends_accepted.get(), 1);
}

#[test]
fn the_next_chat_of_a_room_waits_for_the_gap_and_ignores_hints() {
    let (mut state, now) = (state(), Instant::now());
    let job = jobs(&mut state, vec![pending(1, S, &["t"])], now).remove(0);
    let key = job.lease.key;
    state.sent(sent(job), 0.5, now);
    state.effects(now);
    state.written(Ok(()));
    state.hinted(key, now + 4 * S);
    assert!(!claims(&mut state, now + 4 * S));
    let mut next = pending(1, 3 * S, &["t"]);
    next.newest = next.newest.map(|c| Chat { seq: 8.into(), ..c });
    let recent = state.recent.get(&key);
    let decision = |at| decide(next.clone(), |_| false, recent, &Settings::default(), at);
    assert_eq!(decision(now + 3 * S), Decision::Keep { wait: 2 * S, attempts: 1 });
    assert!(matches!(decision(now + 5 * S), Decision::Push { .. }));
}

#[test]
fn a_retry_for_one_device_does_not_repeat_the_push_to_another() {
    let (mut state, now) = (state(), Instant::now());
    let job = jobs(&mut state, vec![pending(1, S, &["a", "b"])], now).remove(0);
    let accepted = vec![job.tokens[0].clone()];
    state.sent(Sent { accepted, ..failed(job, None, false) }, 0.5, now);
    assert!(settlements(state.effects(now)).iter().all(|s| !s.ends && s.wait == S));
    state.written(Ok(()));
    let again = jobs(&mut state, vec![pending(1, S, &["a", "b"])], now + S).remove(0);
    assert_eq!(again.tokens, [DeviceToken::new("b".to_owned())]);
}

#[test]
fn the_waits_double_up_to_the_longest_with_a_fifth_of_jitter() {
    let settings = Settings::default();
    let wait = |attempts, jitter| backoff(&settings, attempts, jitter).as_secs_f64();
    for (attempts, s) in [(0, 1.0), (1, 1.0), (2, 2.0), (3, 4.0), (9, 256.0)] {
        assert!((wait(attempts, 0.5) - s).abs() < 1e-6, "{attempts}");
        assert!((wait(attempts, 0.0) - 0.8 * s).abs() < 1e-6 && wait(attempts, 1.0) <= 300.0);
    }
    for attempts in [10, 64, u32::MAX] {
        assert!((240.0..=300.0).contains(&wait(attempts, 0.0)) && wait(attempts, 1.0) <= 300.0);
    }
}

#[test]
fn a_failure_of_one_row_does_not_stop_the_others() {
    let (mut state, now) = (state(), Instant::now());
    let job = jobs(&mut state, vec![pending(1, S, &["t"])], now).remove(0);
    state.sent(failed(job, Some(20 * S), false), 0.5, now);
    let effects = state.effects(now);
    assert!(settlements(effects).iter().all(|s| !s.ends && s.wait == 20 * S && s.attempts == 1));
    assert_eq!(jobs(&mut state, vec![pending(2, S, &["t"])], now).len(), 1);
}

#[test]
fn a_full_quota_releases_every_row_and_stops_claims_until_it_is_over() {
    let (mut state, now) = (state(), Instant::now());
    let rows = (1..=20).map(|room| pending(room, S, &["t"])).collect();
    let mut running = jobs(&mut state, rows, now);
    assert_eq!(running.len(), 16, "no more at once");
    state.sent(failed(running.remove(0), Some(60 * S), true), 0.5, now);
    let given_back = settlements(state.effects(now));
    assert_eq!(given_back.len(), 5);
    assert!(given_back.iter().all(|s| !s.ends && s.wait == 60 * S));
    state.written(Ok(()));
    for job in running {
        state.sent(failed(job, None, true), 0.5, now);
    }
    state.tick();
    assert!(!claims(&mut state, now + 59 * S), "those in flight do not lengthen the pause, nor end it");
    state.written(Ok(()));
    assert!(claims(&mut state, now + 60 * S));
}

#[test]
fn pauses_without_a_time_double_until_a_send_is_accepted() {
    let (mut state, mut now) = (state(), Instant::now());
    for wait in [S, 2 * S, 4 * S] {
        let job = jobs(&mut state, vec![pending(1, S, &["t"])], now).remove(0);
        state.sent(failed(job, None, true), 0.5, now);
        assert_eq!(state.pause.rest(now), Some(wait));
        state.effects(now);
        state.written(Ok(()));
        now += wait;
    }
    let job = jobs(&mut state, vec![pending(2, S, &["t"])], now).remove(0);
    state.sent(sent(job), 0.5, now);
    assert_eq!((state.pause.untimed, state.pause.rest(now)), (0, None));
}

#[test]
fn a_job_whose_lease_is_half_over_is_released_instead_of_begun() {
    let (mut state, now) = (state(), Instant::now());
    state.claimed(vec![pending(1, S, &["t"])], |_| false, now);
    let effects = state.effects(now + 30 * S);
    assert!(settlements(effects).iter().all(|s| !s.ends && s.wait.is_zero() && s.attempts == 0));
}

#[test]
fn no_more_rows_are_claimed_than_can_be_in_hand() {
    let (mut state, now) = (state(), Instant::now());
    state.tick();
    assert!(claims(&mut state, now));
    state.tick();
    assert!(!claims(&mut state, now), "one claim at a time");
    let begun = jobs(&mut state, (1..=64).map(|room| pending(room, S, &["t"])).collect(), now);
    state.tick();
    assert!(!claims(&mut state, now), "the hands are full");
    for job in begun {
        state.sent(sent(job), 0.5, now);
    }
    let _settling = state.effects(now);
    state.written(Ok(()));
    assert!(claims(&mut state, now));
}

#[test]
fn hinted_rows_are_claimed_at_once_each_once_and_bounded() {
    let (mut state, now) = (state(), Instant::now());
    for room in (0..2_000).chain(0..10) {
        state.hinted(Key { chatroom_id: room.into(), receiver_id: 2.into() }, now);
    }
    assert_eq!(state.metrics.hints_dropped.get(), 2_000 - HINTED_MAX as u64);
    let claim = state.effects(now).pop();
    assert!(matches!(claim, Some(Effect::Claim { hinted, due_max: 0 }) if hinted.len() == 64));
}

#[test]
fn results_that_the_database_refuses_are_written_at_the_next_tick() {
    let (mut state, now) = (state(), Instant::now());
    state.claimed(vec![pending(1, S, &[])], |_| false, now);
    let refused = settlements(state.effects(now));
    state.written(Err((refused.clone(), "gone".to_owned())));
    assert!(settlements(state.effects(now)).is_empty());
    state.tick();
    assert_eq!(settlements(state.effects(now)), refused);
}

#[test]
fn a_drain_releases_waiting_jobs_and_ends_when_all_results_are_written() {
    let (mut state, now) = (state(), Instant::now());
    let rows = (1..=17).map(|room| pending(room, S, &["t"])).collect();
    let running = jobs(&mut state, rows, now);
    state.drain();
    assert_eq!(settlements(state.effects(now)).len(), 1);
    state.written(Ok(()));
    state.tick();
    for job in running {
        assert!(state.effects(now).is_empty(), "sends are in flight");
        state.sent(sent(job), 0.5, now);
        let written = settlements(state.effects(now)).len();
        assert_eq!(written, 1);
        state.written(Ok(()));
    }
    assert!(matches!(state.effects(now)[..], [Effect::Drained]));
}

#[test]
fn a_drain_does_not_wait_for_a_database_that_is_gone() {
    let (mut state, now) = (state(), Instant::now());
    state.claimed(vec![pending(1, S, &[])], |_| false, now);
    state.drain();
    let lost = settlements(state.effects(now));
    state.written(Err((lost, "gone".to_owned())));
    assert!(matches!(state.effects(now)[..], [Effect::Drained]));
}
