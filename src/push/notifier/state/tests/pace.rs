//! How often a receiver's devices ring, and devices that FCM limits.

use super::*;
use crate::domain::Seq;
use crate::push::notifier::effect::LimitedDevice;

/// A chat of this sender in this room, for receiver 2 with these devices.
fn from(sender: i64, room: i64, devices: &[&str]) -> PendingPush {
    let mut row = pending(room, S, devices);
    row.lease.key.receiver_id = 2.into();
    row.newest = row.newest.map(|chat| Chat { sender_id: sender.into(), receiver_id: 2.into(), ..chat });
    row
}

/// The rooms whose pushes begin now, and how long each of the others waits.
fn claim(state: &mut State, rows: Vec<PendingPush>, now: Instant) -> (Vec<i64>, Vec<Duration>) {
    let mut effects = Vec::new();
    state.claimed(rows, |_| false, now);
    effects.extend(state.effects(now));
    state.written(Ok(()));
    let waits =
        effects.iter().filter_map(|effect| if let Effect::Write(results) = effect { Some(results) } else { None });
    let waits: Vec<Duration> = waits.flatten().map(|result| result.wait).collect();
    let mut begun = Vec::new();
    let mut jobs = sends(effects);
    while let Some(job) = jobs.pop() {
        begun.push(job.lease.key.chatroom_id.get());
        state.sent(sent(job), 0.5, now);
        state.written(Ok(()));
        jobs.extend(sends(state.effects(now)));
        state.written(Ok(()));
    }
    begun.sort_unstable();
    (begun, waits)
}

#[test]
fn a6_a_sender_rings_once_in_the_gap_whatever_rooms_they_create() {
    let (mut state, start) = (state(), Instant::now());
    let mut pushes = 0;
    for tick in 0..200 {
        let now = start + tick * (S / 10);
        let (begun, waits) = claim(&mut state, vec![from(7, i64::from(tick), &["t"])], now);
        pushes += begun.len();
        assert!(waits.iter().all(|wait| *wait <= 5 * S));
    }
    assert_eq!(pushes, 4, "20 s of a new room each 0.1 s");
    assert_eq!(claim(&mut state, vec![from(8, 1_000, &["t"])], start + 20 * S).0, [1_000], "a friend is not delayed");
}

#[test]
fn a6_a_receiver_gets_a_burst_then_a_rate_and_every_push_in_the_end() {
    let (mut state, now) = (state(), Instant::now());
    let rows: Vec<_> = (1..=30).map(|n| from(n, n, &["t"])).collect();
    let (begun, mut waits) = claim(&mut state, rows.clone(), now);
    assert_eq!(begun.len(), 20);
    waits.retain(|wait| *wait != 5 * S);
    assert_eq!(waits, (1..=10).map(|n| n * 3 * S).collect::<Vec<_>>(), "each at a time of its own");
    for (n, row) in rows.into_iter().skip(20).enumerate() {
        let due = now + (n as u32 + 1) * 3 * S;
        assert_eq!(claim(&mut state, vec![row.clone()], due - S).0, Vec::<i64>::new());
        assert_eq!(claim(&mut state, vec![row], due).0, [n as i64 + 21]);
    }
}

#[test]
fn a6_a_sender_waits_at_one_place_only_before_a_busy_receiver() {
    let (mut state, now) = (state(), Instant::now());
    claim(&mut state, (1..=20).map(|n| from(n, n, &["t"])).collect(), now);
    let flood = (100..150).map(|room| from(99, room, &["t"])).collect();
    assert!(claim(&mut state, flood, now).0.is_empty());
    let (begun, waits) = claim(&mut state, vec![from(55, 200, &["t"])], now);
    assert_eq!((begun, waits), (vec![], vec![6 * S]), "behind one push of the flood");
}

#[test]
fn a6_a_push_that_was_not_sent_does_not_count() {
    let (mut state, now) = (state(), Instant::now());
    let job = jobs(&mut state, vec![from(7, 1, &["t"])], now).remove(0);
    state.sent(failed(job, None, false), 0.5, now);
    state.effects(now);
    state.written(Ok(()));
    assert_eq!(claim(&mut state, vec![from(7, 1, &["t"])], now + S).0, [1], "the retry does not wait for the gap");
}

/// The result of a job whose first device met a quota.
fn limited(job: Job, wait: Duration, is_certain: bool) -> Sent {
    let device = job.tokens[0].clone();
    let accepted = job.tokens[1..].to_vec();
    let limited = vec![LimitedDevice { device, wait, is_certain, reason: "429".to_owned() }];
    Sent { accepted, limited, ..sent(job) }
}

#[test]
fn a9_a_limited_device_waits_alone_in_all_its_rooms() {
    let (mut state, now) = (state(), Instant::now());
    let job = jobs(&mut state, vec![from(7, 1, &["phone"])], now).remove(0);
    state.sent(limited(job, 60 * S, true), 0.5, now);
    let result = settlements(state.effects(now)).remove(0);
    assert!(!result.ends && result.wait == 60 * S, "{result:?}");
    state.written(Ok(()));
    let (begun, waits) = claim(&mut state, vec![from(8, 2, &["phone"])], now + 10 * S);
    assert_eq!((begun, waits), (vec![], vec![50 * S]));
    assert_eq!(claim(&mut state, vec![pending(3, S, &["another"])], now + 10 * S).0, [3], "another receiver");
    let later = now + 60 * S;
    assert_eq!(claim(&mut state, vec![from(7, 1, &["phone"]), from(8, 2, &["phone"])], later).0, [1, 2]);
}

#[test]
fn a9_the_other_devices_of_a_receiver_get_every_push_in_time() {
    let (mut state, now) = (state(), Instant::now());
    let job = jobs(&mut state, vec![from(7, 1, &["phone", "tablet"])], now).remove(0);
    state.sent(limited(job, 60 * S, true), 0.5, now);
    let result = settlements(state.effects(now)).remove(0);
    assert!(!result.ends && result.wait == 5 * S && result.attempts == 0, "{result:?}");
    state.written(Ok(()));
    let mut newer = from(7, 1, &["phone", "tablet"]);
    newer.newest = newer.newest.map(|chat| Chat { seq: Seq::new(8), ..chat });
    let job = jobs(&mut state, vec![newer], now + 5 * S).remove(0);
    assert_eq!(job.tokens, [DeviceToken::new("tablet".to_owned())]);
    state.sent(sent(job), 0.5, now + 5 * S);
    let result = settlements(state.effects(now + 5 * S)).remove(0);
    assert!(!result.ends, "the phone gets it later: {result:?}");
}

#[test]
fn a9_five_devices_in_a_row_without_a_subject_are_the_quota_of_the_project() {
    let (mut state, now) = (state(), Instant::now());
    let refuse = |state: &mut State, room: i64, device: &str| {
        let job = jobs(state, vec![pending(room, S, &[device])], now).remove(0);
        state.sent(limited(job, 60 * S, false), 0.5, now);
        state.effects(now);
        state.written(Ok(()));
        state.pause.rest(now)
    };
    for room in 1..5 {
        assert_eq!(refuse(&mut state, room, &format!("device {room}")), None);
    }
    let accepted = jobs(&mut state, vec![pending(10, S, &["good"])], now).remove(0);
    state.sent(sent(accepted), 0.5, now);
    state.effects(now);
    state.written(Ok(()));
    for room in 11..15 {
        assert_eq!(refuse(&mut state, room, &format!("device {room}")), None, "an accepted send began a new row");
    }
    assert_eq!(refuse(&mut state, 15, "device 15"), Some(60 * S));
}
