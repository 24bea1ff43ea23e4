//! Wrong clocks (row E19): one that jumps under a running server, and instances whose clocks differ.

use std::path::Path;

use serde_json::json;

use crate::support::account::numbers;
use crate::support::cluster::{Cluster, Crossing};
use crate::support::fcm::FcmStandIn;
use crate::support::token::{claims, mint, now};
use crate::support::wait::s;
use crate::support::{Checker, Db, Person, Redis, TestServer, eventually, heavy, long, on_both};

on_both![a_clock_jump_changes_no_order_and_closes_no_socket];

/// Seconds from the right time: two hours ahead and behind, a day behind, and right again.
const LEAPS: [i64; 4] = [7_200, -7_200, -86_400, 0];

/// Debian's libfaketime; it leaves the monotonic clock alone.
fn library() -> String {
    let places = ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib"];
    let found = places.iter().map(|place| format!("{place}/faketime/libfaketimeMT.so.1"));
    found
        .into_iter()
        .find(|file| Path::new(file).exists())
        .expect("libfaketime (Debian: apt-get install faketime, or run tests/run)")
}

/// The same account with a token as an operator's own backend signs them, without `iat`.
fn with_lasting_token(person: &Person) -> Person {
    let mut claims = claims(person.id);
    claims["exp"] = json!(now() + 7 * 86_400);
    claims.as_object_mut().expect("an object").remove("iat");
    person.with_token(&mint(&claims))
}

async fn a_clock_jump_changes_no_order_and_closes_no_socket(db: Db) {
    let (fcm, folder) = (FcmStandIn::start(), tempfile::tempdir().expect("a folder"));
    let clock = folder.path().join("clock");
    let leaps_to = |offset: i64| {
        let new = folder.path().join("new");
        std::fs::write(&new, format!("{offset:+}")).expect("own folder");
        std::fs::rename(new, &clock).expect("at once");
    };
    leaps_to(0);
    let server = TestServer::with(db)
        .pushes_to(&fcm)
        .set("PUSH__GRACE_MS", 500)
        .env("LD_PRELOAD", library())
        .env("FAKETIME_TIMESTAMP_FILE", clock.display())
        .env("FAKETIME_NO_CACHE", "1")
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        .start()
        .await;
    let (ann, bob, room) = server.api().pair().await;
    let eve = server.api().person("eve").await;
    let signed_in = ann.clone();
    let (ann, bob, eve) = (with_lasting_token(&ann), with_lasting_token(&bob), with_lasting_token(&eve));
    eve.put("/api/chatters", &json!({"fcm_reg_id": "the-phone-of-eve"})).await.expect(200);
    let with_eve = ann.room_with(&eve).await;
    let (mut device, mut room_socket) = (bob.device().await, bob.joins(room).await);
    for (leap, offset) in LEAPS.into_iter().enumerate() {
        ann.says(with_eve, &format!("before leap {leap}, to who is away")).await;
        leaps_to(offset);
        // A token may be issued at most a minute ahead (`src/protocol/own_users.md`).
        let answer = signed_in.get("/api/chatters/me").await;
        if offset < 0 {
            answer.problem(401, "token_invalid")
        } else {
            answer.expect(200)
        };
        for n in 0..5 {
            let content = format!("after leap {leap}, {n}");
            let said = ann.says(room, &content).await;
            assert_eq!(device.expect_chat(&content).await, said);
            room_socket.expect_message(&content).await;
        }
        device.send_json(&json!({"type": "typing", "chatroom_id": room, "typing": true}));
        bob.receipt(room, &json!({"read_seq": 5 * (leap + 1)}), (5 * (leap as i64 + 1), 5 * (leap as i64 + 1))).await;
        // On SQLite this is the clock of the database too: a pending push waits until that time comes again.
        if db == Db::Postgres {
            let dump = server.dump().await;
            eventually("the push", s(20), || async { dump.outbox(with_eve).await.is_empty().then_some(()) }).await;
            assert_eq!(fcm.sent_to("the-phone-of-eve").len(), leap + 1);
        }
    }
    let history = bob.history(room).await;
    assert_eq!(numbers(&history, "seq"), (1..=20).collect::<Vec<_>>());
    assert_eq!(numbers(&history, "id"), numbers(&room_socket.chats, "id"), "in the order in which they came");
    device.expect_nothing_else().await;
    let checker = Checker::default().compare_views(room, &ann, &bob).compare_views(with_eve, &ann, &eve);
    assert_eq!(checker.verify(&server).await, 24);
}

/// Row E19.
#[tokio::test]
async fn instances_with_different_clocks_act_as_one_service() {
    let _turn = heavy().await;
    let offsets = [300, -7_200, 7_200, -300];
    for offset in offsets.into_iter().take(if long() { 4 } else { 2 }) {
        clocks_apart_by(offset).await;
    }
}

async fn clocks_apart_by(offset: i64) {
    let fcm = FcmStandIn::start();
    let builder = TestServer::with(Db::Cluster)
        .pushes_to(&fcm)
        .env_of(1, "LD_PRELOAD", library())
        .env_of(1, "FAKETIME", format!("{offset:+}"))
        .env_of(1, "FAKETIME_DONT_FAKE_MONOTONIC", "1");
    let cluster = Cluster::built(builder, Redis::start(), 2).await;
    cluster.all_ready_within(s(5)).await;
    let (ann, bob, room) = cluster.server.instance(0).api().pair().await;
    tokens_are_valid_within_a_minute(&cluster, &ann, offset).await;
    let (ann, bob) = (with_lasting_token(&ann), with_lasting_token(&bob));
    let off = cluster.at(1, &bob).device().await;
    let server_time = off.ready["server_time"].as_str().expect("a time").to_owned();
    eprintln!("{offset} s: the other instance takes it to be {server_time}");
    let eve = with_lasting_token(&cluster.server.instance(0).api().person("eve").await);
    eve.put("/api/chatters", &json!({"fcm_reg_id": "the-phone-of-eve"})).await.expect(200);
    let with_eve = ann.room_with(&eve).await;
    for (from, to) in [(0, 1), (1, 0)] {
        let mut crossing = Crossing::between(&cluster, [&ann, &bob], room, from, to).await;
        for _ in 0..5 {
            crossing.crosses_within(s(1)).await;
        }
    }
    let (here, there) = (cluster.at(0, &ann), cluster.at(1, &bob));
    for n in 0..10 {
        here.says(room, &format!("in turn {n}, here")).await;
        there.says(room, &format!("in turn {n}, there")).await;
        cluster.at(n % 2, &ann).says(with_eve, &format!("to who is away {n}")).await;
    }
    there.receipt(room, &json!({"read_seq": 20}), (20, 20)).await;
    let last = cluster.server.dump().await.room(with_eve).await.expect("the room").last_seq.to_string();
    // Claims are leases by the database's clock: no instance takes another's claim, and each push is sent once.
    let received = || async {
        let done = cluster.server.dump().await.outbox(with_eve).await.is_empty();
        done.then(|| fcm.sent_to("the-phone-of-eve"))
    };
    let calls = eventually("the pushes are sent", s(20), received).await;
    let of_last = calls.iter().filter(|call| call.message["message"]["data"]["seq"] == last.as_str()).count();
    assert_eq!(of_last, 1, "{calls:?}");
    drop(off);
    let stored = Checker::default()
        .compare_views(room, &ann, &bob)
        .compare_views(with_eve, &ann, &eve)
        .verify(&cluster.server)
        .await;
    assert_eq!(stored, 40);
}

/// A token may be issued at most a minute ahead (`src/protocol/own_users.md`).
async fn tokens_are_valid_within_a_minute(cluster: &Cluster, ann: &Person, offset: i64) {
    let elsewhere = Person { api: cluster.server.instance(1).api(), ..ann.clone() };
    let late = elsewhere.signed_in_again().await;
    let (ahead, behind) = if offset > 0 { (late, ann.clone()) } else { (ann.clone(), late) };
    let [slow, fast] = if offset > 0 { [0, 1] } else { [1, 0] };
    cluster.at(slow, &ahead).get("/api/chatters/me").await.problem(401, "token_invalid");
    cluster.at(fast, &ahead).get("/api/chatters/me").await.expect(200);
    for instance in 0..2 {
        cluster.at(instance, &behind).get("/api/chatters/me").await.expect(200);
    }
}
