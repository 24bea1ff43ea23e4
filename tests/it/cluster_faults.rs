//! What instances share breaks (promise 5; rows N1, E5, E7 to E12), or one of them does: nothing is lost, and it heals.

use std::time::{Duration, Instant};

use crate::support::burst::{Burst, Manner};
use crate::support::cluster::{Cluster, Crossing, SLACK};
use crate::support::device_checker::{settle, verify};
use crate::support::dice::Dice;
use crate::support::secrets::MARKER;
use crate::support::wait::s;
use crate::support::{Checker, Db, Device, Person, Redis, SeedSocket, TestServer, eventually, heavy, long, until};

/// Across instances while Redis is away.
const AWAY: Duration = Duration::from_secs(2);
/// Until all is as before once Redis answers.
const HEALED: Duration = Duration::from_secs(3);
/// Across instances with Redis.
const NEAR: Duration = Duration::from_secs(1);

/// Leaves the machine time for what is measured beside it.
const PACED: Manner = Manner { pause: Duration::from_millis(10), patience: Duration::from_secs(30) };

/// Senders at any instance, and sockets of both people of each room on both instances.
struct Traffic {
    burst: Burst,
    open: Vec<(i64, SeedSocket)>,
}

impl Traffic {
    async fn start(cluster: &Cluster) -> Self {
        let burst = Burst::with(PACED, &cluster.server.api(), 2, 2).await;
        let mut open = Vec::new();
        for (room, (left, right)) in burst.rooms.iter().zip(&burst.people) {
            for (instance, person) in [(0, left), (1, left), (0, right), (1, right)] {
                open.push((*room, cluster.at(instance, person).joins(*room).await));
            }
        }
        let traffic = Self { burst, open };
        traffic.goes_on().await;
        traffic
    }

    async fn goes_on(&self) {
        let goal = self.burst.acked() + 40;
        until("the traffic goes on", s(30), || self.burst.acked() >= goal).await;
    }

    /// Every socket that was open all the time got all; what is stored is what was acknowledged and so many more.
    async fn ends(self, cluster: &Cluster, more: usize) {
        let pairs = self.burst.rooms.iter().zip(&self.burst.people);
        let looks =
            |checker: Checker, (room, (left, right)): (&i64, &(Person, Person))| checker.both_look(*room, left, right);
        let mut checker = pairs.fold(Checker::default(), looks);
        let acked = self.burst.finish().await;
        let dump = cluster.server.dump().await;
        for (room, mut socket) in self.open {
            let head = dump.room(room).await.expect("the room is there").last_seq;
            socket.read_until_seq(head, AWAY + SLACK + s(5)).await;
            checker.saw(room, &socket);
        }
        let count = acked.len();
        assert_eq!(checker.acked(acked).verify(&cluster.server).await, count + more);
    }
}

/// Traffic, and a fault in the middle of it, during which chats cross both ways in time. Afterwards all is as before.
async fn under_traffic(cluster: &Cluster, fault: impl AsyncFnOnce(&Cluster, &mut [Crossing; 2])) {
    let mut crossings = [Crossing::open(cluster, "there", 0, 1).await, Crossing::open(cluster, "back", 1, 0).await];
    let traffic = Traffic::start(cluster).await;
    arrive(&mut crossings, NEAR).await;
    fault(cluster, &mut crossings).await;
    cluster.is_whole_within(HEALED + SLACK).await;
    arrive(&mut crossings, NEAR).await;
    traffic.goes_on().await;
    assert_eq!(traffic.burst.refused(), 0, "no request fails because of Redis");
    traffic.ends(cluster, 0).await;
}

async fn arrive(crossings: &mut [Crossing; 2], within: Duration) {
    for crossing in crossings {
        crossing.arrives_within(within).await;
    }
}

/// Row E7.
#[tokio::test]
async fn redis_is_killed_and_comes_back_empty_again_and_again() {
    let _turn = heavy().await;
    let cluster = Cluster::start(2).await;
    under_traffic(&cluster, async |cluster, crossings| {
        for _ in 0..if long() { 10 } else { 3 } {
            cluster.redis.kill9();
            arrive(crossings, AWAY).await;
            for instance in 0..2 {
                cluster.says_within(instance, "degraded", s(2) + SLACK).await;
            }
            arrive(crossings, AWAY).await;
            cluster.redis.up();
            cluster.is_whole_within(HEALED + SLACK).await;
            arrive(crossings, NEAR).await;
        }
    })
    .await;
}

/// Row E8.
#[tokio::test]
async fn redis_hangs_and_goes_on() {
    let _turn = heavy().await;
    let cluster = Cluster::start(2).await;
    under_traffic(&cluster, async |cluster, crossings| {
        cluster.redis.freeze();
        let start = Instant::now();
        // At first nobody knows that it hangs: the safety net of 5 s may be what delivers.
        for crossing in crossings.iter_mut() {
            let took = crossing.takes().await;
            assert!(took.near < SLACK && took.far < s(5) + SLACK, "{took:?}");
        }
        while start.elapsed() < s(5) {
            arrive(crossings, AWAY).await;
        }
        cluster.redis.thaw();
    })
    .await;
}

/// Row N1.
#[tokio::test]
async fn subscriptions_are_cut_again_and_again() {
    let _turn = heavy().await;
    let cluster = Cluster::start(2).await;
    under_traffic(&cluster, async |cluster, crossings| {
        for _ in 0..10 {
            cluster.redis.kill_subscribers().await;
            arrive(crossings, AWAY).await;
            cluster.is_whole_within(HEALED + SLACK).await;
        }
    })
    .await;
}

/// Row E10.
#[tokio::test]
async fn redis_is_flushed_in_the_middle() {
    let _turn = heavy().await;
    let cluster = Cluster::start(2).await;
    under_traffic(&cluster, async |cluster, crossings| {
        for _ in 0..5 {
            cluster.redis.ask::<()>(&["FLUSHALL"]).await;
            arrive(crossings, NEAR).await;
        }
    })
    .await;
}

/// Row E9.
#[tokio::test]
async fn one_instance_is_cut_off_from_redis() {
    let _turn = heavy().await;
    let cluster = Cluster::start(2).await;
    under_traffic(&cluster, async |cluster, crossings| {
        cluster.wires[0].cut();
        cluster.says_within(0, "degraded", s(2) + SLACK).await;
        // The other one is not, but for a moment in which Redis answers it late.
        cluster.says_within(1, "ready", SLACK).await;
        // The other one does not know that somebody is cut off: it looks at the database all the same.
        for _ in 0..3 {
            arrive(crossings, AWAY).await;
        }
        cluster.wires[0].heal();
    })
    .await;
}

#[tokio::test]
async fn the_line_to_redis_turns_into_a_black_hole() {
    let _turn = heavy().await;
    let cluster = Cluster::start(2).await;
    under_traffic(&cluster, async |cluster, crossings| {
        cluster.wires.iter().for_each(crate::support::proxy::Proxy::hole);
        for crossing in crossings.iter_mut() {
            let took = crossing.takes().await;
            assert!(took.near < SLACK && took.far < s(5) + SLACK, "{took:?}");
        }
        for instance in 0..2 {
            cluster.says_within(instance, "degraded", s(3) + SLACK).await;
        }
        arrive(crossings, AWAY).await;
        cluster.wires.iter().for_each(crate::support::proxy::Proxy::heal);
    })
    .await;
}

/// Whatever is no chat: what the database knows comes from there, and the rest is told late.
#[tokio::test]
async fn rooms_and_receipts_of_an_outage_of_redis_reach_the_other_instance() {
    let _turn = heavy().await;
    let cluster = Cluster::start(2).await;
    let (ann, bob, room) = cluster.server.api().pair().await;
    let cid = cluster.at(0, &cluster.server.api().person("cid").await);
    let (here, there) = (cluster.at(0, &ann), cluster.at(1, &bob));
    let (mut near, mut far) = (here.device().await, there.device().await);
    let said = here.says(room, "read while Redis is away").await;
    near.expect_chat("read while Redis is away").await;
    far.expect_chat("read while Redis is away").await;
    cluster.redis.kill9();
    for instance in 0..2 {
        cluster.says_within(instance, "degraded", s(2) + SLACK).await;
    }
    let start = Instant::now();
    let made = cid.room_with(&bob).await;
    assert_eq!(far.expect("chatroom_created").await["chatroom"]["id"], made);
    assert!(start.elapsed() < AWAY + SLACK, "{:?}", start.elapsed());
    cid.says(made, "and the first chat in it").await;
    far.expect_chat("and the first chat in it").await;
    far.send_json(&serde_json::json!({"type": "receipt", "chatroom_id": room, "read_seq": said["seq"]}));
    let dump = cluster.server.dump().await;
    let stored =
        || async { dump.members(room).await.iter().any(|m| m.read_seq == 1 && m.chatter_id == bob.id).then_some(()) };
    eventually("the receipt is stored", s(5), stored).await;
    cluster.redis.up();
    cluster.is_whole_within(HEALED + SLACK).await;
    while near.expect("receipt").await["read_seq"] != 1 {}
    let start = Instant::now();
    cid.delete(&format!("/api/chatrooms/{made}")).await.expect(200);
    while far.expect("chatroom_deleted").await["chatroom_id"] != made {}
    assert!(start.elapsed() < NEAR + SLACK, "{:?}", start.elapsed());
    far.expect_nothing_else().await;
}

/// Row E12.
#[tokio::test]
async fn redis_is_absent_at_the_start_and_comes_later() {
    let _turn = heavy().await;
    let cluster = Cluster::on(Redis::absent(&[]), 2).await;
    for instance in 0..2 {
        assert_eq!(cluster.readyz(instance).await["status"], "degraded");
    }
    let mut crossings = [Crossing::open(&cluster, "there", 0, 1).await, Crossing::open(&cluster, "back", 1, 0).await];
    arrive(&mut crossings, AWAY).await;
    cluster.redis.up();
    cluster.is_whole_within(HEALED + SLACK).await;
    arrive(&mut crossings, NEAR).await;
}

/// What is told before an instance has asked the database for the first time is found by the next question.
#[tokio::test]
async fn an_instance_that_starts_without_redis_misses_nothing_from_its_first_moment_on() {
    let _turn = heavy().await;
    let mut cluster = Cluster::on(Redis::absent(&[]), 2).await;
    let (ann, bob, room) = cluster.server.api().pair().await;
    let (ann, bob) = (cluster.at(0, &ann), cluster.at(1, &bob));
    for round in 0..5 {
        cluster.server.instance_mut(1).restart().await;
        let mut device = bob.device().await;
        let start = Instant::now();
        let content = format!("just after the start in round {round}");
        ann.says(room, &content).await;
        device.expect_chat(&content).await;
        assert!(start.elapsed() < AWAY + SLACK, "round {round}: {:?}", start.elapsed());
    }
}

/// Row E20.
#[tokio::test]
async fn instances_that_start_at_once_on_an_empty_database_all_come_up() {
    for _ in 0..3 {
        let redis = Redis::start();
        let urls = std::iter::repeat_n(redis.url(), 3);
        let mut server = TestServer::with(Db::Cluster).redis_urls(urls).launch().await;
        for instance in 0..3 {
            let ready = server.instance_mut(instance).wait_ready().await;
            assert!(ready.is_ok(), "instance {instance}: {}", ready.unwrap_err());
        }
        let (ann, bob, room) = server.api().pair().await;
        ann.says(room, "and they are one service").await;
        assert_eq!(bob.history(room).await.len(), 1);
    }
}

/// Row E11.
#[tokio::test]
async fn garbage_forgeries_and_replays_change_nothing() {
    let cluster = Cluster::start(2).await;
    let (ann, bob, room) = cluster.server.api().pair().await;
    let (ann, bob) = (cluster.at(0, &ann), cluster.at(1, &bob));
    let (mut of_ann, mut of_bob, mut seed) = (ann.device().await, bob.device().await, bob.joins(room).await);
    let channel = |person: &Person| format!("hyper:1:c:{}", person.id);
    let mut line = Overheard::on(&cluster.redis, &channel(&bob)).await;
    let genuine = ann.says(room, "told by an instance").await;
    let message = line.next().await;
    of_bob.expect_chat("told by an instance").await;
    seed.expect_message("told by an instance").await;
    let edit = serde_json::json!({"content": "and edited afterwards"});
    ann.put(&format!("/api/chats/{}", genuine["id"]), &edit).await.expect(200);
    of_bob.expect("chat_edited").await;
    let mut bad: Vec<Vec<u8>> = vec![Vec::new(), b"garbage".to_vec(), b"HC\x01".to_vec(), message[..60].to_vec()];
    bad.push([&message[..], &vec![b' '; 2 << 20]].concat());
    for at in (0..message.len()).step_by(7) {
        let mut changed = message.clone();
        changed[at] ^= 1;
        bad.push(changed);
    }
    // The genuine one, again and again, is old news; on another's channel it is not theirs.
    bad.extend(std::iter::repeat_n(message, 5));
    for message in &bad {
        for person in [&ann, &bob] {
            cluster.redis.publish(&channel(person), message).await;
        }
    }
    let last = ann.says(room, "and nothing came between").await;
    assert_eq!(last["version"], 3);
    assert_eq!(of_bob.expect_chat("and nothing came between").await, last);
    seed.expect_message("and nothing came between").await;
    of_ann.expect_chat("told by an instance").await;
    of_ann.expect("chat_edited").await;
    of_ann.expect_chat("and nothing came between").await;
    of_ann.expect_nothing_else().await;
    of_bob.expect_nothing_else().await;
    assert_eq!(cluster.server.dump().await.chats_count().await, 2);
    cluster.is_whole_within(HEALED).await;
}

/// What anybody with access to Redis sees of a channel.
struct Overheard {
    pushes: tokio::sync::mpsc::UnboundedReceiver<::redis::PushInfo>,
    _line: ::redis::aio::MultiplexedConnection,
}

impl Overheard {
    async fn on(redis: &Redis, channel: &str) -> Self {
        let (sender, pushes) = tokio::sync::mpsc::unbounded_channel();
        let config = ::redis::AsyncConnectionConfig::new().set_push_sender(sender);
        let client = ::redis::Client::open(format!("{}?protocol=resp3", redis.url())).expect("a URL");
        let mut line = client.get_multiplexed_async_connection_with_config(&config).await.expect("connects");
        line.subscribe(channel).await.expect("subscribed");
        Self { pushes, _line: line }
    }

    async fn next(&mut self) -> Vec<u8> {
        loop {
            let push = tokio::time::timeout(s(10), self.pushes.recv()).await.expect("in time").expect("connected");
            if push.kind == ::redis::PushKind::Message {
                return ::redis::from_redis_value(push.data[1].clone()).expect("bytes");
            }
        }
    }
}

/// Promise 1, rows E1 and E4 on several instances.
#[tokio::test]
async fn an_instance_that_is_killed_in_a_burst_loses_nothing_and_its_clients_go_on_elsewhere() {
    let _turn = heavy().await;
    let seed: u64 = rand::random();
    eprintln!("seed of the kills: {seed}");
    let mut dice = Dice::new(seed, 0);
    let mut cluster = Cluster::start(2).await;
    let burst = Burst::start(&cluster.server.api(), 3, 2).await;
    let mut devices = Vec::new();
    for (n, (left, right)) in burst.people.iter().enumerate() {
        devices.push(Device::new(left, cluster.server.doors(), &format!("left-{n}")));
        devices.push(Device::new(right, cluster.server.doors(), &format!("right-{n}")));
    }
    let mut sent = 0;
    for _ in 0..if long() { 20 } else { 4 } {
        let (blow, victim) = (20 + dice.below(150) as usize, dice.below(2) as usize);
        sent += live(&mut devices, &burst, blow).await;
        cluster.server.instance_mut(victim).kill9();
        sent += live(&mut devices, &burst, 60).await;
        cluster.server.instance_mut(victim).restart().await;
    }
    let rooms = burst.rooms.clone();
    let pairs: Vec<_> = rooms.iter().copied().zip(burst.people.clone()).collect();
    let acked = burst.finish().await;
    let dump = cluster.server.dump().await;
    settle(&mut devices, &dump, &rooms, s(30)).await;
    verify(&devices, &dump, &rooms).await;
    let looks =
        |checker: Checker, (room, (left, right)): &(i64, (Person, Person))| checker.both_look(*room, left, right);
    let count = acked.len();
    let checker = pairs.iter().fold(Checker::default(), looks).acked(acked);
    assert_eq!(checker.verify(&cluster.server).await, count + sent, "each was tried until it was acknowledged");
}

/// The devices write and take in what comes, at whatever instance they reach, until the burst has got on by so many.
async fn live(devices: &mut [Device], burst: &Burst, more: usize) -> usize {
    let (goal, start, mut sent) = (burst.acked() + more, Instant::now(), 0);
    while burst.acked() < goal {
        assert!(start.elapsed() < s(60), "the burst does not get on: {} of {goal}", burst.acked());
        for (device, room) in devices.iter_mut().zip(burst.rooms.iter().flat_map(|room| [*room; 2])) {
            if !device.is_connected() {
                device.connect().await;
            }
            if device.pending() < 4 {
                device.send(room, &format!("{MARKER} on a device {sent}"));
                sent += 1;
            }
            device.turn(Duration::from_millis(3)).await;
            while device.turn(Duration::ZERO).await {}
        }
    }
    sent
}

/// Row E5.
#[tokio::test]
async fn an_instance_that_is_frozen_in_a_burst_does_not_stall_the_other_for_more_than_two_seconds() {
    let _turn = heavy().await;
    let cluster = Cluster::start(2).await;
    let traffic = Traffic::start(&cluster).await;
    let (room, (left, _)) = (traffic.burst.rooms[0], traffic.burst.people[0].clone());
    let prober = cluster.at(1, &left);
    let (mut worst, mut said) = (Duration::ZERO, 0);
    for _ in 0..if long() { 20 } else { 4 } {
        traffic.goes_on().await;
        cluster.server.instance(0).stop();
        let start = Instant::now();
        while start.elapsed() < s(4) {
            let begin = Instant::now();
            said += 1;
            prober.says(room, &format!("{MARKER} beside a frozen one {said}")).await;
            worst = worst.max(begin.elapsed());
        }
        cluster.server.instance(0).cont();
    }
    eprintln!("the worst of {said} on the other instance: {worst:?}");
    assert!(worst < s(2) + SLACK, "{worst:?}");
    cluster.is_whole_within(HEALED + SLACK).await;
    Crossing::open(&cluster, "after", 0, 1).await.arrives_within(NEAR).await;
    traffic.ends(&cluster, said).await;
}
