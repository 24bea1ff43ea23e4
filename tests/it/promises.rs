//! The promises of the server, one test for each, as far as one instance can keep them.
//!
//! Each test shows its promise once; `faults`, `device_socket`, `websocket` and `cluster` test the edge cases.

use std::time::Duration;

use serde_json::json;

use crate::support::account::numbers;
use crate::support::fcm::FcmStandIn;
use crate::support::secrets::PASSWORD;
use crate::support::wait::{SLACK, s};
use crate::support::{Checker, Db, Person, TestServer, eventually, on_both, stays};

on_both![
    promise_1_an_acknowledged_chat_is_stored,
    promise_2_a_chat_is_stored_once_however_often_it_is_sent,
    promise_3_a_room_has_one_order,
    promise_4_one_cursor_restores_everything,
    promise_5_without_redis_nothing_is_degraded_on_one_instance,
    promise_7_a_device_that_did_not_confirm_is_pushed_to,
    promise_7_a_push_survives_the_death_of_the_instance,
    promise_8_unread_counts_follow_from_watermarks,
    promise_9_oversized_requests_are_refused_and_disturb_no_other_client,
    promise_10_deleting_an_account_deletes_it,
];

async fn promise_1_an_acknowledged_chat_is_stored(db: Db) {
    let mut server = TestServer::spawn(db).await;
    let (ann, bob, room) = server.api().pair().await;
    for n in 1..=3 {
        let mut socket = ann.joins(room).await;
        let by_rest = ann.says(room, &format!("acknowledged by an answer {n}")).await;
        socket.expect_chat().await;
        let by_echo = socket.expect_nothing_before_own(&format!("acknowledged by an echo {n}")).await;
        server.kill9();
        server.restart().await;
        let history = bob.history(room).await;
        assert_eq!(history.len(), 2 * n);
        assert_eq!(numbers(&history[2 * n - 2..], "id"), numbers(&[by_rest, by_echo], "id"));
    }
    let checker = Checker::default().compare_views(room, &ann, &bob);
    assert_eq!(checker.verify(&server).await, 6);
}

async fn promise_2_a_chat_is_stored_once_however_often_it_is_sent(db: Db) {
    let mut server = TestServer::spawn(db).await;
    let (ann, bob, room) = server.api().pair().await;
    let mut receiver = bob.joins(room).await;
    let first = ann.says_once(room, "once and for all", "once").await.expect(201);
    let mut socket = ann.joins(room).await;
    socket.send_with_client_id("once and for all", "once");
    assert_eq!(socket.expect_message("once and for all").await["id"], first["id"]);
    receiver.expect_message("once and for all").await;
    ann.says(room, "nothing came in between").await;
    receiver.expect_message("nothing came in between").await;
    server.kill9();
    server.restart().await;
    let late = ann.says_once(room, "once and for all", "once").await.expect(200);
    assert_eq!((&late["id"], &late["seq"]), (&first["id"], &first["seq"]));
    ann.says_once(room, "once and differently", "once").await.problem(409, "client_id_conflict");
    assert_eq!(bob.history(room).await.len(), 2);
}

async fn promise_3_a_room_has_one_order(db: Db) {
    let server = TestServer::spawn(db).await;
    let (ann, bob, room) = server.api().pair().await;
    let mut sockets = [ann.joins(room).await, ann.joins(room).await, bob.joins(room).await, bob.joins(room).await];
    let posts = (0..40).map(|n| {
        let person: &Person = if n % 2 == 0 { &ann } else { &bob };
        let body = json!({"content": format!("all at the same time {n}")});
        async move { person.post_chat(room, &body).await.expect(201) }
    });
    for socket in &sockets {
        (0..10).for_each(|n| socket.send(&format!("and over sockets {n}")));
    }
    futures_util::future::join_all(posts).await;
    let mut checker = Checker::default().compare_views(room, &ann, &bob);
    for socket in &mut sockets {
        socket.read_until_seq(80, s(20)).await;
        assert_eq!(numbers(&socket.chats, "seq"), (1..=80).collect::<Vec<_>>());
        assert!(numbers(&socket.chats, "version").is_sorted());
        checker.saw(room, socket);
    }
    assert_eq!(checker.verify(&server).await, 80);
}

async fn promise_4_one_cursor_restores_everything(db: Db) {
    let server = TestServer::spawn(db).await;
    let (ann, bob, room) = server.api().pair().await;
    let kept = ann.says(room, "known before the break").await;
    let gone = ann.says(room, "deleted during the break").await;
    let cursor = bob.room(room).await["version"].as_i64().unwrap();
    ann.put(&format!("/api/chats/{}", kept["id"]), &json!({"content": "edited during the break"})).await.expect(200);
    ann.delete(&format!("/api/chats/{}", gone["id"])).await.expect(200);
    let new = ann.says(room, "written during the break").await;
    let answer = bob.get(&format!("/api/chatrooms/{room}/changes?since={cursor}")).await.expect(200);
    let changes = answer["changes"].as_array().unwrap();
    assert_eq!(numbers(changes, "id"), numbers(&[kept, gone, new], "id"));
    assert_eq!(numbers(changes, "version"), [cursor + 1, cursor + 2, cursor + 3]);
    assert_eq!(changes[1]["deleted"], true);
    assert_eq!((&answer["version"], &answer["has_more"]), (&json!(cursor + 3), &json!(false)));
}

async fn promise_5_without_redis_nothing_is_degraded_on_one_instance(db: Db) {
    let server = TestServer::spawn(db).await;
    assert_eq!(server.api().get("/readyz").await.expect(200)["status"], "ready");
    let (ann, bob, room) = server.api().pair().await;
    let mut socket = bob.joins(room).await;
    let start = std::time::Instant::now();
    ann.says(room, "delivered at once here").await;
    socket.expect_message("delivered at once here").await;
    assert!(start.elapsed() < s(1) + SLACK, "{:?}", start.elapsed());
}

#[tokio::test]
async fn promise_6_without_a_database_requests_get_503() {
    crate::faults::database::a_killed_postgresql_causes_503_until_it_is_back().await;
}

/// A server that pushes to the stand-in.
async fn pushing_server(db: Db, fcm: &FcmStandIn) -> TestServer {
    TestServer::with(db).pushes_to(fcm).set("PUSH__LEASE_MS", 5_000).start().await
}

async fn promise_7_a_device_that_did_not_confirm_is_pushed_to(db: Db) {
    let fcm = FcmStandIn::start();
    let server = pushing_server(db, &fcm).await;
    let (ann, bob, room) = server.api().pair().await;
    let cem = server.api().person("cem").await;
    bob.put("/api/chatters", &json!({"fcm_reg_id": "device-of-bob-7"})).await.expect(200);
    cem.put("/api/chatters", &json!({"fcm_reg_id": "device-of-cem-7"})).await.expect(200);
    let with_cem = ann.room_with(&cem).await;
    let mut socket = bob.joins(room).await;
    ann.says(room, "to one who is there").await;
    socket.expect_message("to one who is there").await;
    ann.says(with_cem, "to one who is away").await;
    eventually("the push to the one who is away", s(10), || async {
        (!fcm.sent_to("device-of-cem-7").is_empty()).then_some(())
    })
    .await;
    // The push of a confirmed chat is complete when its row is deleted, with or without a call of FCM.
    let dump = server.dump().await;
    eventually("what was confirmed is settled", s(15), || async { dump.outbox(room).await.is_empty().then_some(()) })
        .await;
    assert!(fcm.sent_to("device-of-bob-7").is_empty(), "no push for what was confirmed");
    socket.drain();
}

async fn promise_7_a_push_survives_the_death_of_the_instance(db: Db) {
    let fcm = FcmStandIn::start();
    let mut server = pushing_server(db, &fcm).await;
    let (ann, bob, room) = server.api().pair().await;
    bob.put("/api/chatters", &json!({"fcm_reg_id": "device-of-bob-8"})).await.expect(200);
    ann.says(room, "and then the instance dies").await;
    server.kill9();
    server.restart().await;
    // A claim of the dead instance is a lease that ends.
    eventually("the push after the death", s(90), || async {
        (!fcm.sent_to("device-of-bob-8").is_empty()).then_some(())
    })
    .await;
}

async fn promise_8_unread_counts_follow_from_watermarks(db: Db) {
    let server = TestServer::spawn(db).await;
    let (ann, bob, room) = server.api().pair().await;
    let unread = async || bob.room(room).await["unread_count"].as_i64().unwrap();
    let mut chats = Vec::new();
    for n in 1..=5 {
        chats.push(ann.says(room, &format!("number {n} to be counted")).await);
    }
    assert_eq!(unread().await, 5);
    ann.delete(&format!("/api/chats/{}", chats[4]["id"])).await.expect(200);
    assert_eq!(unread().await, 4, "what is deleted is not unread");
    bob.receipt(room, &json!({"read_seq": 3}), (3, 3)).await;
    assert_eq!(unread().await, 1);
    bob.put(&format!("/api/chatrooms/{room}/receipt"), &json!({"read_seq": 1})).await.expect(200);
    stays("only forward", Duration::from_millis(700), || async { unread().await == 1 }).await;
    assert_eq!(ann.room(room).await["unread_count"], 0, "one's own are never unread");
    bob.receipt(room, &json!({"read_seq": 5}), (5, 5)).await;
    assert_eq!(unread().await, 0);
}

async fn promise_9_oversized_requests_are_refused_and_disturb_no_other_client(db: Db) {
    let server = TestServer::spawn(db).await;
    let (ann, bob, room) = server.api().pair().await;
    let (mut large, mut other) = (ann.joins(room).await, bob.joins(room).await);
    ann.post_chat(room, &json!({"content": "x".repeat(1 << 18)})).await.problem(413, "too_large");
    large.send(&"x".repeat(1 << 18));
    assert_eq!(large.expect_close(s(5)).await, 1009);
    other.expect_nothing_before_own("the other one is not affected").await;
    let page = ann.get(&format!("/api/chatrooms/{room}/chats?limit=1000000000")).await.expect(200);
    assert_eq!(page.as_array().unwrap().len(), 1);
}

async fn promise_10_deleting_an_account_deletes_it(db: Db) {
    let server = TestServer::spawn(db).await;
    let (ann, bob, room) = server.api().pair().await;
    ann.put("/api/chatters", &json!({"fcm_reg_id": "device-of-ann-10"})).await.expect(200);
    bob.says(room, "to one who will be gone").await;
    let elsewhere = ann.signed_in_again().await;
    let mut socket = elsewhere.joins(room).await;
    ann.delete("/api/chatters").await.expect(200);
    assert_eq!(socket.expect_close(s(2)).await, 4401);
    for person in [&ann, &elsewhere] {
        person.get("/api/chatrooms").await.problem(401, "token_revoked");
    }
    server.api().sign_in("ann", PASSWORD).await.problem(401, "credentials_wrong");
    let dump = server.dump().await;
    let row = dump.chatter(ann.id).await.expect("the row stays");
    assert_eq!((row.password_hash, row.username), (None, format!("deleted-{}", ann.id)));
    assert!(row.delete_time.is_some() && dump.devices(ann.id).await.is_empty());
    assert_eq!(dump.sign_ins_count(ann.id).await, 0);
    assert!(dump.outbox(room).await.is_empty(), "no push to or from who is gone");
    assert_eq!(bob.history(room).await.len(), 1, "the other side keeps the conversation");
}
