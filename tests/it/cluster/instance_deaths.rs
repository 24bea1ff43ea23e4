//! Instances are killed in the middle of everything (rows E2 and E4): what was acknowledged is there, who listens elsewhere is
//! told, and the pushes that were under way are sent by whoever comes next.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::json;

use crate::support::burst::{Burst, Manner};
use crate::support::cluster::{Cluster, SLACK};
use crate::support::dice::{Dice, given_seed};
use crate::support::fcm::{Answer, FcmStandIn};
use crate::support::wait::s;
use crate::support::{ChatroomSocket, Checker, Db, Person, Redis, TestServer, eventually, heavy, long, until};

/// From the commit until every open socket elsewhere has it, whatever died in between.
const TOLD_WITHIN: Duration = Duration::from_secs(6);
/// Who is not answered tries again soon, elsewhere.
const HURRIED: Manner = Manner { pause: Duration::from_millis(5), patience: Duration::from_secs(2) };

fn seed() -> u64 {
    let seed = given_seed().unwrap_or_else(rand::random);
    eprintln!("HYPER_CHAT_TEST_SEED={seed}");
    seed
}

fn with_views(burst: &Burst) -> Checker {
    let pairs = burst.rooms.iter().zip(&burst.people);
    pairs.fold(Checker::default(), |checker, (room, (left, right))| checker.both_look(*room, left, right))
}

/// Somebody who listens all the time, and when each chat came.
struct Hearer {
    room: i64,
    socket: ChatroomSocket,
    /// By `seq`, in microseconds of the wall clock, which is the database's too.
    came: BTreeMap<i64, i64>,
}

impl Hearer {
    async fn hears(mut self, stop: Arc<AtomicBool>) -> Self {
        while !stop.load(Ordering::Relaxed) {
            self.hears_for(Duration::from_millis(20)).await;
        }
        self
    }

    async fn hears_for(&mut self, a_while: Duration) {
        let closed = self.socket.reads_for(a_while).await;
        assert_eq!(closed, None, "nothing happened to its instance");
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_micros() as i64;
        for chat in self.socket.chats.iter().rev() {
            let seq = chat["seq"].as_i64().expect("a number");
            if self.came.insert(seq, now).is_some_and(|before| self.came.insert(seq, before).is_some()) {
                break;
            }
        }
    }
}

/// Row E2: the blows fall at any moment, also between commit, telling and acknowledgement; every other time what is committed
/// last was told to nobody.
#[tokio::test]
async fn whenever_an_instance_is_killed_sockets_on_the_others_get_each_chat_within_six_seconds() {
    let _turn = heavy().await;
    let mut dice = Dice::new(seed(), 0);
    let mut cluster = Cluster::start(3).await;
    let burst = Burst::with(HURRIED, &cluster.server.api(), 2, 2).await;
    let stop = Arc::new(AtomicBool::new(false));
    let mut hearers = Vec::new();
    for (room, (left, right)) in burst.rooms.iter().zip(&burst.people) {
        for (instance, person) in [(1, left), (2, left), (1, right), (2, right)] {
            let socket = cluster.at(instance, person).joins(*room).await;
            let hearer = Hearer { room: *room, socket, came: BTreeMap::new() };
            hearers.push(tokio::spawn(hearer.hears(stop.clone())));
        }
    }
    for round in 0..if long() { 60 } else { 8 } {
        let goal = burst.acked() + 5 + dice.below(60) as usize;
        until("the burst goes on", s(30), || burst.acked() >= goal).await;
        if round % 2 == 0 {
            cluster.wires[0].cut();
            tokio::time::sleep(Duration::from_millis(dice.below(200))).await;
        }
        cluster.server.instance_mut(0).kill9();
        cluster.wires[0].heal();
        let goal = burst.acked() + dice.below(40) as usize;
        until("the burst goes on elsewhere", s(30), || burst.acked() >= goal).await;
        cluster.server.instance_mut(0).restart().await;
    }
    let mut checker = with_views(&burst);
    let acked = burst.finish().await;
    stop.store(true, Ordering::Relaxed);
    let dump = cluster.server.dump().await;
    let mut worst = 0;
    for hearer in hearers {
        let mut hearer = hearer.await.expect("no hearer fails");
        let rows = dump.chats(hearer.room).await;
        let last = rows.last().expect("there are some").seq;
        let start = Instant::now();
        while hearer.socket.last_seq() < last {
            assert!(start.elapsed() < TOLD_WITHIN + SLACK, "{} of {last} came", hearer.socket.last_seq());
            hearer.hears_for(Duration::from_millis(20)).await;
            assert!(hearer.came.len() <= rows.len(), "more than is stored");
        }
        // It may have joined a room in which something was said already.
        let first = *hearer.came.keys().next().expect("there are some");
        for row in rows.iter().filter(|row| row.seq >= first) {
            worst = worst.max(hearer.came[&row.seq] - row.create_time);
        }
        checker.saw(hearer.room, &hearer.socket);
    }
    eprintln!("{} chats; the latest came after {} ms", acked.len(), worst / 1_000);
    assert!(worst < (TOLD_WITHIN + SLACK).as_micros() as i64, "{worst} µs");
    let count = acked.len();
    assert_eq!(checker.acked(acked).verify(&cluster.server).await, count, "each was tried until it was acknowledged");
}

/// Row E4, and I7 in it.
#[tokio::test]
async fn when_all_instances_are_killed_at_once_nothing_acknowledged_is_lost_and_all_pushes_are_sent() {
    let _turn = heavy().await;
    let mut dice = Dice::new(seed(), 0);
    let fcm = FcmStandIn::start();
    let builder = TestServer::with(Db::Cluster).pushes_to(&fcm).set("PUSH__LEASE_MS", 2_000);
    let mut cluster = Cluster::built(builder, Redis::start(), 3).await;
    let burst = Burst::with(HURRIED, &cluster.server.api(), 3, 1).await;
    let everybody: Vec<Person> = burst.people.iter().flat_map(|(left, right)| [left.clone(), right.clone()]).collect();
    let phone = |person: &Person| format!("the-phone-of-{}", person.name);
    for person in &everybody {
        person.put("/api/chatters", &json!({"fcm_reg_id": phone(person)})).await.expect(200);
    }
    for _ in 0..if long() { 15 } else { 3 } {
        // Some pushes are under way for as long as their instance lives.
        everybody.iter().step_by(2).for_each(|person| fcm.answer_for(&phone(person), Answer::Hang));
        let (goal, calls) = (burst.acked() + 20 + dice.below(150) as usize, fcm.calls().len());
        until("the burst goes on", s(30), || burst.acked() >= goal).await;
        until("pushes are under way", s(20), || fcm.calls().len() > calls).await;
        cluster.server.kill9();
        everybody.iter().for_each(|person| fcm.answer_for(&phone(person), Answer::Accept));
        cluster.server.restart().await;
    }
    cluster.is_whole_within(s(5)).await;
    let checker = with_views(&burst);
    let (rooms, people) = (burst.rooms.clone(), burst.people.clone());
    let acked = burst.finish().await;
    let dump = cluster.server.dump().await;
    for (room, (left, right)) in rooms.iter().zip(&people) {
        let sent_all = || async { dump.outbox(*room).await.is_empty().then_some(()) };
        eventually("I7: nothing is owed any more", s(30), sent_all).await;
        let rows = dump.chats(*room).await;
        for (receiver, sender) in [(left, right), (right, left)] {
            let last = rows.iter().rfind(|row| row.sender_id == sender.id).expect("both wrote").seq.to_string();
            let told =
                fcm.sent_to(&phone(receiver)).into_iter().map(|call| call.message["message"]["data"]["seq"].clone());
            assert!(told.into_iter().any(|seq| seq == last.as_str()), "I7: {} was not told of {last}", receiver.name);
        }
    }
    fcm.check();
    let count = acked.len();
    assert_eq!(checker.acked(acked).verify(&cluster.server).await, count, "each was tried until it was acknowledged");
}
