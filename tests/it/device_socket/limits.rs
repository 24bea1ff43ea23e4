//! Too many sockets, and sockets that connect and close all the time (rows A11 and A17).

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::support::device_checker::{settle, verify};
use crate::support::device_socket::{WAYS, send};
use crate::support::dice::Dice;
use crate::support::sockets_open::open_sockets;
use crate::support::wait::s;
use crate::support::{Db, Device, DeviceSocket, RawSocket, TestServer, alone, eventually, long, on_both, until};

on_both![a_storm_of_connecting_and_closing_devices_disturbs_no_other_device];

#[tokio::test]
async fn more_devices_than_allowed_replace_the_oldest_with_4409() {
    let server = TestServer::with(Db::Sqlite).set("LIMITS__SOCKETS_PER_CHATTER", 3).start().await;
    let (ann, bob, room) = server.api().pair().await;
    let mut first = ann.device().await;
    let mut room_socket = ann.joins(room).await;
    let mut devices = [ann.device().await, ann.device().await];
    assert_eq!(first.expect_close(s(5)).await, 4409, "sockets of both kinds count");
    let mut third = ann.device().await;
    assert_eq!(room_socket.expect_close(s(5)).await, 4409);
    let mut of_bob = bob.device().await;
    of_bob.says(room, "a", "to the three that are left").await;
    for device in devices.iter_mut().chain([&mut third, &mut of_bob]) {
        device.expect_chat("to the three that are left").await;
    }
}

#[tokio::test]
async fn a_thousand_devices_of_one_chatter_leave_only_the_newest() {
    let _turn = alone().await;
    let server = TestServer::with(Db::Sqlite).set("LIMITS__SOCKETS_PER_CHATTER", 20).start().await;
    let (ann, bob, room) = server.api().pair().await;
    let mut other = bob.device().await;
    let mut newest = Vec::new();
    let mut ports = HashSet::new();
    let path = format!("/ws?jwt={}", ann.token);
    for _ in 0..1_000 {
        let socket = RawSocket::open(server.port, &path, "").await.expect("a socket");
        ports.insert(socket.local_port());
        newest.push(socket);
        if newest.len() > 40 {
            newest.remove(0);
        }
    }
    until("only twenty are left", s(20), || open_sockets(server.port, &ports) <= 20).await;
    other.says(room, "a", "to the twenty that are left").await;
    other.expect_chat("to the twenty that are left").await;
    for socket in newest.iter_mut().rev().take(20) {
        while socket.expect_text().await["type"] != "chat" {}
    }
}

/// How many devices connect and close at once beside the ones that stay.
const LANES: usize = 20;

async fn a_storm_of_connecting_and_closing_devices_disturbs_no_other_device(db: Db) {
    let _turn = alone().await;
    let server = TestServer::spawn(db).await;
    let (ann, bob, room) = server.api().pair().await;
    let stop = Arc::new(AtomicBool::new(false));
    let joins = Arc::new(AtomicUsize::new(0));
    let storm: Vec<_> = (0..LANES)
        .map(|lane| {
            let (stop, joins, port) = (stop.clone(), joins.clone(), server.port);
            let token = if lane % 2 == 0 { ann.token.clone() } else { bob.token.clone() };
            let mut dice = Dice::new(17, lane as u64);
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let way = *dice.pick(&WAYS).expect("there are some");
                    let Ok(mut socket) = DeviceSocket::connect(port, &token, way).await else { continue };
                    if dice.below(3) > 0 {
                        socket.receive(Duration::from_millis(dice.below(30))).await;
                    }
                    if dice.below(2) == 0 {
                        socket.close();
                        tokio::time::sleep(Duration::from_millis(1)).await;
                    }
                    joins.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    let mut devices = vec![Device::new(&ann, server.port, "ann-1"), Device::new(&bob, server.port, "bob-1")];
    let start = Instant::now();
    let lasts = if long() { s(30) } else { s(4) };
    let mut sent = 0_u64;
    while start.elapsed() < lasts {
        for device in &mut devices {
            if !device.is_connected() {
                assert!(device.connect().await, "the ones that stay get in");
            }
            if device.pending() < 8 {
                device.send(room, "in the middle of the storm");
                sent += 1;
            }
            device.turn(Duration::from_millis(5)).await;
        }
    }
    stop.store(true, Ordering::Relaxed);
    for lane in storm {
        lane.await.expect("no panic");
    }
    let dump = server.dump().await;
    settle(&mut devices, &dump, &[room], s(30)).await;
    verify(&devices, &dump, &[room]).await;
    assert_eq!(dump.chats_count().await, sent);
    let joined = joins.load(Ordering::Relaxed);
    eprintln!("{joined} joins and {sent} chats in {lasts:?}");
    assert!(joined > 100 && devices.iter().all(|d| d.stats.sockets == 1), "{joined} joins");
    drop(devices);
    for (one, other) in [(&ann, &bob), (&bob, &ann)] {
        let path = format!("/api/chatters/{}", one.id);
        let gone = || async { (other.get(&path).await.expect(200)["online"] == false).then_some(()) };
        eventually("none of their sockets is left", s(20), gone).await;
    }
}

#[tokio::test]
async fn a_burst_of_long_chats_closes_no_socket_that_is_read() {
    // The default rate: a burst of thirty, each of the longest that a chat may be in Korean.
    let server = TestServer::with(Db::Sqlite).set("LIMITS__SEND_PER_S", 10).start().await;
    let (ann, bob, room) = server.api().pair().await;
    let (mut writing, mut reading) = (ann.device().await, bob.device().await);
    let content = "가".repeat(8_000);
    for n in 0..30 {
        writing.send_json(&send(room, &format!("n-{n}"), &content));
    }
    for seq in 1..=30 {
        assert_eq!(reading.expect("chat").await["chat"]["seq"], seq);
    }
    let mut acked = 0;
    while acked < 30 {
        acked += usize::from(writing.next(s(10)).await.expect("open")["type"] == "ack");
    }
}
