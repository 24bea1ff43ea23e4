//! Eight accounts at four addresses attack in all known ways at random, beside twenty pairs that must not notice.
//!
//! `HYPER_CHAT_TEST_ATTACK_MINUTES` says how long; `HYPER_CHAT_TEST_BINARY` names a release build to attack instead of
//! the one that was built with the tests, and `HYPER_CHAT_TEST_ATTACK_ROWS` some of the ways. With `--nocapture` the test prints what it measured as a table.

mod attackers;
mod pairs;
mod record;
mod rests;
mod sockets;

use std::sync::Arc;
use std::time::{Duration, Instant};

use attackers::{Attack, Attackers};
use pairs::Pairs;
use record::{Kind, Record};

use crate::support::dice::given_seed;
use crate::support::fcm::{Answer, FcmStandIn, Quota};
use crate::support::sockets_open::memory_bytes;
use crate::support::wait::{SLACK, s};
use crate::support::{Db, TestServer, alone, long};

/// By how much the memory of an instance may grow under attack. The bounds of all queues and answers allow for more, but
/// few accounts at few addresses cannot fill them all.
const GROWTH_BYTES_MAX: u64 = 192 << 20;
/// From the end of the attack on.
const CALM_AGAIN_WITHIN: Duration = s(10);
/// The chats by which it is seen whether all is calm again.
const WINDOW: Duration = s(2);
/// The device whose pushes are refused for its own quota.
const NOISY_DEVICE: &str = "a-device-over-its-quota";

/// How long all is calm at first, and how long the attack takes.
fn times() -> (Duration, Duration) {
    let minutes = std::env::var("HYPER_CHAT_TEST_ATTACK_MINUTES").ok();
    match minutes.map(|minutes| minutes.parse::<u64>().expect("HYPER_CHAT_TEST_ATTACK_MINUTES is a number")) {
        Some(minutes) => (s(30), s(60 * minutes)),
        None if long() => (s(60), s(30 * 60)),
        None => (s(4), s(8)),
    }
}

/// How much the attack may slow the pairs, and its traces afterwards. Short runs share a busy machine with their clients.
fn bound(calm: Duration) -> Duration {
    if long() { 3 * calm + Duration::from_millis(10) } else { 20 * calm + 2 * SLACK }
}

/// All limits as they are by default, behind a proxy that names the clients' addresses, and pushes.
async fn server(db: Db, fcm: &FcmStandIn) -> TestServer {
    fcm.answer_for(NOISY_DEVICE, Answer::Quota { of: Quota::Device, retry_after: Some("600".to_owned()) });
    let server = TestServer::with(db).pushes_to(fcm).set("SERVER__PROXY_HOPS", 1).set("LOG__FILTER", "info");
    let of_the_tests = [
        "AUTH__ARGON2_MEMORY_KIB",
        "AUTH__ARGON2_ITERATIONS",
        "LIMITS__SEND_PER_S",
        "LIMITS__SIGN_IN_PER_MIN",
        "LIMITS__SIGN_UP_PER_MIN",
        "LIMITS__SEARCHES_PER_MIN",
        "LIMITS__ROOMS_PER_HOUR",
        "LIMITS__OPEN_PAGES_PER_MIN",
        "LIMITS__REFRESH_PER_MIN",
    ];
    of_the_tests.into_iter().fold(server, |server, key| server.unset(key)).start().await
}

/// Waits, and watches the memory of all instances; the most that one of them took.
async fn watch(pids: &[u32], time: Duration) -> u64 {
    let (end, mut most) = (Instant::now() + time, 0);
    while Instant::now() < end {
        most = pids.iter().map(|pid| memory_bytes(*pid)).fold(most, u64::max);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    most
}

/// Waits for a calm window; how long after the attack that ended, and the memory then.
async fn calm_again(record: &Record, pids: &[u32], most: Duration) -> (Option<Duration>, u64) {
    let ended = Instant::now();
    loop {
        let begun = Instant::now();
        let memory = watch(pids, WINDOW).await;
        let p99 = record.percentile(Kind::Chat, begun..Instant::now(), 99);
        eprintln!("  {:?} after the end: p99 {p99:?}, {} MiB", ended.elapsed(), memory >> 20);
        if p99 <= most {
            return (Some(ended.elapsed()), memory);
        }
        if begun - ended > CALM_AGAIN_WITHIN {
            return (None, memory);
        }
    }
}

async fn a0_all_attacks_at_random_beside_twenty_pairs(db: Db, instances: usize) {
    let _turn = alone().await;
    let number = given_seed().unwrap_or_else(rand::random);
    let (calm_time, attack_time) = times();
    eprintln!("{db:?}: HYPER_CHAT_TEST_SEED={number}, an attack of {attack_time:?}");
    let fcm = FcmStandIn::start();
    let server = server(db, &fcm).await;
    let pids: Vec<u32> = (0..instances).map(|instance| server.instance(instance).pid()).collect();
    let record = Arc::new(Record::default());
    let pairs = Pairs::start(&server, record.clone()).await;
    let attackers = Attackers::sign_up(&server, pairs.people()).await;
    // What was filled in is written, and the caches of the pairs are warm.
    watch(&pids, s(1)).await;

    let begun = Instant::now();
    let calm_memory = watch(&pids, calm_time).await;
    let calm = begun..Instant::now();
    let attack = Attack::start(attackers, number);
    let begun = Instant::now();
    let attack_memory = watch(&pids, attack_time).await;
    let attacked = begun..Instant::now();
    let counts = attack.stop().await;
    let calm_p99 = record.percentile(Kind::Chat, calm.clone(), 99);
    let (calm_after, end_memory) = calm_again(&record, &pids, 3 * calm_p99 + SLACK / 3).await;
    let after = attacked.end..Instant::now();
    pairs.stop_and_verify(&server).await;

    for line in counts.lines() {
        eprintln!("  {line}");
    }
    for (phase, range, memory) in
        [("calm", calm, calm_memory), ("attacked", attacked.clone(), attack_memory), ("after", after, end_memory)]
    {
        eprintln!("  {phase:9} {}, memory {} MiB", record.line(range), memory >> 20);
    }
    let attacked_p99 = record.percentile(Kind::Chat, attacked, 99);
    eprintln!("  {:.2} times the calm p99; calm again after {calm_after:?}", attacked_p99.div_duration_f64(calm_p99));
    record.expect_no_errors();
    assert!(attacked_p99 <= bound(calm_p99), "the pairs' p99 rose from {calm_p99:?} to {attacked_p99:?}");
    assert!(calm_after.is_some(), "not calm again within {CALM_AGAIN_WITHIN:?}");
    let grown = attack_memory.max(end_memory).saturating_sub(calm_memory);
    assert!(grown <= GROWTH_BYTES_MAX, "an instance grew by {} MiB", grown >> 20);
}

#[tokio::test]
async fn a0_all_attacks_at_random_beside_twenty_pairs_on_sqlite() {
    a0_all_attacks_at_random_beside_twenty_pairs(Db::Sqlite, 1).await;
}

#[tokio::test]
async fn a0_all_attacks_at_random_beside_twenty_pairs_on_two_instances() {
    a0_all_attacks_at_random_beside_twenty_pairs(Db::Cluster, 2).await;
}
