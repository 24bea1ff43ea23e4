//! Several instances act as one service (promises 2, 3 and 4): each client gets each chat once and in order, at any
//! instance.

use serde_json::{Value, json};

use crate::support::account::numbers;
use crate::support::checker::Acked;
use crate::support::cluster::{Cluster, Crossing};
use crate::support::device_socket::{DeviceSocket, send};
use crate::support::wait::s;
use crate::support::{ChatroomSocket, Checker, Db, TestServer, alone, heavy};

#[tokio::test]
async fn a_chat_sent_on_one_instance_reaches_devices_and_chatroom_sockets_on_the_other() {
    let _turn = heavy().await;
    let cluster = Cluster::start(2).await;
    let (ann, bob, room) = cluster.server.api().pair().await;
    let (here, there) = (cluster.at(0, &ann), cluster.at(1, &bob));
    let mut devices = [here.device().await, cluster.at(1, &ann).device().await, there.device().await];
    let mut room_sockets = [here.joins(room).await, there.joins(room).await, there.joins_with_events(room).await];
    let said = here.says(room, "posted on one").await;
    all_receive(&mut devices, &mut room_sockets, &said).await;
    let said = devices[2].says(room, "b-1", "sent by a device on the other").await;
    all_receive(&mut devices, &mut room_sockets, &said).await;
    room_sockets[1].send("sent by a chatroom socket on the other");
    let said = cluster.at(1, &ann).device().await.listed(room).clone();
    assert!(said["version"].as_i64() >= Some(2), "{said}");
    let said = devices[0].expect_chat("sent by a chatroom socket on the other").await;
    for device in &mut devices[1..] {
        assert_eq!(device.expect_chat("sent by a chatroom socket on the other").await, said);
    }
    for room_socket in &mut room_sockets {
        assert_eq!(room_socket.expect_message("sent by a chatroom socket on the other").await["id"], said["id"]);
    }
    for device in &mut devices {
        device.expect_nothing_else().await;
    }
}

/// Each of these sockets receives this chat.
async fn all_receive(devices: &mut [DeviceSocket], room_sockets: &mut [ChatroomSocket], chat: &Value) {
    let content = chat["content"].as_str().unwrap();
    for device in devices {
        assert_eq!(device.expect_chat(content).await, *chat);
    }
    for room_socket in room_sockets {
        assert_eq!(room_socket.expect_message(content).await["id"], chat["id"]);
    }
}

#[tokio::test]
async fn edits_deletions_receipts_typing_and_rooms_cross_at_once() {
    let _turn = heavy().await;
    let cluster = Cluster::start(2).await;
    let (ann, bob) = (cluster.server.api().person("ann").await, cluster.server.api().person("bob").await);
    let (ann, bob) = (cluster.at(0, &ann), cluster.at(1, &bob));
    let (mut here, mut there) = (ann.device().await, bob.device().await);
    let room = ann.room_with(&bob).await;
    assert_eq!(there.expect("chatroom_created").await["chatroom"]["id"], room);
    let chat = here.says(room, "a", "as it was at first").await;
    there.expect_chat("as it was at first").await;
    here.ask(json!({"type": "edit", "chat_id": chat["id"], "content": "as it is now"})).await;
    assert_eq!(there.expect("chat_edited").await["chat"]["version"], 2);
    there.send_json(&json!({"type": "receipt", "chatroom_id": room, "delivered_seq": 1, "read_seq": 1}));
    here.expect("chatroom_created").await;
    here.expect("chat").await;
    here.expect("chat_edited").await;
    while here.expect("receipt").await["read_seq"] != 1 {}
    here.ask(json!({"type": "delete", "chat_id": chat["id"]})).await;
    assert_eq!(there.expect("chat_deleted").await["version"], 3);
    here.send_json(&json!({"type": "typing", "chatroom_id": room, "typing": true}));
    assert_eq!(there.expect("typing").await["chatter_id"], ann.id);
}

#[tokio::test]
async fn a_hot_room_written_on_two_instances_has_one_order() {
    const EACH: usize = 200;
    let _turn = alone().await;
    let cluster = Cluster::start(2).await;
    let (ann, bob, room) = cluster.server.api().pair().await;
    let mut room_sockets = Vec::new();
    let mut devices = Vec::new();
    for instance in 0..2 {
        for person in [&ann, &bob] {
            room_sockets.push(cluster.at(instance, person).joins(room).await);
            devices.push(cluster.at(instance, person).device().await);
        }
    }
    let (writes, answers) = (&devices[0], &devices[3]);
    for n in 0..EACH {
        writes.send_json(&send(room, &format!("a-{n}"), &format!("on the first {n}")));
        answers.send_json(&send(room, &format!("b-{n}"), &format!("on the second {n}")));
        if n % 20 == 19 {
            tokio::task::yield_now().await;
        }
    }
    let total = 2 * EACH;
    let mut checker = Checker::default().compare_views(room, &ann, &bob);
    for room_socket in &mut room_sockets {
        room_socket.read_until_seq(total as i64, s(30)).await;
        checker.saw(room, room_socket);
    }
    let mut orders = Vec::new();
    for device in &mut devices {
        let mut chats = Vec::new();
        while chats.len() < total {
            let frame = device.next_event(s(20)).await.expect("open");
            assert_ne!(frame["type"], "error", "{frame}");
            if frame["type"] == "chat" {
                chats.push(frame["chat"].clone());
            }
        }
        assert_eq!(numbers(&chats, "seq"), (1..=total as i64).collect::<Vec<_>>(), "each once and in order");
        orders.push(chats);
        let more: Vec<_> = device.until_pong().await.into_iter().filter(|f| f["type"] == "chat").collect();
        assert!(more.is_empty(), "twice: {more:?}");
    }
    assert!(orders.iter().all(|order| *order == orders[0]), "all see the same");
    for (side, person) in [("a", &ann), ("b", &bob)] {
        let of = orders[0].iter().filter(|chat| chat["sender_id"] == person.id);
        let sent: Vec<_> = (0..EACH).map(|n| json!(format!("{side}-{n}"))).collect();
        assert_eq!(of.map(|chat| chat["client_id"].clone()).collect::<Vec<_>>(), sent, "each in the order of sending");
    }
    assert_eq!(checker.verify(&cluster.server).await, total);
}

#[tokio::test]
async fn two_instances_write_a_thousand_rooms_in_opposite_order_without_deadlock() {
    const AT_ONCE: usize = 20;
    let _turn = alone().await;
    let cluster = Cluster::start(2).await;
    let ann = cluster.server.api().person("ann").await;
    let dump = cluster.server.dump().await;
    let ids: Vec<i64> = (1_000..2_000).collect();
    dump.add_rooms(ann.id, 1_000..2_000).await;
    let mut devices = [cluster.at(0, &ann).device().await, cluster.at(1, &ann).device().await];
    let mut seen = [Vec::new(), Vec::new()];
    let [first, second] = &mut devices;
    let [by_first, by_second] = &mut seen;
    let back: Vec<i64> = ids.iter().rev().copied().collect();
    tokio::join!(
        writes(first, "a", ids.chunks(AT_ONCE), by_first),
        writes(second, "b", back.chunks(AT_ONCE), by_second),
    );
    for (device, seen) in devices.iter_mut().zip(&mut seen) {
        while seen.len() < 2 * ids.len() {
            let frame = device.next_event(s(30)).await.expect("open");
            seen.extend((frame["type"] == "chat").then(|| frame["chat"].clone()));
        }
        device.expect_nothing_else().await;
        for room in &ids {
            let of_room: Vec<_> = seen.iter().filter(|chat| chat["chatroom_id"] == *room).cloned().collect();
            assert_eq!(numbers(&of_room, "seq"), [1, 2], "room {room}");
        }
    }
    assert_eq!(dump.chats_count().await, 2 * ids.len() as u64);
}

/// Sends a chat into each of these rooms, some at once, and collects the chats that arrive meanwhile.
async fn writes(device: &mut DeviceSocket, name: &str, parts: std::slice::Chunks<'_, i64>, seen: &mut Vec<Value>) {
    for rooms in parts {
        rooms.iter().for_each(|room| device.send_json(&send(*room, &format!("{name}-{room}"), "in one of many rooms")));
        let mut waiting = rooms.len();
        while waiting > 0 {
            let frame = device.next_event(s(30)).await.expect("open");
            match frame["type"].as_str() {
                Some("ack") => waiting -= 1,
                Some("chat") => seen.push(frame["chat"].clone()),
                _ => assert_ne!(frame["type"], "error", "{frame}"),
            }
        }
    }
}

/// Row D4.
#[tokio::test]
async fn the_same_client_id_on_both_instances_at_once_is_one_chat() {
    let cluster = Cluster::start(2).await;
    let (ann, bob, room) = cluster.server.api().pair().await;
    let mut devices = Vec::new();
    for n in 0..8 {
        devices.push(cluster.at(n % 2, &ann).device().await);
    }
    let mut listeners = [cluster.at(0, &bob).device().await, cluster.at(1, &bob).device().await];
    for round in 1..=25 {
        let (client_id, content) = (format!("once-{round}"), format!("said once in round {round}"));
        let mut frame = send(room, &client_id, &content);
        frame["ref"] = json!(round);
        devices.iter().for_each(|device| device.send_json(&frame));
        let posts = [cluster.at(0, &ann), cluster.at(1, &ann)];
        let posts = posts.each_ref().map(|person| person.says_once(room, &content, &client_id));
        let mut answers: Vec<_> = futures_util::future::join_all(posts).await.into_iter().map(|a| a.json).collect();
        for device in &mut devices {
            answers.push(acknowledged(device, round).await);
        }
        assert!(answers.iter().all(|chat| *chat == answers[0] && chat["seq"] == round), "round {round}: {answers:#?}");
        for listener in &mut listeners {
            assert_eq!(listener.expect_chat(&content).await, answers[0]);
        }
    }
    for listener in &mut listeners {
        listener.expect_nothing_else().await;
    }
    assert_eq!(cluster.server.dump().await.chats_count().await, 25);
}

/// The chat in the acknowledgement of the frame with this `ref`; events are skipped.
async fn acknowledged(device: &mut DeviceSocket, reference: i64) -> Value {
    loop {
        let frame = device.next(s(10)).await.expect("open");
        if frame["ref"] == reference {
            assert_eq!(frame["type"], "ack", "{frame}");
            return frame["chat"].clone();
        }
    }
}

/// Row N5: an instance dies between commit and publish; the retry at another instance publishes the chat.
#[tokio::test]
async fn a_retry_elsewhere_publishes_what_a_dead_instance_could_not() {
    let _turn = alone().await;
    let mut cluster = Cluster::without_polling(3).await;
    let (ann, bob, room) = cluster.server.api().pair().await;
    let mut listeners = [cluster.at(1, &bob).device().await, cluster.at(2, &bob).device().await];
    let mut room_socket = cluster.at(2, &bob).joins(room).await;
    for round in 1..=3 {
        cluster.wires[0].cut();
        let (client_id, content) = (format!("lost-{round}"), format!("told by the retry in round {round}"));
        let first = cluster.at(0, &ann).says_once(room, &content, &client_id).await.expect(201);
        cluster.server.instance_mut(0).kill9();
        let again = cluster.at(1, &ann).says_once(room, &content, &client_id).await.expect(200);
        assert_eq!(again, first, "the same chat");
        for listener in &mut listeners {
            assert_eq!(listener.expect_chat(&content).await, first);
        }
        room_socket.expect_message(&content).await;
        // And once more, when no device misses it.
        cluster.at(2, &ann).says_once(room, &content, &client_id).await.expect(200);
        cluster.wires[0].heal();
        cluster.server.instance_mut(0).restart().await;
        cluster.all_ready_within(s(5)).await;
    }
    cluster.at(0, &ann).says(room, "the last of all").await;
    for listener in &mut listeners {
        listener.expect_chat("the last of all").await;
        listener.expect_nothing_else().await;
    }
    room_socket.expect_message("the last of all").await;
}

/// Each round, the device connects to an instance chosen at random.
#[tokio::test]
async fn a_device_that_moves_between_instances_misses_no_chat() {
    let server = TestServer::spawn(Db::Cluster).await;
    let (ann, bob, room) = server.api().pair().await;
    let mut acked = Vec::new();
    let mut cursor = 0;
    for round in 0..20 {
        let mut device = bob.device().await;
        let chat = ann.says_once(room, &format!("round {round}"), &format!("m-{round}")).await.expect(201);
        acked.push(Acked::from_chat(&chat, 0, &format!("m-{round}"), &format!("round {round}")));
        device.expect_chat(&format!("round {round}")).await;
        drop(device);
        let missed = ann.says_once(room, "while away", &format!("w-{round}")).await.expect(201);
        acked.push(Acked::from_chat(&missed, 0, &format!("w-{round}"), "while away"));
        let mut again = bob.device().await;
        let pages = again.resume(&[(room, cursor)]).await;
        let seqs: Vec<_> = pages.iter().flat_map(|p| numbers(p["changes"].as_array().unwrap(), "seq")).collect();
        assert_eq!(seqs, [cursor + 1, cursor + 2], "what one saw and what came while away");
        cursor += 2;
    }
    Checker::default().acked(acked).compare_views(room, &ann, &bob).verify(&server).await;
}

#[tokio::test]
async fn chats_cross_both_ways_within_a_second_while_redis_is_up() {
    let _turn = heavy().await;
    let cluster = Cluster::start(2).await;
    let mut there = Crossing::open(&cluster, "there", 0, 1).await;
    let mut back = Crossing::open(&cluster, "back", 1, 0).await;
    let mut all = Vec::new();
    for _ in 0..25 {
        all.extend([there.takes().await.far, back.takes().await.far]);
    }
    all.sort_unstable();
    eprintln!("across: median {:?}, worst {:?}", all[25], all[49]);
    assert!(all[25] < s(1), "{all:?}");
}
