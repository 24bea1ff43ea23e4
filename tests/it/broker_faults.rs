//! The broker while Redis dies, hangs, lies or is flooded: nothing waits, and the connections are restored.

use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper_chat::broker::ClusterMessage;
use hyper_chat::broker::redis::{RedisBroker, Settings};
use parking_lot::Mutex;
use tracing_subscriber::fmt::MakeWriter;

use crate::broker::{Counters, Events, Instance, changes, frame};
use crate::support::cluster::SLACK;
use crate::support::proxy::Proxy;
use crate::support::secrets::{JWT_SECRET, MARKER};
use crate::support::wait::s;
use crate::support::{Redis, alone, eventually, heavy, until};

/// Promised: 3 s; the rest is for a loaded machine.
const HEALED: Duration = s(3).saturating_add(SLACK);
/// How long subscribing waits for its confirmation, and the same rest.
const SUBSCRIBE_WITHIN: Duration = Duration::from_millis(500).saturating_add(SLACK);

fn settings(redis: &Redis) -> Settings {
    Settings::new(redis.url().into())
}

/// One that is connected, with the timeouts that it would have in production.
async fn hasty(settings: &Settings) -> Instance {
    let instance = Instance::with(settings, JWT_SECRET);
    instance.gets_up().await;
    instance
}

/// Two that are connected; the second is subscribed to 1.
async fn pair(redis: &Redis) -> (Instance, Instance) {
    subscribed(Instance::of(redis).await, Instance::of(redis).await).await
}

/// The same with the timeouts that they would have in production.
async fn hasty_pair(redis: &Redis) -> (Instance, Instance) {
    subscribed(hasty(&settings(redis)).await, hasty(&settings(redis)).await).await
}

async fn subscribed(publisher: Instance, receiver: Instance) -> (Instance, Instance) {
    receiver.subscribes(1).await;
    assert_eq!(receiver.reconnections(), 1, "the first time counts");
    (publisher, receiver)
}

/// Both are up, and a published message is received, in time.
async fn heal(publisher: &Instance, receiver: &Instance) {
    let start = Instant::now();
    until("both are up", HEALED, || !publisher.is_away() && !receiver.is_away()).await;
    publisher.broker.publish(frame(1, "back"));
    receiver.receives_only(&[frame(1, "back")]).await;
    assert!(start.elapsed() < HEALED, "healed only after {:?}", start.elapsed());
}

/// Publishing does not wait, subscribing not long, and its answer is that it is not confirmed.
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
    let (publisher, receiver) = hasty_pair(&redis).await;
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
    publisher.broker.publish(frame(2, "who asked meanwhile"));
    receiver.receives_only(&[frame(2, "who asked meanwhile")]).await;
}

#[tokio::test]
async fn redis_hangs() {
    let _turn = heavy().await;
    let redis = Redis::start();
    let (publisher, receiver) = hasty_pair(&redis).await;
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
    let receiver = hasty(&Settings::new(format!("redis://127.0.0.1:{}", proxy.port).into())).await;
    receiver.subscribes(1).await;
    for broken in [Proxy::hole, Proxy::clog, Proxy::cut] {
        broken(&proxy);
        until("it notices", s(4), || receiver.is_away()).await;
        assert!(!publisher.is_away(), "the other one is not concerned");
        nothing_waits(&receiver).await;
        proxy.heal();
        heal(&publisher, &receiver).await;
    }
}

#[tokio::test]
async fn the_connections_are_cut_again_and_again() {
    let redis = Redis::start();
    let (publisher, receiver) = hasty_pair(&redis).await;
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
    right.gets_up().await;
    nothing_waits(&wrong).await;
    assert!(wrong.is_away());
    until("it is logged", s(3), || log.lines("WARN").len() == 1).await;
    assert!(log.lines("WARN")[0].contains("WRONGPASS"), "{}", log.text());
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
        instance.gets_up().await;
        instance.broker.publish(frame(1, MARKER));
        assert_eq!((log.lines("WARN").len(), log.lines("INFO").len()), (round, round + 1), "{}", log.text());
    }
    assert!(!log.text().contains(MARKER), "{}", log.text());
}

#[tokio::test]
async fn messages_that_are_not_ours_are_dropped_and_counted() {
    let redis = Redis::start();
    let log = Log::start();
    let (publisher, receiver) = pair(&redis).await;
    receiver.subscribes(2).await;
    let genuine = overhear(&redis, "hyper:1:c:3", &publisher, frame(3, "for 3")).await;
    let mut changed = overhear(&redis, "hyper:1:c:1", &publisher, frame(1, "for 1")).await;
    receiver.receives_only(&[frame(1, "for 1")]).await;
    *changed.last_mut().expect("a byte") ^= 1;
    let mut later_format = genuine.clone();
    later_format[2] = 2;
    let stranger = Instance::with(&settings(&redis), "another-secret-of-more-than-32-bytes");
    stranger.gets_up().await;
    stranger.broker.publish(frame(1, "from a stranger"));
    until("it is sent", s(3), || stranger.counters().sent == 1).await;
    let huge = [&genuine[..], &vec![b'x'; 2 * 1024 * 1024]].concat();
    let bad: [&[u8]; 11] = [
        b"",
        b"H",
        b"garbage",
        b"HC",
        b"HC\x01",
        &genuine[..40],
        &genuine[..51],
        &huge,
        &later_format,
        &genuine,
        &changed,
    ];
    for message in bad {
        assert_eq!(redis.publish("hyper:1:c:1", message).await, 1);
    }
    for channel in ["hyper:1:c:", "hyper:1:c:x", "hyper:1:c:-1", "hyper:1:c:99999999999999999999", "other"] {
        assert_eq!(redis.publish(channel, &genuine).await, 0);
    }
    publisher.broker.publish(frame(2, "the end"));
    receiver.receives_only(&[frame(2, "the end")]).await;
    // Forged: the stranger's, the beginning of one, one for another chatter, one that was changed.
    let expected = Counters { received: 2, forged: 4, unknown_format: 1, garbled: 7, ..Counters::default() };
    assert_eq!(receiver.counters(), expected);
    assert_eq!(log.lines("WARN").len(), 1, "{}", log.text());
}

/// The published message, as every client of Redis can see it.
async fn overhear(redis: &Redis, channel: &str, publisher: &Instance, message: ClusterMessage) -> Vec<u8> {
    let (sender, mut pushes) = tokio::sync::mpsc::unbounded_channel();
    let config = ::redis::AsyncConnectionConfig::new().set_push_sender(sender);
    let client = ::redis::Client::open(format!("{}?protocol=resp3", redis.url())).expect("a URL");
    let mut line = client.get_multiplexed_async_connection_with_config(&config).await.expect("connects");
    line.subscribe(channel).await.expect("subscribed");
    publisher.broker.publish(message);
    loop {
        let push = pushes.recv().await.expect("connected");
        if push.kind == ::redis::PushKind::Message {
            return ::redis::from_redis_value(push.data[1].clone()).expect("bytes");
        }
    }
}

#[tokio::test]
async fn services_with_other_prefixes_share_a_redis_without_receiving_each_other() {
    let redis = Redis::start();
    let (publisher, receiver) = pair(&redis).await;
    let other = Instance::with(&Settings { prefix: "other".to_owned(), ..settings(&redis) }, JWT_SECRET);
    other.gets_up().await;
    other.subscribes(1).await;
    other.broker.publish(frame(1, "other"));
    until("it is sent", s(3), || other.counters().sent == 1).await;
    publisher.broker.publish(frame(1, "ours"));
    receiver.receives_only(&[frame(1, "ours")]).await;
    assert_eq!(other.counters().received, 0);
}

#[tokio::test]
async fn a_message_that_is_too_long_arrives_in_parts_or_not_at_all() {
    let redis = Redis::start();
    let (publisher, receiver) = pair(&redis).await;
    let long = "가".repeat(8_000);
    let message = changes(&vec![&long[..]; 100]);
    publisher.broker.publish(frame(1, &"x".repeat(1024 * 1024)));
    publisher.broker.publish(ClusterMessage::Changes(message.clone()));
    publisher.broker.publish(frame(1, "the end"));
    let mut parts = receiver.receives_until(&frame(1, "the end")).await;
    parts.pop();
    until("all is counted", s(3), || publisher.counters().sent == parts.len() as u64 + 1).await;
    assert!(parts.len() >= 3 && publisher.counters().dropped == 1, "{:?}", publisher.counters());
    let (mut to, mut all) = (message.from, Vec::new());
    for part in parts {
        let ClusterMessage::Changes(part) = part else { panic!("no changes: {part:?}") };
        assert_eq!((part.from, part.to), (to, part.changes.last().expect("never empty").1.version));
        to = part.to;
        all.extend(part.changes);
    }
    assert!(to == message.to && all == message.changes, "all of it, in parts that follow each other");
}

#[tokio::test]
async fn messages_that_wait_to_be_published_are_bounded_in_number_and_in_bytes() {
    let redis = Redis::start();
    let (publisher, receiver) = pair(&redis).await;
    let publish = |count: u64, message: &ClusterMessage| {
        let before = publisher.counters();
        // Without awaiting anything, so nothing is sent meanwhile.
        (0..count).for_each(|_| publisher.broker.publish(message.clone()));
        before
    };
    let before = publish(20_000, &frame(1, "short"));
    assert_eq!(publisher.counters().dropped - before.dropped, 20_000 - 8_192);
    receiver.receives(8_192).await;
    let before = publish(100, &frame(1, &"x".repeat(1_000_000)));
    assert_eq!(publisher.counters().dropped - before.dropped, 100 - 16, "16 MiB wait");
    receiver.receives(16).await;
    until("all is counted", s(3), || publisher.counters().sent == 8_192 + 16).await;
    assert_eq!(receiver.reconnections(), 1, "nothing broke");
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
async fn a_flood_of_garbage_is_survived() {
    let _turn = alone().await;
    let redis = Redis::start();
    let (publisher, receiver) = pair(&redis).await;
    let mut client = redis.client().await;
    let garbage = vec![b'x'; 100_000];
    for _ in 0..50 {
        let mut pipeline = ::redis::pipe();
        for _ in 0..20 {
            pipeline.cmd("PUBLISH").arg("hyper:1:c:1").arg(&garbage);
        }
        pipeline.exec_async(&mut client).await.expect("Redis takes it");
    }
    heal(&publisher, &receiver).await;
}

#[tokio::test]
async fn ten_thousand_subscriptions_are_there_again_in_time() {
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
async fn a_self_signed_certificate_is_taken_only_when_asked_for() {
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
    by_setting.gets_up().await;
    by_setting.subscribes(1).await;
    heal(&by_url, &by_setting).await;
    assert!(careful.is_away());
}

#[tokio::test]
async fn the_worker_ends_with_the_last_handle() {
    let redis = Redis::start();
    let (broker, worker) = RedisBroker::open(&settings(&redis), JWT_SECRET.as_bytes()).expect("a URL");
    let work = tokio::spawn(worker.run(Arc::new(Events::default())));
    until("it is connected", s(3), || matches!(broker.state(), hyper_chat::broker::State::Up)).await;
    let more = broker.clone();
    drop(broker);
    more.publish(frame(1, "the last"));
    drop(more);
    tokio::time::timeout(s(3), work).await.expect("it ends").expect("without a panic");
}

/// What this thread logs.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

struct Logging {
    log: Log,
    _while_it_lives: tracing::subscriber::DefaultGuard,
}

impl Log {
    fn start() -> Logging {
        let log = Self::default();
        let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(log.clone()).finish();
        Logging { log, _while_it_lives: tracing::subscriber::set_default(subscriber) }
    }
}

impl Logging {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.log.0.lock()).into_owned()
    }

    fn lines(&self, level: &str) -> Vec<String> {
        self.text().lines().filter(|line| line.contains(level)).map(str::to_owned).collect()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}
