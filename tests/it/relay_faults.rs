//! The relay while Redis dies, hangs, lies or is flooded: nothing waits, and it heals by itself.

use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper_chat::broker::redis::Settings;
use hyper_chat::broker::{Broker, ClusterMessage, Counters};
use parking_lot::Mutex;
use tracing_subscriber::fmt::MakeWriter;

use crate::relay::{Instance, changes, frame};
use crate::support::cluster::SLACK;
use crate::support::proxy::Proxy;
use crate::support::secrets::{JWT_SECRET, MARKER};
use crate::support::wait::s;
use crate::support::{Redis, alone, eventually, heavy, until};

/// Promised: 3 s; the rest is for a loaded machine.
const HEALED: Duration = s(3).saturating_add(SLACK);
/// How long listening waits for its confirmation, and the same rest.
const LISTEN_WITHIN: Duration = Duration::from_millis(500).saturating_add(SLACK);

fn settings(redis: &Redis) -> Settings {
    Settings::new(redis.url().into())
}

/// One that is connected, with the timeouts that it would have in production.
async fn hasty(settings: &Settings) -> Instance {
    let instance = Instance::with(settings, JWT_SECRET);
    instance.gets_up().await;
    instance
}

/// Two that are connected; the second listens to 1.
async fn pair(redis: &Redis) -> (Instance, Instance) {
    listening(Instance::of(redis).await, Instance::of(redis).await).await
}

/// The same with the timeouts that they would have in production.
async fn hasty_pair(redis: &Redis) -> (Instance, Instance) {
    listening(hasty(&settings(redis)).await, hasty(&settings(redis)).await).await
}

async fn listening(teller: Instance, hearer: Instance) -> (Instance, Instance) {
    hearer.listens(1).await;
    assert_eq!(hearer.reconnections(), 1, "the first time counts");
    (teller, hearer)
}

/// Both are up and what is told is heard, in time.
async fn heal(teller: &Instance, hearer: &Instance) {
    let start = Instant::now();
    until("both are up", HEALED, || !teller.is_away() && !hearer.is_away()).await;
    teller.relay.publish(frame(1, "back"));
    hearer.hears_only(&[frame(1, "back")]).await;
    assert!(start.elapsed() < HEALED, "healed only after {:?}", start.elapsed());
}

/// Telling does not wait, listening not long, and the one who listens learns that it is not confirmed.
async fn nobody_waits(instance: &Instance) {
    let start = Instant::now();
    for n in 0..20_000 {
        instance.relay.publish(frame(1, &format!("lost {n}")));
    }
    assert!(start.elapsed() < s(2), "20,000 were told in {:?}", start.elapsed());
    let start = Instant::now();
    assert!(!instance.relay.subscribe(5.into()).await, "not confirmed");
    assert!(start.elapsed() < LISTEN_WITHIN, "{:?}", start.elapsed());
    instance.relay.unsubscribe(5.into());
}

#[tokio::test]
async fn redis_dies_and_comes_back_empty() {
    let redis = Redis::start();
    let (teller, hearer) = hasty_pair(&redis).await;
    redis.kill9();
    until("both notice", s(5), || teller.is_away() && hearer.is_away()).await;
    nobody_waits(&teller).await;
    assert!(!hearer.relay.subscribe(2.into()).await, "not confirmed");
    teller.relay.publish(frame(1, "lost"));
    redis.up();
    heal(&teller, &hearer).await;
    assert_eq!(hearer.reconnections(), 2);
    assert!(teller.counters().dropped > 20_000 && teller.counters().reconnects >= 2, "{:?}", teller.counters());
    teller.relay.publish(frame(2, "who asked meanwhile"));
    hearer.hears_only(&[frame(2, "who asked meanwhile")]).await;
}

#[tokio::test]
async fn redis_hangs() {
    let _turn = heavy().await;
    let redis = Redis::start();
    let (teller, hearer) = hasty_pair(&redis).await;
    redis.freeze();
    nobody_waits(&hearer).await;
    // A ping each second, and a second to answer it.
    until("both notice", s(4), || teller.is_away() && hearer.is_away()).await;
    nobody_waits(&teller).await;
    redis.thaw();
    heal(&teller, &hearer).await;
}

#[tokio::test]
async fn the_link_is_half_open() {
    let _turn = heavy().await;
    let redis = Redis::start();
    let proxy = Proxy::before(redis.port).await;
    let teller = Instance::of(&redis).await;
    let hearer = hasty(&Settings::new(format!("redis://127.0.0.1:{}", proxy.port).into())).await;
    hearer.listens(1).await;
    for broken in [Proxy::hole, Proxy::clog, Proxy::cut] {
        broken(&proxy);
        until("it notices", s(4), || hearer.is_away()).await;
        assert!(!teller.is_away(), "the other one is not concerned");
        nobody_waits(&hearer).await;
        proxy.heal();
        heal(&teller, &hearer).await;
    }
}

#[tokio::test]
async fn the_connections_are_cut_again_and_again() {
    let redis = Redis::start();
    let (teller, hearer) = hasty_pair(&redis).await;
    for round in 2..6 {
        redis.kill_subscribers().await;
        until("it is subscribed again", HEALED, || hearer.reconnections() == round).await;
        heal(&teller, &hearer).await;
        let before = teller.counters().reconnects;
        let _: usize = redis.ask(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]).await;
        until("it is connected again", HEALED, || teller.counters().reconnects > before).await;
        heal(&teller, &hearer).await;
        let _: () = redis.ask(&["FLUSHALL"]).await;
        heal(&teller, &hearer).await;
    }
}

#[tokio::test]
async fn redis_is_absent_at_the_start() {
    let redis = Redis::absent(&[]);
    let teller = Instance::with(&settings(&redis), JWT_SECRET);
    let hearer = Instance::with(&settings(&redis), JWT_SECRET);
    assert!(!hearer.relay.subscribe(1.into()).await, "not confirmed");
    nobody_waits(&teller).await;
    assert!(teller.is_away() && hearer.is_away());
    redis.up();
    heal(&teller, &hearer).await;
    assert_eq!(hearer.reconnections(), 1);
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
    nobody_waits(&wrong).await;
    assert!(wrong.is_away());
    until("it is said", s(3), || log.lines("WARN").len() == 1).await;
    assert!(log.lines("WARN")[0].contains("WRONGPASS"), "{}", log.text());
    assert!(!log.text().contains("of-redis"), "{}", log.text());
}

#[tokio::test]
async fn the_log_says_once_that_redis_is_away_and_once_that_it_is_back() {
    let redis = Redis::start();
    let log = Log::start();
    let instance = Instance::of(&redis).await;
    instance.listens(1).await;
    assert_eq!((log.lines("WARN").len(), log.lines("INFO").len()), (0, 1), "{}", log.text());
    for round in 1..=2 {
        redis.kill9();
        until("it notices", s(5), || instance.is_away()).await;
        for _ in 0..10 {
            instance.relay.publish(frame(1, MARKER));
            assert!(!instance.relay.subscribe(2.into()).await);
        }
        redis.up();
        instance.gets_up().await;
        instance.relay.publish(frame(1, MARKER));
        assert_eq!((log.lines("WARN").len(), log.lines("INFO").len()), (round, round + 1), "{}", log.text());
    }
    assert!(!log.text().contains(MARKER), "{}", log.text());
}

#[tokio::test]
async fn what_is_not_ours_is_dropped_and_counted() {
    let redis = Redis::start();
    let log = Log::start();
    let (teller, hearer) = pair(&redis).await;
    hearer.listens(2).await;
    let genuine = overhear(&redis, "hyper:1:c:3", &teller, frame(3, "for 3")).await;
    let mut changed = overhear(&redis, "hyper:1:c:1", &teller, frame(1, "for 1")).await;
    hearer.hears_only(&[frame(1, "for 1")]).await;
    *changed.last_mut().expect("a byte") ^= 1;
    let mut later_format = genuine.clone();
    later_format[2] = 2;
    let stranger = Instance::with(&settings(&redis), "another-secret-of-more-than-32-bytes");
    stranger.gets_up().await;
    stranger.relay.publish(frame(1, "from a stranger"));
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
    teller.relay.publish(frame(2, "the end"));
    hearer.hears_only(&[frame(2, "the end")]).await;
    // Forged: the stranger's, the beginning of one, one for somebody else, one that was changed.
    let expected = Counters { heard: 2, forged: 4, unknown_format: 1, garbled: 7, ..Counters::default() };
    assert_eq!(hearer.counters(), expected);
    assert_eq!(log.lines("WARN").len(), 1, "{}", log.text());
}

/// What is published for this, as anybody with access to Redis sees it.
async fn overhear(redis: &Redis, channel: &str, teller: &Instance, told: ClusterMessage) -> Vec<u8> {
    let (sender, mut pushes) = tokio::sync::mpsc::unbounded_channel();
    let config = ::redis::AsyncConnectionConfig::new().set_push_sender(sender);
    let client = ::redis::Client::open(format!("{}?protocol=resp3", redis.url())).expect("a URL");
    let mut line = client.get_multiplexed_async_connection_with_config(&config).await.expect("connects");
    line.subscribe(channel).await.expect("subscribed");
    teller.relay.publish(told);
    loop {
        let push = pushes.recv().await.expect("connected");
        if push.kind == ::redis::PushKind::Message {
            return ::redis::from_redis_value(push.data[1].clone()).expect("bytes");
        }
    }
}

#[tokio::test]
async fn services_with_other_prefixes_share_a_redis_unheard() {
    let redis = Redis::start();
    let (teller, hearer) = pair(&redis).await;
    let other = Instance::with(&Settings { prefix: "other".to_owned(), ..settings(&redis) }, JWT_SECRET);
    other.gets_up().await;
    other.listens(1).await;
    other.relay.publish(frame(1, "other"));
    until("it is sent", s(3), || other.counters().sent == 1).await;
    teller.relay.publish(frame(1, "ours"));
    hearer.hears_only(&[frame(1, "ours")]).await;
    assert_eq!(other.counters().heard, 0);
}

#[tokio::test]
async fn what_is_too_long_for_one_message_comes_in_parts_or_not_at_all() {
    let redis = Redis::start();
    let (teller, hearer) = pair(&redis).await;
    let long = "가".repeat(8_000);
    let told = changes(&vec![&long[..]; 100]);
    teller.relay.publish(frame(1, &"x".repeat(1024 * 1024)));
    teller.relay.publish(ClusterMessage::Changes(told.clone()));
    teller.relay.publish(frame(1, "the end"));
    let mut parts = hearer.hears_until(&frame(1, "the end")).await;
    parts.pop();
    until("all is counted", s(3), || teller.counters().sent == parts.len() as u64 + 1).await;
    assert!(parts.len() >= 3 && teller.counters().dropped == 1, "{:?}", teller.counters());
    let (mut to, mut all) = (told.from, Vec::new());
    for part in parts {
        let ClusterMessage::Changes(part) = part else { panic!("no changes: {part:?}") };
        assert_eq!((part.from, part.to), (to, part.changes.last().expect("never empty").1.version));
        to = part.to;
        all.extend(part.changes);
    }
    assert!(to == told.to && all == told.changes, "all of it, in parts that follow each other");
}

#[tokio::test]
async fn what_waits_to_be_told_is_bounded_in_number_and_in_bytes() {
    let redis = Redis::start();
    let (teller, hearer) = pair(&redis).await;
    let tell = |count: u64, told: &ClusterMessage| {
        let before = teller.counters();
        // Without awaiting anything, so nothing is sent meanwhile.
        (0..count).for_each(|_| teller.relay.publish(told.clone()));
        before
    };
    let before = tell(20_000, &frame(1, "short"));
    assert_eq!(teller.counters().dropped - before.dropped, 20_000 - 8_192);
    hearer.hears(8_192).await;
    let before = tell(100, &frame(1, &"x".repeat(1_000_000)));
    assert_eq!(teller.counters().dropped - before.dropped, 100 - 16, "16 MiB wait");
    hearer.hears(16).await;
    until("all is counted", s(3), || teller.counters().sent == 8_192 + 16).await;
    assert_eq!(hearer.reconnections(), 1, "nothing broke");
}

#[tokio::test]
async fn a_subscriber_that_redis_finds_too_slow_is_connected_again() {
    let redis = Redis::start();
    let (teller, hearer) = pair(&redis).await;
    let _: () = redis.ask(&["CONFIG", "SET", "client-output-buffer-limit", "pubsub 64kb 64kb 1"]).await;
    teller.relay.publish(frame(1, &"x".repeat(1_000_000)));
    until("it is subscribed again", HEALED, || hearer.reconnections() == 2).await;
    heal(&teller, &hearer).await;
}

#[tokio::test]
async fn a_redis_that_takes_no_writes_still_carries_what_is_told() {
    let redis = Redis::start();
    let (teller, hearer) = pair(&redis).await;
    let _: () = redis.ask(&["CONFIG", "SET", "maxmemory", "1"]).await;
    heal(&teller, &hearer).await;
    let _: () = redis.ask(&["REPLICAOF", "127.0.0.1", "1"]).await;
    heal(&teller, &hearer).await;
    assert_eq!((teller.counters().dropped, hearer.reconnections()), (0, 1));
}

#[tokio::test]
async fn a_flood_of_garbage_is_survived() {
    let _turn = alone().await;
    let redis = Redis::start();
    let (teller, hearer) = pair(&redis).await;
    let mut client = redis.client().await;
    let garbage = vec![b'x'; 100_000];
    for _ in 0..50 {
        let mut pipeline = ::redis::pipe();
        for _ in 0..20 {
            pipeline.cmd("PUBLISH").arg("hyper:1:c:1").arg(&garbage);
        }
        pipeline.exec_async(&mut client).await.expect("Redis takes it");
    }
    heal(&teller, &hearer).await;
}

#[tokio::test]
async fn ten_thousand_subscriptions_are_there_again_in_time() {
    let _turn = alone().await;
    let redis = Redis::start();
    let (teller, hearer) = pair(&redis).await;
    let all: Vec<_> = (0..10_000).map(|chatter| hearer.relay.subscribe(chatter.into())).collect();
    for one in all {
        assert!(one.await, "confirmed");
    }
    redis.kill9();
    until("both notice", s(5), || teller.is_away() && hearer.is_away()).await;
    redis.up();
    heal(&teller, &hearer).await;
    let subscribed: Vec<(String, usize)> = redis.ask(&["PUBSUB", "NUMSUB", "hyper:1:c:0", "hyper:1:c:9999"]).await;
    assert_eq!(subscribed.iter().map(|(_, count)| *count).collect::<Vec<_>>(), [1, 1]);
    let channels: Vec<String> = redis.ask(&["PUBSUB", "CHANNELS"]).await;
    assert_eq!(channels.len(), 10_000);
    (0..10_000).for_each(|chatter: i64| hearer.relay.unsubscribe(chatter.into()));
    hearer.listens(20_000).await;
    hearer.relay.unsubscribe(1.into());
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
    until("it is said", s(15), || log.lines("WARN").len() == 1).await;
    assert!(careful.is_away() && log.lines("WARN")[0].contains("certificate"), "{}", log.text());
    let by_setting = Instance::with(&Settings { insecure_tls: true, ..settings("") }, JWT_SECRET);
    let by_url = Instance::with(&settings("/#insecure"), JWT_SECRET);
    by_setting.gets_up().await;
    by_setting.listens(1).await;
    heal(&by_url, &by_setting).await;
    assert!(careful.is_away());
}

#[tokio::test]
async fn the_work_ends_with_the_last_handle() {
    let redis = Redis::start();
    let (relay, worker) = Broker::redis(&settings(&redis), JWT_SECRET.as_bytes()).expect("a URL");
    let ear = Arc::new(crate::relay::Ear::default());
    let work = tokio::spawn(worker.run(ear));
    until("it is connected", s(3), || matches!(relay.state(), hyper_chat::broker::State::Up)).await;
    let more = relay.clone();
    drop(relay);
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
