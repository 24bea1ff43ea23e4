//! Device sockets during an outage of the database: refusals, the socket stays open, and no chat is lost or doubled
//! (promise 6).

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::device_checker::{settle, verify};
use crate::support::device_socket::{Way, check_problem, cursors, send};
use crate::support::postgres::Cluster;
use crate::support::scene::REFUSED_WITHIN;
use crate::support::wait::s;
use crate::support::{Db, Device, DeviceSocket, RawSocket, TestServer, eventually, heavy};

async fn cluster() -> Cluster {
    tokio::task::spawn_blocking(Cluster::start).await.expect("a cluster of its own")
}

#[tokio::test]
async fn frames_are_refused_and_the_socket_stays_while_the_database_is_gone() {
    let _turn = heavy().await;
    let cluster = cluster().await;
    let server = TestServer::with(Db::Postgres).database_url(cluster.fresh_database().await).start().await;
    let (ann, bob, room) = server.api().pair().await;
    let (mut device, mut other) = (ann.device().await, bob.device().await);
    let chat = device.says(room, "before", "while the database is there").await;
    for socket in [&mut device, &mut other] {
        socket.expect_chat("while the database is there").await;
    }
    let mut unsigned = DeviceSocket::unsigned(server.port).await;
    cluster.kill9();
    for frame in [
        send(room, "during", "while the database is gone"),
        json!({"type": "edit", "chat_id": chat["id"], "content": "while the database is gone"}),
        json!({"type": "delete", "chat_id": chat["id"]}),
        json!({"type": "resume", "chatrooms": cursors(&[(room, 0)])}),
    ] {
        let start = Instant::now();
        let reply = device.ask(frame.clone()).await;
        let waited = start.elapsed();
        check_problem(&reply, "unavailable");
        assert!(reply["problem"]["retry_after_s"].as_u64() >= Some(1), "{reply}");
        assert!(waited < REFUSED_WITHIN, "{frame} was refused after {waited:?}");
    }
    device.send_json(&json!({"type": "receipt", "chatroom_id": room, "delivered_seq": 1}));
    device.until_pong().await;
    unsigned.send_json(&json!({"type": "auth", "token": ann.token}));
    let error = unsigned.expect("error").await;
    check_problem(&error, "unavailable");
    assert_eq!(unsigned.expect_close(s(5)).await, 4503);
    let path = format!("/ws?jwt={}", ann.token);
    match RawSocket::open(server.port, &path, "").await {
        Ok(mut socket) => assert_eq!(socket.expect_close(s(10)).await, 4503),
        Err(refused) => assert_eq!(refused.status, 503),
    }
    cluster.up();
    let mut tries = 0;
    let stored = loop {
        tries += 1;
        assert!(tries < 40, "it does not heal");
        let reply = device.ask(send(room, "during", "while the database is gone")).await;
        if reply["type"] == "ack" {
            break reply["chat"].clone();
        }
        check_problem(&reply, "unavailable");
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    assert_eq!((&stored["seq"], &stored["version"]), (&json!(2), &json!(2)), "once");
    other.expect_chat("while the database is gone").await;
    eventually("the watermark that waited is stored", s(5), || async { (ann.marks(room).await.0 >= 1).then_some(()) })
        .await;
    let fresh = DeviceSocket::connect(server.port, &bob.token, Way::FirstFrame).await;
    fresh.expect("a socket").expect_ready().await;
}

#[tokio::test]
async fn devices_that_write_through_an_outage_lose_and_double_no_chat() {
    let _turn = heavy().await;
    let cluster = cluster().await;
    let server = TestServer::with(Db::Postgres).database_url(cluster.fresh_database().await).start().await;
    let (ann, bob, room) = server.api().pair().await;
    let mut devices = vec![Device::new(&ann, server.port, "ann-1"), Device::new(&bob, server.port, "bob-1")];
    let mut sent = 0_u64;
    for _ in 0..2 {
        for (step, outage) in [(0, false), (1, true), (2, false)] {
            match step {
                1 => cluster.kill9(),
                2 => cluster.up(),
                _ => {}
            }
            let start = Instant::now();
            // Longer than the server waits before it refuses.
            let goes_on = |devices: &[Device]| {
                let refused = devices.iter().all(|device| device.stats.later > 0);
                start.elapsed() < Duration::from_millis(1_200) || outage && !refused && start.elapsed() < s(10)
            };
            while goes_on(&devices) {
                for device in &mut devices {
                    if !device.is_connected() {
                        assert!(!outage, "sockets stay while the database is gone: {:?}", device.violations());
                        device.connect().await;
                    }
                    if device.pending() < 8 {
                        device.send(room, "through an outage and back");
                        sent += 1;
                    }
                    device.turn(Duration::from_millis(10)).await;
                }
            }
        }
    }
    let dump = server.dump().await;
    settle(&mut devices, &dump, &[room], s(40)).await;
    verify(&devices, &dump, &[room]).await;
    assert_eq!(dump.chats_count().await, sent, "each is stored once");
    assert!(devices.iter().all(|device| device.stats.later > 0 && device.stats.sockets == 1), "refused, and stayed");
}

/// The instance that creates a room announces it; if it dies before, the first event in the room announces the room.
#[tokio::test]
async fn a_room_whose_creation_was_not_announced_is_announced_with_its_first_event() {
    let server = TestServer::spawn(Db::Sqlite).await;
    let ann = server.api().person("ann").await;
    let mut device = ann.device().await;
    let room = 10_000;
    server.dump().await.add_rooms(ann.id, room..room + 1).await;
    let chat = ann.says(room, "in a room that nobody has named").await;
    let received = device.expect("chatrooms").await;
    assert_eq!(
        (&received["chatrooms"][0]["id"], &received["chatrooms"][0]["version"]),
        (&json!(room), &chat["version"])
    );
    ann.says(room, "now it goes out at once").await;
    device.expect_chat("now it goes out at once").await;
}
