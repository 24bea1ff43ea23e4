//! Receipts across instances: those that an instance missed, and the pushes that they make needless.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::cluster::Cluster;
use crate::support::fcm::FcmStandIn;
use crate::support::wait::{SLACK, s};
use crate::support::{Db, Redis, TestServer, eventually};

/// Row E9: an instance that alone was cut off from Redis asks for the receipts that it missed.
#[tokio::test]
async fn receipts_that_an_instance_missed_are_sent_when_it_reaches_redis_again() {
    let cluster = Cluster::start(2).await;
    let (ann, bob, room) = cluster.server.api().pair().await;
    let (here, there) = (cluster.at(0, &ann), cluster.at(1, &bob));
    let mut device = here.device().await;
    here.says(room, "read while ann's instance hears nothing").await;
    device.expect_chat("read while ann's instance hears nothing").await;
    cluster.wires[0].cut();
    cluster.becomes_within(0, "degraded", s(2) + SLACK).await;
    there.receipt(room, &json!({"read_seq": 1}), (1, 1)).await;
    let dump = cluster.server.dump().await;
    let read =
        || async { dump.members(room).await.iter().any(|m| m.chatter_id == bob.id && m.read_seq == 1).then_some(()) };
    eventually("the receipt is stored", s(5), read).await;
    cluster.wires[0].heal();
    cluster.all_ready_within(s(3) + SLACK).await;
    while device.expect("receipt").await["read_seq"] != 1 {}
}

/// Promise 7: a chatter who reads on one instance gets no push from another, however long the chat goes on.
#[tokio::test]
async fn a_chatter_who_confirms_on_another_instance_gets_no_push() {
    let (fcm, redis) = (FcmStandIn::start(), Redis::start());
    let server = TestServer::with(Db::Cluster).pushes_to(&fcm);
    let cluster = Cluster::built(server, redis, 2).await;
    cluster.all_ready_within(s(20)).await;
    let (ann, bob, room) = cluster.server.api().pair().await;
    bob.put("/api/chatters", &json!({"fcm_reg_id": "the-phone-of-bob"})).await.expect(200);
    let (writer, mut reader) = (cluster.at(0, &ann), cluster.at(1, &bob).device().await);
    let (start, mut last) = (Instant::now(), 0);
    // Several times the grace, so that rows come due while the device reads.
    while start.elapsed() < s(9) {
        let chat = writer.says(room, "one of many in a chat that goes on").await;
        last = chat["seq"].as_i64().expect("a number");
        reader.expect_chat("one of many in a chat that goes on").await;
        reader.send_json(&json!({"type": "receipt", "chatroom_id": room, "read_seq": last}));
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let dump = cluster.server.dump().await;
    eventually("no push is pending", s(20), || async { dump.outbox(room).await.is_empty().then_some(()) }).await;
    assert!(fcm.sent_to("the-phone-of-bob").is_empty(), "of {last} chats, each read at once");
}
