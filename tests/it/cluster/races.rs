//! Races across two instances: rooms and accounts that are deleted under traffic, and fifty sign-ups for one name (rows
//! D2, D3 and D7).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::support::breakable::Breakable;
use crate::support::cluster::Cluster;
use crate::support::device_socket::send;
use crate::support::dice::{Dice, given_seed};
use crate::support::fcm::{Answer, FcmStandIn};
use crate::support::postgres;
use crate::support::wait::{SLACK, s};
use crate::support::{
    ChatroomSocket, Db, DeviceSocket, Person, Redis, TestServer, alone, eventually, long, stays, until,
};

/// The acknowledged chats of a sender, each with the time of its request.
type Said = Vec<(Instant, Value)>;

/// Sends until it is refused with this status and code; any other refusal fails.
fn writes(
    person: Person,
    room: i64,
    lane: usize,
    acked: Arc<AtomicUsize>,
    end: (u16, &'static str),
) -> JoinHandle<Said> {
    tokio::spawn(async move {
        let mut said = Vec::new();
        loop {
            let (asked, n) = (Instant::now(), said.len());
            let answer =
                person.says_once(room, &format!("in lane {lane}, number {n}"), &format!("{lane}-{n}-{room}")).await;
            if answer.status == end.0 {
                answer.problem(end.0, end.1);
                return said;
            }
            said.push((asked, answer.expect(201)));
            acked.fetch_add(1, Ordering::Relaxed);
        }
    })
}

/// Checks that no request after this moment was acknowledged; counts those before.
async fn no_acknowledgement_after(end: Instant, senders: Vec<JoinHandle<Said>>) -> usize {
    let mut count = 0;
    for sender in senders {
        let said = tokio::time::timeout(s(20), sender).await.expect("refused in the end").expect("no sender fails");
        let late = said.iter().find(|(asked, _)| *asked > end);
        assert!(late.is_none(), "acknowledged after the end: {late:?}");
        count += said.len();
    }
    count
}

/// Row D2.
#[tokio::test]
async fn a_room_deleted_in_a_burst_acknowledges_no_chat_afterwards_and_leaves_no_rows() {
    let _turn = alone().await;
    let seed = given_seed().unwrap_or_else(rand::random);
    eprintln!("HYPER_CHAT_TEST_SEED={seed}");
    let mut dice = Dice::new(seed, 0);
    let cluster = Cluster::start(2).await;
    let api = cluster.server.api();
    let (ann, bob) = (api.person("ann").await, api.person("bob").await);
    for person in [&ann, &bob] {
        let phone = json!({"fcm_reg_id": format!("the-phone-of-{}", person.name)});
        person.put("/api/chatters", &phone).await.expect(200);
    }
    for round in 0..if long() { 40 } else { 5 } {
        let room = ann.room_with(&bob).await;
        let mut sockets = Sockets::open(&cluster, room, [&ann, &bob]).await;
        let acked = Arc::new(AtomicUsize::new(0));
        let lanes = (0..8).map(|lane| {
            let person = cluster.at(lane % 2, if lane < 4 { &ann } else { &bob });
            writes(person, room, lane, acked.clone(), (404, "not_found"))
        });
        let lanes = lanes.collect();
        let goal = 10 + dice.below(100) as usize;
        until("the burst is under way", s(20), || acked.load(Ordering::Relaxed) >= goal).await;
        let by = cluster.at(dice.below(2) as usize, if dice.below(2) == 0 { &ann } else { &bob });
        by.delete(&format!("/api/chatrooms/{room}")).await.expect(200);
        let end = Instant::now();
        sockets.end(room, end).await;
        let count = no_acknowledgement_after(end, lanes).await;
        let dump = cluster.server.dump().await;
        assert!(dump.room(room).await.is_none(), "round {round}");
        assert_eq!((dump.chats(room).await.len(), dump.members(room).await.len()), (0, 0), "round {round}: orphans");
        assert_eq!(dump.outbox(room).await.len(), 0, "round {round}: pushes of a room that is gone");
        assert!(count >= goal);
    }
}

/// Both people's sockets of a room on both instances.
struct Sockets {
    devices: Vec<DeviceSocket>,
    room_sockets: Vec<ChatroomSocket>,
}

impl Sockets {
    async fn open(cluster: &Cluster, room: i64, people: [&Person; 2]) -> Self {
        let (mut devices, mut room_sockets) = (Vec::new(), Vec::new());
        for instance in 0..2 {
            for person in people {
                devices.push(cluster.at(instance, person).device().await);
                room_sockets.push(cluster.at(instance, person).joins(room).await);
            }
        }
        Self { devices, room_sockets }
    }

    /// Each socket is notified of the deleted room within a second, and of nothing else in it afterwards.
    async fn end(&mut self, room: i64, end: Instant) {
        for device in &mut self.devices {
            while device.next_event(s(10)).await.expect("open")["type"] != "chatroom_deleted" {}
            device.refused(send(room, "late", "into a room that is gone"), "not_found").await;
            device.expect_nothing_else().await;
        }
        for room_socket in &mut self.room_sockets {
            assert_eq!(room_socket.expect_close(s(10)).await, 4404);
            let seqs: Vec<_> = room_socket.chats.iter().map(|chat| chat["seq"].as_i64()).collect();
            assert!(seqs.windows(2).all(|pair| pair[1] == pair[0].map(|seq| seq + 1)), "I4: {seqs:?}");
        }
        assert!(end.elapsed() < s(1) + SLACK, "{:?}", end.elapsed());
    }
}

/// Row D3, and I8.
#[tokio::test]
async fn an_account_deleted_while_chats_and_pushes_are_under_way_leaves_no_rows() {
    let _turn = alone().await;
    let fcm = FcmStandIn::start();
    let builder = TestServer::with(Db::Cluster).pushes_to(&fcm).set("PUSH__LEASE_MS", 1_500).set("PUSH__GRACE_MS", 200);
    let cluster = Cluster::built(builder, Redis::start(), 2).await;
    let api = cluster.server.api();
    let cem = api.person("cem").await;
    for round in 0..if long() { 10 } else { 2 } {
        let (ann, bob) = (api.person(&format!("ann-{round}")).await, api.person(&format!("bob-{round}")).await);
        let phone = format!("the-phone-of-{}", bob.name);
        bob.put("/api/chatters", &json!({"fcm_reg_id": phone})).await.expect(200);
        let (room, other) = (ann.room_with(&bob).await, cem.room_with(&bob).await);
        // One push stays under way, the others are retried again and again.
        fcm.script([Answer::Hang]);
        fcm.answer_for(&phone, Answer::Unavailable { retry_after: None });
        let mut sockets = Sockets::open(&cluster, room, [&bob, &bob]).await;
        let acked = Arc::new(AtomicUsize::new(0));
        let lanes = (0..6).map(|lane| {
            let (person, room) = if lane < 4 { (&ann, room) } else { (&cem, other) };
            writes(cluster.at(lane % 2, person), room, lane, acked.clone(), (422, "receiver_deleted"))
        });
        let lanes: Vec<_> = lanes.collect();
        until("pushes are under way", s(20), || fcm.sent_to(&phone).len() >= 2).await;
        cluster.at(round % 2, &bob).delete("/api/chatters").await.expect(200);
        let end = Instant::now();
        for device in &mut sockets.devices {
            assert_eq!(device.expect_close(s(10)).await, 4401);
        }
        for room_socket in &mut sockets.room_sockets {
            assert_eq!(room_socket.expect_close(s(10)).await, 4401);
        }
        assert!(end.elapsed() < s(1) + SLACK, "{:?}", end.elapsed());
        let count = no_acknowledgement_after(end, lanes).await;
        let dump = cluster.server.dump().await;
        let nothing = || async {
            let owed = dump.outbox(room).await.len() + dump.outbox(other).await.len();
            owed == 0 && dump.devices(bob.id).await.is_empty()
        };
        // Longer than a lease, and longer than any push could be retried.
        stays("I8: no push is pending for a deleted account", s(4), nothing).await;
        let late: Vec<_> = fcm.sent_to(&phone).into_iter().filter(|call| call.at > end + SLACK).collect();
        assert!(late.is_empty(), "I8: pushed to a deleted account: {late:?}");
        assert_eq!((ann.history(room).await.len() + cem.history(other).await.len()), count, "I1: the others keep it");
        for instance in 0..2 {
            cluster.at(instance, &bob).get("/api/chatters/me").await.problem(401, "token_revoked");
        }
        assert_eq!(dump.sign_ins_count(bob.id).await, 0);
        let row = dump.chatter(bob.id).await.expect("the row stays");
        assert_eq!((row.username, row.password_hash), (format!("deleted-{}", bob.id), None), "I8");
    }
}

/// Row D3: the deletion of an account and a new room at the same moment.
#[tokio::test]
async fn a_room_created_while_an_account_is_deleted_is_deleted_or_refused() {
    let builder = TestServer::with(Db::Cluster).set("ACCOUNTS__DELETION", "cascade");
    let cluster = Cluster::built(builder, Redis::start(), 2).await;
    let (ann, _, _) = cluster.server.api().pair().await;
    let cem = cluster.server.api().person("cem").await;
    let dump = cluster.server.dump().await;
    let slow =
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.3); RETURN OLD; END'";
    dump.run(slow).await;
    dump.run("CREATE TRIGGER slow BEFORE DELETE ON chatrooms FOR EACH ROW EXECUTE FUNCTION slow()").await;
    let (at_one, at_two) = (cluster.at(0, &ann), cluster.at(1, &cem));
    let deletion = tokio::spawn(async move { at_one.delete("/api/chatters").await });
    let sleeping =
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database()";
    let begun = async || (deletion.is_finished() || dump.number(sleeping).await == 1).then_some(());
    eventually("the deletion takes its time over the rooms", s(5), begun).await;
    let body = json!({"opponent_id": ann.id});
    // On a slow machine the request for a room does not wait until the deletion is complete.
    let made = eventually("an answer", s(10), async || {
        let answer = at_two.post("/api/chatrooms", &body).await;
        (answer.status != 503).then_some(answer)
    });
    let made = made.await;
    deletion.await.expect("answered").expect(200);
    made.invalid("opponent_id");
    assert_eq!(dump.rooms_count().await, 0);
}

/// The announcement of a room reads the database, a chat in it does not, so the chat could overtake it.
#[tokio::test]
async fn a_new_room_is_announced_before_its_first_chat() {
    let postgres = tokio::task::spawn_blocking(postgres::Cluster::start).await.expect("a cluster of its own");
    let at = Breakable::start(&postgres, 2, 1, |builder| builder).await;
    let api = at.cluster.server.api();
    let (ann, bob) = (api.person("ann").await, api.person("bob").await);
    let mut device = at.cluster.at(1, &bob).device().await;
    at.lines[1].slow(Duration::from_millis(60));
    let ann = at.cluster.at(0, &ann);
    let room = ann.room_with(&bob).await;
    ann.says(room, "the first in it").await;
    let received = device.expect("chatroom_created").await["chatroom"].clone();
    assert_eq!(received["id"], room);
    if received["version"] == 0 {
        device.expect_chat("the first in it").await;
    }
    ann.says(room, "the second").await;
    device.expect_chat("the second").await;
}

/// Row D7.
#[tokio::test]
async fn of_fifty_sign_ups_for_one_name_at_two_instances_exactly_one_succeeds() {
    crate::rest::account_rules::of_fifty_sign_ups_for_one_name_exactly_one_succeeds(Db::Cluster).await;
}
