//! Chaos on a cluster (row E23 in short): three instances on PostgreSQL and Redis, under traffic through each of them, while
//! at random everything breaks that can. Afterwards the checker's I1 to I10 hold, which failures name.
//!
//! Who takes part: senders over REST who try again elsewhere, seed sockets of both people on each instance, devices that
//! write, edit, delete and read at any instance, readers of `changes`, and somebody who is never there and is pushed to.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::support::breakable::Breakable;
use crate::support::burst::{Burst, Manner, Record};
use crate::support::checker::Acked;
use crate::support::cluster::SLACK;
use crate::support::device_checker::{settle, verify};
use crate::support::device_view::number;
use crate::support::dice::{Dice, given_seed};
use crate::support::fcm::FcmStandIn;
use crate::support::postgres;
use crate::support::secrets::MARKER;
use crate::support::sockets_open::held;
use crate::support::wait::s;
use crate::support::{Checker, Device, Person, SeedSocket, heavy, long, until};

const INSTANCES: usize = 3;
/// How many things break with one seed.
const FAULTS: usize = 8;
/// Slow enough that machines with two cores have time for the faults.
const SENDERS: Manner = Manner { pause: Duration::from_millis(15), patience: Duration::from_secs(2) };
/// A device that is not answered for so long hangs up.
const DEVICE_PATIENCE: Duration = Duration::from_secs(4);
/// After everything is whole again: until the last safety net has told everything.
const TOLD_WITHIN: Duration = Duration::from_secs(5);
const EVES_PHONE: &str = "the-phone-of-eve";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_breaks_in_a_cluster_no_promise_does() {
    let _turn = heavy().await;
    let postgres = tokio::task::spawn_blocking(postgres::Cluster::start).await.expect("a cluster of its own");
    let seeds = match given_seed() {
        Some(seed) => vec![seed],
        None => (0..if long() { 30 } else { 3 }).map(|_| rand::random()).collect(),
    };
    for seed in seeds {
        let start = Instant::now();
        eprintln!("HYPER_CHAT_TEST_SEED={seed}");
        let tally = run(&postgres, seed).await;
        eprintln!("HYPER_CHAT_TEST_SEED={seed}: {tally} in {:?}", start.elapsed());
    }
}

async fn run(postgres: &postgres::Cluster, seed: u64) -> String {
    let fcm = FcmStandIn::start();
    // Who claims a push may die.
    let pushing = |builder: crate::support::server::ServerBuilder| builder.pushes_to(&fcm).set("PUSH__LEASE_MS", 2_000);
    let mut cluster = Breakable::start(postgres, INSTANCES, seed, pushing).await;
    let traffic = Traffic::start(&cluster, seed).await;
    let mut director = Director::new(&mut cluster, postgres, seed);
    director.goes_on(&traffic).await;
    let faults = director.breaks_it_all(&traffic).await;
    cluster.cluster.is_whole_within(s(3) + SLACK).await;
    let tally = traffic.ends(&cluster, &fcm).await;
    holds_nothing(&cluster).await;
    format!("{faults:?}: {tally}")
}

/// I10: what clients had is given back.
async fn holds_nothing(cluster: &Breakable) {
    cluster.fronts.iter().for_each(|front| front.cut());
    for (number, front) in cluster.fronts.iter().enumerate() {
        let port = cluster.cluster.server.instance(number).port;
        until("I10: no socket of a client is left", s(15), || held(port, &front.ports_behind()) == 0).await;
    }
}

/// What breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    KillInstance(usize),
    TermInstance(usize),
    FreezeInstance(usize),
    CutClients(usize),
    KillRedis,
    FreezeRedis,
    FlushRedis,
    KillSubscribers,
    CutRedis(usize),
    HoleRedis(usize),
    CutDatabase(usize),
    HoleDatabase(usize),
    KillDatabase,
}

use Fault::*;

impl Fault {
    /// Two faults of the same part are not made at the same time.
    fn part(self) -> u8 {
        match self {
            KillInstance(_) | TermInstance(_) | FreezeInstance(_) => 0,
            CutClients(_) => 1,
            KillRedis | FreezeRedis | FlushRedis | KillSubscribers => 2,
            CutRedis(_) | HoleRedis(_) => 3,
            CutDatabase(_) | HoleDatabase(_) | KillDatabase => 4,
        }
    }
}

/// Breaks and mends, as the seed says.
struct Director<'a> {
    at: &'a mut Breakable,
    postgres: &'a postgres::Cluster,
    dice: Dice,
}

impl<'a> Director<'a> {
    fn new(at: &'a mut Breakable, postgres: &'a postgres::Cluster, seed: u64) -> Self {
        Self { at, postgres, dice: Dice::new(seed, 1) }
    }

    /// All kinds in any order; with one seed, some of them.
    fn faults(&mut self) -> Vec<Fault> {
        let mut one = || self.dice.below(INSTANCES as u64) as usize;
        let mut all = vec![
            KillInstance(one()),
            KillInstance(one()),
            TermInstance(one()),
            FreezeInstance(one()),
            CutClients(one()),
            KillRedis,
            FreezeRedis,
            FlushRedis,
            KillSubscribers,
            CutRedis(one()),
            HoleRedis(one()),
            CutDatabase(one()),
            HoleDatabase(one()),
            KillDatabase,
        ];
        for at in (1..all.len()).rev() {
            all.swap(at, self.dice.below(at as u64 + 1) as usize);
        }
        all.truncate(FAULTS);
        all
    }

    async fn breaks_it_all(&mut self, traffic: &Traffic) -> Vec<Vec<Fault>> {
        let mut faults = self.faults();
        let mut rounds = Vec::new();
        while let Some(first) = faults.pop() {
            let mut round = vec![first];
            // Often something else at the same time.
            if self.dice.below(2) == 0
                && let Some(at) = faults.iter().position(|fault| fault.part() != first.part())
            {
                round.push(faults.remove(at));
            }
            eprintln!("  {round:?}");
            for fault in &round {
                self.begin(*fault).await;
            }
            tokio::time::sleep(Duration::from_millis(200 + self.dice.below(1_300))).await;
            // An instance comes up only where its database is there.
            round.sort_by_key(|fault| std::cmp::Reverse(fault.part()));
            for fault in &round {
                self.end(*fault).await;
            }
            tokio::time::sleep(Duration::from_millis(self.dice.below(300))).await;
            self.goes_on(traffic).await;
            rounds.push(round);
        }
        rounds
    }

    async fn goes_on(&mut self, traffic: &Traffic) {
        let goal = traffic.burst.acked() + 20;
        until("the senders go on", s(20), || traffic.burst.acked() >= goal).await;
        for number in 0..INSTANCES {
            let ended = self.at.cluster.server.instance_mut(number).has_ended();
            assert!(ended.is_none(), "I9: instance {number} ended by itself: {ended:?}");
        }
    }

    async fn begin(&mut self, fault: Fault) {
        let redis = &self.at.cluster.redis;
        match fault {
            KillInstance(number) => self.at.cluster.server.instance_mut(number).kill9(),
            TermInstance(number) => self.at.cluster.server.instance(number).term(),
            FreezeInstance(number) => self.at.cluster.server.instance(number).stop(),
            CutClients(number) => self.at.fronts[number].cut(),
            KillRedis => redis.kill9(),
            FreezeRedis => redis.freeze(),
            FlushRedis => redis.ask::<()>(&["FLUSHALL"]).await,
            KillSubscribers => drop(redis.ask::<usize>(&["CLIENT", "KILL", "TYPE", "pubsub"]).await),
            CutRedis(number) => self.at.cluster.wires[number].cut(),
            HoleRedis(number) => self.at.cluster.wires[number].hole(),
            CutDatabase(number) => self.at.lines[number].cut(),
            HoleDatabase(number) => self.at.lines[number].hole(),
            KillDatabase => self.postgres.kill9(),
        }
    }

    async fn end(&mut self, fault: Fault) {
        match fault {
            KillInstance(number) => self.at.cluster.server.instance_mut(number).restart().await,
            TermInstance(number) => {
                let instance = self.at.cluster.server.instance_mut(number);
                let status = instance.wait_end(s(10)).await;
                assert_eq!(status.code(), Some(0), "{status}");
                instance.restart().await;
            }
            FreezeInstance(number) => self.at.cluster.server.instance(number).cont(),
            CutClients(number) => self.at.fronts[number].heal(),
            KillRedis => self.at.cluster.redis.up(),
            FreezeRedis => self.at.cluster.redis.thaw(),
            FlushRedis | KillSubscribers => {}
            CutRedis(number) | HoleRedis(number) => self.at.cluster.wires[number].heal(),
            CutDatabase(number) | HoleDatabase(number) => self.at.lines[number].heal(),
            KillDatabase => self.postgres.up(),
        }
    }
}

/// Everybody who uses the cluster meanwhile.
struct Traffic {
    burst: Burst,
    stop: Arc<AtomicBool>,
    listeners: Vec<JoinHandle<Listener>>,
    devices: Vec<JoinHandle<Device>>,
    followers: Vec<JoinHandle<Follower>>,
    eve: Person,
    /// The one in which chats are changed, and the one with eve.
    rooms: [i64; 2],
}

impl Traffic {
    async fn start(cluster: &Breakable, seed: u64) -> Self {
        let api = cluster.api();
        let (ann, bob) = (api.person("ann").await, api.person("bob").await);
        let eve = api.person("eve").await;
        eve.put("/api/chatters", &json!({"fcm_reg_id": EVES_PHONE})).await.expect(200);
        let rooms = [ann.room_with(&bob).await, ann.room_with(&eve).await];
        let burst = Burst::with(SENDERS, &api, 2, 1).await;
        let stop = Arc::new(AtomicBool::new(false));
        let mut traffic =
            Self { burst, stop, listeners: Vec::new(), devices: Vec::new(), followers: Vec::new(), eve, rooms };
        traffic.join(cluster, seed, &ann, &bob).await;
        traffic
    }

    async fn join(&mut self, cluster: &Breakable, seed: u64, ann: &Person, bob: &Person) {
        let pairs: Vec<_> = self.burst.rooms.iter().copied().zip(self.burst.people.clone()).collect();
        for (room, (left, right)) in &pairs {
            for instance in 0..INSTANCES {
                for person in [left, right] {
                    let person = Person { api: cluster.api_of(instance), ..person.clone() };
                    let listener = Listener::new(person, *room, self.burst.record());
                    self.listeners.push(tokio::spawn(listener.lives(self.stop.clone())));
                }
            }
        }
        let both = self.rooms.to_vec();
        let devices = [
            (ann, "ann-phone", both.clone()),
            (ann, "ann-desk", both.clone()),
            (bob, "bob-phone", both[..1].to_vec()),
            (&pairs[0].1.0, "left-phone", vec![]),
            (&pairs[1].1.1, "right-phone", vec![]),
        ];
        for (lane, (person, name, rooms)) in devices.into_iter().enumerate() {
            let mut device = Device::new(person, cluster.doors(), name);
            device.outages = true;
            let life = lives(device, rooms, Dice::new(seed, 10 + lane as u64), self.stop.clone());
            self.devices.push(tokio::spawn(life));
        }
        for (room, person) in [(self.rooms[0], bob), (pairs[0].0, &pairs[0].1.0), (pairs[1].0, &pairs[1].1.1)] {
            let follower = Follower::new(person, room);
            self.followers.push(tokio::spawn(follower.follows(self.stop.clone())));
        }
    }

    /// Everybody comes to an end, and the checker has its say.
    async fn ends(self, cluster: &Breakable, fcm: &FcmStandIn) -> String {
        let server = &cluster.cluster.server;
        self.stop.store(true, Ordering::Relaxed);
        let pairs: Vec<_> = self.burst.rooms.iter().copied().zip(self.burst.people.clone()).collect();
        let (refused, unanswered) = (self.burst.refused(), self.burst.unanswered());
        let acked = self.burst.finish().await;
        let quiet = Instant::now();
        let mut devices = Vec::new();
        for device in self.devices {
            devices.push(device.await.expect("no device fails"));
        }
        let mut rooms = self.rooms.to_vec();
        rooms.extend(pairs.iter().map(|(room, _)| *room));
        let dump = server.dump().await;
        let mut checker = Checker::default();
        let (mut sockets, mut kept) = (0, 0);
        for listener in self.listeners {
            let mut listener = listener.await.expect("no listener fails");
            if let Some((mut socket, since)) = listener.open.take() {
                let head = dump.room(listener.room).await.expect("the room is there").last_seq;
                socket.read_until_seq(head, TOLD_WITHIN + SLACK + s(5)).await;
                listener.over.push((socket, since));
                kept += 1;
            }
            sockets += listener.over.len();
            listener.over.iter().for_each(|(socket, since)| checker.saw_since(listener.room, socket, *since));
        }
        let told = quiet.elapsed();
        settle(&mut devices, &dump, &rooms, s(20)).await;
        verify(&devices, &dump, &rooms).await;
        for follower in self.followers {
            follower.await.expect("no follower fails").has_all(server).await;
        }
        let looks =
            |checker: Checker, (room, (one, other)): &(i64, (Person, Person))| checker.both_look(*room, one, other);
        let count = acked.len();
        let checker = pairs.iter().fold(checker, looks).acked(acked);
        let stored = checker.verify(server).await;
        assert_eq!(stored, count, "I2: each was tried until it was acknowledged, so none is extra");
        let by_devices: Vec<&Acked> = devices.iter().flat_map(|device| &device.acked).collect();
        let all = dump.chats_count().await as usize;
        assert_eq!(all, count + by_devices.len(), "I2: nor of what devices sent");
        eve_was_told(&dump, fcm, &self.eve, self.rooms[1]).await;
        format!(
            "{count} chats by REST ({refused} refusals, {unanswered} without an answer), {} by devices, \
             {sockets} seed sockets, {kept} open to the end, which was told after {told:?}",
            by_devices.len()
        )
    }
}

/// I7: eve never confirms anything, so what she was sent last was pushed to her, or is owed.
async fn eve_was_told(dump: &crate::support::database::Dump, fcm: &FcmStandIn, eve: &Person, room: i64) {
    let last = dump.room(room).await.expect("the room is there").last_seq;
    assert!(last > 0, "nobody wrote to eve");
    let newest = last.to_string();
    let marks = dump.members(room).await;
    let marks = marks.iter().find(|member| member.chatter_id == eve.id).map(|m| (m.delivered_seq, m.read_seq));
    assert_eq!(marks, Some((0, 0)), "she was never there");
    let told = || {
        let calls = fcm.sent_to(EVES_PHONE);
        calls.iter().any(|call| call.message["message"]["data"]["seq"] == newest.as_str())
    };
    until("I7: the last push is sent", s(20), told).await;
    crate::support::eventually("I7: nothing is owed any more", s(10), || async {
        dump.outbox(room).await.is_empty().then_some(())
    })
    .await;
    fcm.check();
}

/// Somebody's seed socket on one instance, opened anew whenever it has closed.
struct Listener {
    person: Person,
    room: i64,
    record: Arc<Record>,
    /// With the number of acknowledged chats when it was open.
    open: Option<(SeedSocket, usize)>,
    over: Vec<(SeedSocket, usize)>,
}

impl Listener {
    fn new(person: Person, room: i64, record: Arc<Record>) -> Self {
        Self { person, room, record, open: None, over: Vec::new() }
    }

    async fn lives(mut self, stop: Arc<AtomicBool>) -> Self {
        while !stop.load(Ordering::Relaxed) || self.open.is_none() {
            match &mut self.open {
                None => self.opens().await,
                Some((socket, _)) => {
                    if let Some(code) = socket.reads_for(Duration::from_millis(50)).await {
                        assert!(matches!(code, 1001 | 1006), "closed with {code}");
                        self.over.extend(self.open.take());
                    }
                }
            }
        }
        self
    }

    async fn opens(&mut self) {
        let path = format!("/ws/chatrooms/{}/?jwt={}", self.room, self.person.token);
        let opening = SeedSocket::try_open(&self.person.api, &path, &[]);
        match tokio::time::timeout(s(3), opening).await {
            Ok(Ok(socket)) => self.open = Some((socket, self.record.acked())),
            _ => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

/// A device at whatever instance it reaches: writes into these rooms, changes what it wrote, and reads everywhere.
async fn lives(mut device: Device, rooms: Vec<i64>, mut dice: Dice, stop: Arc<AtomicBool>) -> Device {
    let mut heard = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        if !device.is_connected() {
            device.connect().await;
            heard = Instant::now();
        } else if device.pending() < 4 && device.in_flight() < 6 {
            act(&mut device, &rooms, &mut dice);
        }
        if device.turn(Duration::from_millis(5 + dice.below(60))).await {
            heard = Instant::now();
            while device.turn(Duration::ZERO).await {}
        } else if !device.is_connected() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        } else if device.in_flight() > 0 && heard.elapsed() > DEVICE_PATIENCE {
            device.hang_up();
        }
    }
    device
}

fn act(device: &mut Device, rooms: &[i64], dice: &mut Dice) {
    let known: Vec<i64> = device.rooms.keys().copied().collect();
    let Some(any) = dice.pick(&known).copied() else { return };
    if let (0..4, Some(room)) = (dice.below(10), dice.pick(rooms)) {
        device.send(*room, &format!("{MARKER} on a device {}", dice.below(1 << 32)));
        return;
    }
    let view = &device.rooms[&any];
    let me = device.person.id;
    let own = view.chats.values().filter(|chat| chat.sender == Some(me) && chat.content.is_some());
    let own: Vec<_> = own.map(|chat| chat.id).collect();
    match (dice.below(8), dice.pick(&own)) {
        // Only where chats may change.
        (0, Some(chat)) if rooms.contains(&any) => device.edit(*chat, &format!("{MARKER} {}", dice.below(1 << 32))),
        (1, Some(chat)) if rooms.contains(&any) => device.delete(*chat),
        (2 | 3, _) => {
            let delivered = (view.last_seq() - dice.below(4) as i64).max(0);
            device.receipt(any, delivered, (delivered - dice.below(6) as i64).max(0));
        }
        _ => {}
    }
}

/// Somebody without a socket, who asks any instance what changed and where the watermarks are.
struct Follower {
    person: Person,
    room: i64,
    version: i64,
    /// By `seq`: the version, and the content until it is deleted.
    chats: BTreeMap<i64, (i64, Option<String>)>,
    marks: BTreeMap<String, (i64, i64)>,
}

impl Follower {
    fn new(person: &Person, room: i64) -> Self {
        Self { person: person.clone(), room, version: 0, chats: BTreeMap::new(), marks: BTreeMap::new() }
    }

    async fn follows(mut self, stop: Arc<AtomicBool>) -> Self {
        while !stop.load(Ordering::Relaxed) {
            self.looks().await;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        self
    }

    async fn asks(&self, path: &str) -> Option<Value> {
        let answer = self.person.try_request(Method::GET, path, None, s(4)).await?;
        assert!(matches!(answer.status, 200 | 503), "I9: {path} was answered {}: {}", answer.status, answer.text);
        (answer.status == 200).then_some(answer.json)
    }

    /// Whether there was nothing new.
    async fn looks(&mut self) -> bool {
        let path = format!("/api/chatrooms/{}/changes?since={}&limit=100", self.room, self.version);
        let Some(page) = self.asks(&path).await else { return false };
        let before = self.version;
        self.takes(&page);
        let path = format!("/api/chatrooms/{}", self.room);
        if let Some(room) = self.asks(&path).await {
            self.marks_move_forward(&room);
        }
        before == self.version
    }

    fn takes(&mut self, page: &Value) {
        for row in page["changes"].as_array().into_iter().flatten() {
            let (seq, version) = (number(row, "seq"), number(row, "version"));
            assert!(version > self.version, "I4: version {version} came after {}", self.version);
            self.version = version;
            let known = self.chats.insert(seq, (version, row["content"].as_str().map(str::to_owned)));
            assert!(known.is_none_or(|(before, _)| before < version), "I4: chat {seq} went back");
        }
        let head = number(page, "version");
        assert!(head >= self.version, "I4: the head {head} is behind {}", self.version);
        self.version = head;
    }

    fn marks_move_forward(&mut self, room: &Value) {
        for (who, marks) in room["receipts"].as_object().into_iter().flatten() {
            let marks = (number(marks, "delivered_seq"), number(marks, "read_seq"));
            let before = self.marks.insert(who.clone(), marks).unwrap_or_default();
            let forward = before.0 <= marks.0 && before.1 <= marks.1 && marks.1 <= marks.0;
            assert!(forward, "watermarks of {who} went from {before:?} to {marks:?}");
        }
    }

    /// In the end, all that is stored and nothing else.
    async fn has_all(mut self, server: &crate::support::TestServer) {
        while !self.looks().await {}
        let rows = server.dump().await.chats(self.room).await;
        let stored: BTreeMap<_, _> = rows
            .into_iter()
            .map(|row| (row.seq, (row.version, row.delete_time.is_none().then_some(row.content))))
            .collect();
        assert_eq!(self.chats, stored, "I4, I5: what `changes` told of room {} is not what is stored", self.room);
    }
}
