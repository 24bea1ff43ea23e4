//! The broker while Redis dies, hangs or is absent: no caller waits, and the connections are restored.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper_chat::broker::redis::{RedisBroker, Settings};

use super::log::Log;
use super::{Events, Instance, frame};
use crate::support::proxy::Proxy;
use crate::support::secrets::{JWT_SECRET, MARKER};
use crate::support::wait::SLACK;
use crate::support::wait::s;
use crate::support::{Redis, alone, eventually, heavy, until};

/// Promised: 3 s; the rest is for a loaded machine.
const HEALED: Duration = s(3).saturating_add(SLACK);
/// How long a subscription waits for its confirmation, with the same rest.
const SUBSCRIBE_WITHIN: Duration = Duration::from_millis(500).saturating_add(SLACK);

pub fn settings(redis: &Redis) -> Settings {
    Settings::new(redis.url().into())
}

/// A connected instance with production timeouts.
async fn with_production_timeouts(settings: &Settings) -> Instance {
    let instance = Instance::with(settings, JWT_SECRET);
    instance.wait_until_up().await;
    instance
}

/// Two connected instances; the second is subscribed to 1.
pub async fn pair(redis: &Redis) -> (Instance, Instance) {
    subscribed(Instance::of(redis).await, Instance::of(redis).await).await
}

/// The same with production timeouts.
async fn pair_with_production_timeouts(redis: &Redis) -> (Instance, Instance) {
    subscribed(with_production_timeouts(&settings(redis)).await, with_production_timeouts(&settings(redis)).await).await
}

async fn subscribed(publisher: Instance, receiver: Instance) -> (Instance, Instance) {
    receiver.subscribes(1).await;
    assert_eq!(receiver.reconnections(), 1, "the first time counts");
    (publisher, receiver)
}

/// Waits until both are up and a published message arrives, in time.
pub async fn heal(publisher: &Instance, receiver: &Instance) {
    let start = Instant::now();
    until("both are up", HEALED, || !publisher.is_away() && !receiver.is_away()).await;
    publisher.broker.publish(frame(1, "back"));
    receiver.receives_only(&[frame(1, "back")]).await;
    assert!(start.elapsed() < HEALED, "healed only after {:?}", start.elapsed());
}

/// Checks that publishing does not wait, and that a subscription soon returns unconfirmed.
async fn nothing_waits(instance: &Instance) {
    let start = Instant::now();
    for n in 0..20_000 {
        instance.broker.publish(frame(1, &format!("lost {n}")));
    }
    assert!(start.elapsed() < s(2), "20,000 were published in {:?}", start.elapsed());
    let start = Instant::now();
    assert!(!instance.broker.subscribe(5.into()).await, "not confirmed");
    assert!(start.elapsed() < SUBSCRIBE_WITHIN, "{:?}", start.elapsed());
    instance.broker.unsubscribe(5.into());
}

#[tokio::test]
async fn redis_dies_and_comes_back_empty() {
    let redis = Redis::start();
    let (publisher, receiver) = pair_with_production_timeouts(&redis).await;
    redis.kill9();
    until("both notice", s(5), || publisher.is_away() && receiver.is_away()).await;
    nothing_waits(&publisher).await;
    assert!(!receiver.broker.subscribe(2.into()).await, "not confirmed");
    publisher.broker.publish(frame(1, "lost"));
    redis.up();
    heal(&publisher, &receiver).await;
    assert_eq!(receiver.reconnections(), 2);
    assert!(
        publisher.counters().dropped > 20_000 && publisher.counters().reconnects >= 2,
        "{:?}",
        publisher.counters()
    );
    publisher.broker.publish(frame(2, "subscribed meanwhile"));
    receiver.receives_only(&[frame(2, "subscribed meanwhile")]).await;
}

#[tokio::test]
async fn redis_hangs() {
    let _turn = heavy().await;
    let redis = Redis::start();
    let (publisher, receiver) = pair_with_production_timeouts(&redis).await;
    redis.freeze();
    nothing_waits(&receiver).await;
    // A ping each second, and a second to answer it.
    until("both notice", s(4), || publisher.is_away() && receiver.is_away()).await;
    nothing_waits(&publisher).await;
    redis.thaw();
    heal(&publisher, &receiver).await;
}

#[tokio::test]
async fn a_connection_is_half_open() {
    let _turn = heavy().await;
    let redis = Redis::start();
    let proxy = Proxy::before(redis.port).await;
    let publisher = Instance::of(&redis).await;
    let receiver = with_production_timeouts(&Settings::new(format!("redis://127.0.0.1:{}", proxy.port).into())).await;
    receiver.subscribes(1).await;
    for broken in [Proxy::hole, Proxy::clog, Proxy::cut] {
        broken(&proxy);
        until("it notices", s(4), || receiver.is_away()).await;
        assert!(!publisher.is_away(), "the other instance is not affected");
        nothing_waits(&receiver).await;
        proxy.heal();
        heal(&publisher, &receiver).await;
    }
}

#[tokio::test]
async fn the_connections_are_cut_again_and_again() {
    let redis = Redis::start();
    let (publisher, receiver) = pair_with_production_timeouts(&redis).await;
    for round in 2..6 {
        redis.kill_subscribers().await;
        until("it is subscribed again", HEALED, || receiver.reconnections() == round).await;
        heal(&publisher, &receiver).await;
        let before = publisher.counters().reconnects;
        let _: usize = redis.ask(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]).await;
        until("it is connected again", HEALED, || publisher.counters().reconnects > before).await;
        heal(&publisher, &receiver).await;
        let _: () = redis.ask(&["FLUSHALL"]).await;
        heal(&publisher, &receiver).await;
    }
}

#[tokio::test]
async fn redis_is_absent_at_the_start() {
    let redis = Redis::absent(&[]);
    let publisher = Instance::with(&settings(&redis), JWT_SECRET);
    let receiver = Instance::with(&settings(&redis), JWT_SECRET);
    assert!(!receiver.broker.subscribe(1.into()).await, "not confirmed");
    nothing_waits(&publisher).await;
    assert!(publisher.is_away() && receiver.is_away());
    redis.up();
    heal(&publisher, &receiver).await;
    assert_eq!(receiver.reconnections(), 1);
}

#[tokio::test]
async fn a_wrong_password_is_being_away_and_a_right_one_is_not() {
    let redis = Redis::absent(&["--requirepass", "s3cret-of-redis"]);
    redis.up();
    let url = |password| format!("redis://:{password}@127.0.0.1:{}", redis.port);
    let log = Log::start();
    let wrong = Instance::with(&Settings::new(url("wr0ng-of-redis").into()), JWT_SECRET);
    let right = Instance::with(&Settings::new(url("s3cret-of-redis").into()), JWT_SECRET);
    right.wait_until_up().await;
    nothing_waits(&wrong).await;
    assert!(wrong.is_away());
    until("it is logged", s(3), || log.lines("ERROR").len() == 1).await;
    assert!(log.lines("ERROR")[0].contains("refuses the name or the password"), "{}", log.text());
    assert!(!log.text().contains("of-redis"), "{}", log.text());
}

#[tokio::test]
async fn each_outage_of_redis_and_its_end_are_logged_once() {
    let redis = Redis::start();
    let log = Log::start();
    let instance = Instance::of(&redis).await;
    instance.subscribes(1).await;
    assert_eq!((log.lines("WARN").len(), log.lines("INFO").len()), (0, 1), "{}", log.text());
    for round in 1..=2 {
        redis.kill9();
        until("it notices", s(5), || instance.is_away()).await;
        for _ in 0..10 {
            instance.broker.publish(frame(1, MARKER));
            assert!(!instance.broker.subscribe(2.into()).await);
        }
        redis.up();
        instance.wait_until_up().await;
        instance.broker.publish(frame(1, MARKER));
        assert_eq!((log.lines("WARN").len(), log.lines("INFO").len()), (round, round + 1), "{}", log.text());
    }
    assert!(!log.text().contains(MARKER), "{}", log.text());
}

#[tokio::test]
async fn a_subscriber_that_redis_finds_too_slow_is_connected_again() {
    let redis = Redis::start();
    let (publisher, receiver) = pair(&redis).await;
    let _: () = redis.ask(&["CONFIG", "SET", "client-output-buffer-limit", "pubsub 64kb 64kb 1"]).await;
    publisher.broker.publish(frame(1, &"x".repeat(1_000_000)));
    until("it is subscribed again", HEALED, || receiver.reconnections() == 2).await;
    heal(&publisher, &receiver).await;
}

#[tokio::test]
async fn a_redis_that_refuses_writes_still_carries_messages() {
    let redis = Redis::start();
    let (publisher, receiver) = pair(&redis).await;
    let _: () = redis.ask(&["CONFIG", "SET", "maxmemory", "1"]).await;
    heal(&publisher, &receiver).await;
    let _: () = redis.ask(&["REPLICAOF", "127.0.0.1", "1"]).await;
    heal(&publisher, &receiver).await;
    assert_eq!((publisher.counters().dropped, receiver.reconnections()), (0, 1));
}

#[tokio::test]
async fn ten_thousand_subscriptions_are_restored_in_time() {
    let _turn = alone().await;
    let redis = Redis::start();
    let (publisher, receiver) = pair(&redis).await;
    let all: Vec<_> = (0..10_000).map(|chatter| receiver.broker.subscribe(chatter.into())).collect();
    for one in all {
        assert!(one.await, "confirmed");
    }
    redis.kill9();
    until("both notice", s(5), || publisher.is_away() && receiver.is_away()).await;
    redis.up();
    heal(&publisher, &receiver).await;
    let subscribed: Vec<(String, usize)> = redis.ask(&["PUBSUB", "NUMSUB", "hyper:1:c:0", "hyper:1:c:9999"]).await;
    assert_eq!(subscribed.iter().map(|(_, count)| *count).collect::<Vec<_>>(), [1, 1]);
    let channels: Vec<String> = redis.ask(&["PUBSUB", "CHANNELS"]).await;
    assert_eq!(channels.len(), 10_000);
    (0..10_000).for_each(|chatter: i64| receiver.broker.unsubscribe(chatter.into()));
    receiver.subscribes(20_000).await;
    receiver.broker.unsubscribe(1.into());
    eventually("only one is left", s(20), async || {
        let left: Vec<String> = redis.ask(&["PUBSUB", "CHANNELS"]).await;
        (left == ["hyper:1:c:20000"]).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_self_signed_certificate_is_accepted_only_with_insecure_tls() {
    let redis = Redis::with_tls();
    redis.up();
    let settings = |end: &str| Settings {
        connect_timeout: s(10),
        ..Settings::new(format!("rediss://127.0.0.1:{}{end}", redis.port).into())
    };
    let log = Log::start();
    let careful = Instance::with(&settings(""), JWT_SECRET);
    until("it is logged", s(15), || log.lines("WARN").len() == 1).await;
    assert!(careful.is_away() && log.lines("WARN")[0].contains("certificate"), "{}", log.text());
    let by_setting = Instance::with(&Settings { insecure_tls: true, ..settings("") }, JWT_SECRET);
    let by_url = Instance::with(&settings("/#insecure"), JWT_SECRET);
    by_setting.wait_until_up().await;
    by_setting.subscribes(1).await;
    heal(&by_url, &by_setting).await;
    assert!(careful.is_away());
}

#[tokio::test]
async fn the_worker_ends_with_the_last_handle() {
    let redis = Redis::start();
    let (broker, worker) = RedisBroker::open(&settings(&redis), &[JWT_SECRET.as_bytes()]).expect("a URL");
    let work = tokio::spawn(worker.run(Arc::new(Events::default())));
    until("it is connected", s(3), || matches!(broker.state(), hyper_chat::broker::State::Up)).await;
    let more = broker.clone();
    drop(broker);
    more.publish(frame(1, "the last"));
    drop(more);
    tokio::time::timeout(s(3), work).await.expect("it ends").expect("without a panic");
}
