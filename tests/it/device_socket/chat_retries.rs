//! Retries of a chat on any transport: the first chat is returned, and no device gets it twice.

use serde_json::json;

use crate::support::account::contents;
use crate::support::device_socket::send;
use crate::support::token::{claims, mint};
use crate::support::wait::s;
use crate::support::{Db, DeviceSocket, TestServer, on_all};

on_all![a_retry_on_any_transport_gets_the_first_chat_and_sends_no_event, a_client_id_with_another_chat_is_a_conflict,];

async fn a_retry_on_any_transport_gets_the_first_chat_and_sends_no_event(db: Db) {
    let server = TestServer::spawn(db).await;
    let (ann, bob, room) = server.api().pair().await;
    let (mut one, mut two, mut other) = (ann.device().await, ann.device().await, bob.device().await);
    let first = one.says(room, "once", "stored once and for all").await;
    for device in [&mut one, &mut two, &mut other] {
        device.expect_chat("stored once and for all").await;
    }
    assert_eq!(one.says(room, "once", "stored once and for all").await, first, "on the same socket");
    assert_eq!(two.says(room, "once", "stored once and for all").await, first, "on another one");
    assert_eq!(ann.says_once(room, "stored once and for all", "once").await.expect(200), first, "over REST");
    let edit = json!({"type": "edit", "chat_id": first["id"], "content": "and edited since"});
    one.ask(edit).await;
    // A device that reads changes later finds only the last change of a chat: so each is received before the next.
    for device in [&mut one, &mut two, &mut other] {
        device.expect("chat_edited").await;
    }
    let now = two.says(room, "once", "stored once and for all").await;
    assert_eq!((&now["id"], &now["content"]), (&first["id"], &json!("and edited since")), "as it is now");
    one.ask(json!({"type": "delete", "chat_id": first["id"]})).await;
    let gone = two.says(room, "once", "stored once and for all").await;
    assert_eq!((&gone["id"], &gone["content"], &gone["deleted"]), (&first["id"], &json!(""), &json!(true)));
    for device in [&mut one, &mut two, &mut other] {
        device.expect("chat_deleted").await;
        device.expect_nothing_else().await;
    }
    let of_bob = other.says(room, "once", "a client_id is the sender's own").await;
    assert_ne!(of_bob["id"], first["id"]);
    let mut late = DeviceSocket::open(server.ports().pick(), &mint(&claims(ann.id))).await;
    let burst: Vec<_> = (0..8).map(|_| send(room, "burst", "eight times on three sockets")).collect();
    burst.iter().for_each(|frame| [&one, &two, &late].iter().for_each(|socket| socket.send_json(frame)));
    let mut ids = Vec::new();
    for device in [&mut one, &mut two, &mut late] {
        let mut acked = 0;
        while acked < 8 {
            let frame = device.next(s(10)).await.expect("open");
            if frame["type"] == "ack" {
                acked += 1;
                ids.push(frame["chat"]["id"].clone());
            }
        }
    }
    ids.dedup();
    assert_eq!(ids.len(), 1, "all were acknowledged with the same chat: {ids:?}");
    let history = ann.history(room).await;
    assert_eq!(contents(&history), ["a client_id is the sender's own", "eight times on three sockets"]);
}

async fn a_client_id_with_another_chat_is_a_conflict(db: Db) {
    let server = TestServer::spawn(db).await;
    let (ann, _, room) = server.api().pair().await;
    let cem = server.api().person("cem").await;
    let elsewhere = ann.room_with(&cem).await;
    let mut device = ann.device().await;
    device.says(room, "one", "what was said first").await;
    let problem = device.refused(send(room, "one", "what was said then"), "client_id_conflict").await;
    assert_eq!(problem["status"], 409);
    device.refused(send(elsewhere, "one", "what was said first"), "client_id_conflict").await;
    ann.says_once(room, "over REST at first", "two").await.expect(201);
    device.refused(send(room, "two", "then on a socket"), "client_id_conflict").await;
    assert_eq!((ann.history(room).await.len(), ann.history(elsewhere).await.len()), (2, 0));
}
