//! Resuming after a fault: a slow reader, a killed server, and sockets that end in the middle of a read.

use serde_json::{Value, json};

use crate::support::account::numbers;
use crate::support::device_checker::{settle, verify};
use crate::support::device_socket::{cursors, send};
use crate::support::raw_socket::CLOSE;
use crate::support::wait::s;
use crate::support::{Db, Device, RawSocket, TestServer, heavy, on_all};

on_all![
    a_device_closed_for_reading_too_slowly_resumes_and_misses_no_chat,
    a_device_resumes_after_the_server_was_killed,
];

async fn a_device_closed_for_reading_too_slowly_resumes_and_misses_no_chat(db: Db) {
    let _turn = heavy().await;
    let server = TestServer::spawn(db).await;
    let (ann, bob, room) = server.api().pair().await;
    let mut other = bob.device().await;
    let mut slow = RawSocket::open_narrow(server.ports().pick(), &format!("/ws?jwt={}", bob.token)).await;
    assert_eq!(slow.expect_text().await["type"], "ready");
    let mut writer = ann.device().await;
    // 21 KB each: together more than the kernel, the queue and its allowance for bursts hold.
    let content = "글".repeat(7_000);
    let count = 900;
    for n in 0..count {
        writer.send_json(&send(room, &format!("n-{n}"), &content));
        // A few at a time: even the queue of a device that reads holds no more of these at once.
        if n % 10 == 9 {
            while other.expect("chat").await["chat"]["seq"] != n + 1 {}
            writer.until_pong().await;
        }
    }
    let mut last = 0;
    let code = loop {
        match slow.next(s(20)).await {
            Some(frame) if frame.opcode() == CLOSE => break frame.close_code(),
            Some(frame) => {
                // An instance that lags behind may have to read it from the database.
                let frame = frame.json();
                let row = std::slice::from_ref(&frame["chat"]);
                let rows: &[Value] = match frame["type"].as_str() {
                    Some("chat") => row,
                    Some("changes") => frame["changes"].as_array().expect("a list"),
                    _ => continue,
                };
                for version in numbers(rows, "version") {
                    assert_eq!(version, last + 1, "in order up to the end");
                    last += 1;
                }
            }
            None => break 1006,
        }
    };
    // On a slow machine the kernel may have cut the stalled connection before it is read again.
    assert!(matches!(code, 4508 | 1006), "{code}");
    assert!(last < count, "it was cut off");
    let mut again = bob.device().await;
    let mut pages = again.resume(&[(room, last)]).await;
    pages.retain(|page| page["type"] == "changes");
    let seqs: Vec<_> = pages.iter().flat_map(|p| numbers(p["changes"].as_array().unwrap(), "seq")).collect();
    assert_eq!(seqs, (last + 1..=count).collect::<Vec<_>>());
}

async fn a_device_resumes_after_the_server_was_killed(db: Db) {
    let _turn = heavy().await;
    let mut server = TestServer::spawn(db).await;
    let (ann, bob, room) = server.api().pair().await;
    let mut devices = vec![Device::new(&ann, server.ports(), "ann-1"), Device::new(&bob, server.ports(), "bob-1")];
    let dump_rooms = [room];
    for round in 0..3 {
        for device in &mut devices {
            if !device.is_connected() {
                assert!(device.connect().await, "round {round}");
            }
            for n in 0..20 {
                device.send(room, &format!("round {round}, number {n}"));
            }
        }
        for _ in 0..10 {
            for device in &mut devices {
                device.turn(std::time::Duration::from_millis(2)).await;
            }
        }
        server.kill9();
        for device in &mut devices {
            while device.is_connected() {
                device.turn(s(1)).await;
            }
        }
        server.restart().await;
    }
    let dump = server.dump().await;
    settle(&mut devices, &dump, &dump_rooms, s(30)).await;
    verify(&devices, &dump, &dump_rooms).await;
    assert_eq!(dump.chats_count().await, 2 * 3 * 20, "each is stored once");
}

#[tokio::test]
async fn sockets_that_end_in_the_middle_of_a_read_leave_no_transaction_behind() {
    let server = TestServer::spawn(Db::Postgres).await;
    let (ann, bob, room) = server.api().pair().await;
    server.dump().await.add_chats(room, ann.id, 1..=400).await;
    let mut dice = crate::support::dice::Dice::new(1, 1);
    for _ in 0..300 {
        let mut device = bob.device().await;
        for since in 0..3 {
            device.send_json(&json!({"type": "resume", "chatrooms": cursors(&[(room, since)])}));
        }
        device.receive(std::time::Duration::from_micros(dice.below(8_000))).await;
        drop(device);
    }
    ann.says(room, "and the connections are as before").await;
    let log = server.log();
    let left: Vec<_> = log.lines().filter(|line| line.contains("transaction in progress")).collect();
    assert!(!left.iter().any(|line| line.contains("already")), "a BEGIN was forgotten: {left:?}");
    assert!(!log.contains("the database does not answer"), "later reads failed");
}
