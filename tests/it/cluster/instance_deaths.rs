//! Instances are killed under traffic (rows E2 and E4): acknowledged chats are stored, sockets on the other instances
//! receive them, and the next instance sends the pushes that were under way.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::json;

use crate::support::burst::{Burst, Pace};
use crate::support::cluster::Cluster;
use crate::support::dice::{Dice, given_seed};
use crate::support::fcm::{Answer, FcmStandIn};
use crate::support::wait::{SLACK, s};
use crate::support::{ChatroomSocket, Checker, Db, Person, Redis, TestServer, eventually, heavy, long, until};

/// From the commit until every open socket on another instance has the chat, whatever died in between.
const DELIVERED_WITHIN: Duration = Duration::from_secs(6);
/// A sender without an answer soon tries again, at another instance.
const HURRIED: Pace = Pace { pause: Duration::from_millis(5), patience: Duration::from_secs(2) };

fn seed() -> u64 {
    let seed = given_seed().unwrap_or_else(rand::random);
    eprintln!("HYPER_CHAT_TEST_SEED={seed}");
    seed
}

fn with_views(burst: &Burst) -> Checker {
    let pairs = burst.rooms.iter().zip(&burst.people);
    pairs.fold(Checker::default(), |checker, (room, (left, right))| checker.compare_views(*room, left, right))
}

/// A socket that is read all the time, and when each chat arrived.
struct Listener {
    room: i64,
    socket: ChatroomSocket,
    /// By `seq`, in microseconds of the wall clock, which is the clock of the database too.
    received: BTreeMap<i64, i64>,
}

impl Listener {
    async fn listen(mut self, stop: Arc<AtomicBool>) -> Self {
        while !stop.load(Ordering::Relaxed) {
            self.listen_for(Duration::from_millis(20)).await;
        }
        self
    }

    async fn listen_for(&mut self, a_while: Duration) {
        let closed = self.socket.reads_for(a_while).await;
        assert_eq!(closed, None, "nothing happened to its instance");
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_micros() as i64;
        for chat in self.socket.chats.iter().rev() {
            let seq = chat["seq"].as_i64().expect("a number");
            if self.received.insert(seq, now).is_some_and(|before| self.received.insert(seq, before).is_some()) {
                break;
            }
        }
    }
}

/// Row E2: an instance is killed at any moment, also between commit, publish and acknowledgement; in every other round
/// its last chats were committed and not published.
#[tokio::test]
async fn whenever_an_instance_is_killed_sockets_on_the_others_get_each_chat_within_six_seconds() {
    let _turn = heavy().await;
    let mut dice = Dice::new(seed(), 0);
    let mut cluster = Cluster::start(3).await;
    let burst = Burst::with(HURRIED, &cluster.server.api(), 2, 2).await;
    let stop = Arc::new(AtomicBool::new(false));
    let mut listeners = Vec::new();
    for (room, (left, right)) in burst.rooms.iter().zip(&burst.people) {
        for (instance, person) in [(1, left), (2, left), (1, right), (2, right)] {
            let socket = cluster.at(instance, person).joins(*room).await;
            let listener = Listener { room: *room, socket, received: BTreeMap::new() };
            listeners.push(tokio::spawn(listener.listen(stop.clone())));
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
    for listener in listeners {
        let mut listener = listener.await.expect("no listener fails");
        let rows = dump.chats(listener.room).await;
        let last = rows.last().expect("there are some").seq;
        let start = Instant::now();
        while listener.socket.last_seq() < last {
            assert!(start.elapsed() < DELIVERED_WITHIN + SLACK, "{} of {last} came", listener.socket.last_seq());
            listener.listen_for(Duration::from_millis(20)).await;
            assert!(listener.received.len() <= rows.len(), "more than is stored");
        }
        // The socket may have joined a room that had chats already.
        let first = *listener.received.keys().next().expect("there are some");
        for row in rows.iter().filter(|row| row.seq >= first) {
            worst = worst.max(listener.received[&row.seq] - row.create_time);
        }
        checker.saw(listener.room, &listener.socket);
    }
    eprintln!("{} chats; the latest came after {} ms", acked.len(), worst / 1_000);
    assert!(worst < (DELIVERED_WITHIN + SLACK).as_micros() as i64, "{worst} µs");
    let count = acked.len();
    assert_eq!(checker.acked(acked).verify(&cluster.server).await, count, "each was tried until it was acknowledged");
}

/// Row E4, and I7 in it.
#[tokio::test]
async fn when_all_instances_are_killed_no_acknowledged_chat_is_lost_and_all_pushes_are_sent() {
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
        // Some pushes stay under way as long as their instance lives.
        everybody.iter().step_by(2).for_each(|person| fcm.answer_for(&phone(person), Answer::Hang));
        let (goal, calls) = (burst.acked() + 20 + dice.below(150) as usize, fcm.calls().len());
        until("the burst goes on", s(30), || burst.acked() >= goal).await;
        until("pushes are under way", s(20), || fcm.calls().len() > calls).await;
        cluster.server.kill9();
        everybody.iter().for_each(|person| fcm.answer_for(&phone(person), Answer::Accept));
        cluster.server.restart().await;
    }
    cluster.all_ready_within(s(5)).await;
    let checker = with_views(&burst);
    let (rooms, people) = (burst.rooms.clone(), burst.people.clone());
    let acked = burst.finish().await;
    let dump = cluster.server.dump().await;
    for (room, (left, right)) in rooms.iter().zip(&people) {
        let sent_all = || async { dump.outbox(*room).await.is_empty().then_some(()) };
        eventually("I7: no push is pending", s(30), sent_all).await;
        let rows = dump.chats(*room).await;
        for (receiver, sender) in [(left, right), (right, left)] {
            let last = rows.iter().rfind(|row| row.sender_id == sender.id).expect("both wrote").seq.to_string();
            let received =
                fcm.sent_to(&phone(receiver)).into_iter().map(|call| call.message["message"]["data"]["seq"].clone());
            assert!(
                received.into_iter().any(|seq| seq == last.as_str()),
                "I7: {last} was not pushed to {}",
                receiver.name
            );
        }
    }
    fcm.check();
    let count = acked.len();
    assert_eq!(checker.acked(acked).verify(&cluster.server).await, count, "each was tried until it was acknowledged");
}
