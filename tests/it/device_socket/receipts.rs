//! Watermarks over device sockets: which devices receive them, and how many chats are unread (promise 8).

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::device_socket::{DeviceSocket, send};
use crate::support::fcm::FcmStandIn;
use crate::support::wait::s;
use crate::support::{Db, Person, TestServer, eventually, on_all};

on_all![
    a_receipt_reaches_the_other_and_ones_own_devices_with_counts,
    watermarks_move_forward_only_and_not_beyond_the_last_chat,
    the_unread_count_is_the_same_in_ready_over_rest_and_in_receipts,
    a_deleted_unread_chat_is_no_longer_counted,
    unread_is_counted_up_to_a_thousand,
    sending_marks_delivered_chats_as_read,
    e13_sending_marks_as_read_what_the_own_devices_were_shown_before,
    a_receipt_over_rest_reaches_devices_too,
    a_chatter_who_hides_receipts_causes_no_receipt_events;
    but_single:
    // Each instance counts presence on its own: two of them may send it twice.
    a_chatter_with_one_open_device_stays_online_and_gets_no_push,
];

fn receipt(room: i64, delivered: i64, read: i64) -> Value {
    json!({"type": "receipt", "chatroom_id": room, "delivered_seq": delivered, "read_seq": read})
}

/// Reads on, past anything, to the receipt of this chatter with these marks.
async fn marked(socket: &mut DeviceSocket, chatter: i64, (delivered, read): (i64, i64)) -> Value {
    loop {
        let frame = socket.next(s(10)).await.unwrap_or_else(|| panic!("closed {:?}", socket.close_code()));
        let marks = (frame["delivered_seq"].as_i64(), frame["read_seq"].as_i64());
        if frame["type"] == "receipt" && frame["chatter_id"] == chatter && marks == (Some(delivered), Some(read)) {
            return frame;
        }
    }
}

async fn some_chats(person: &Person, room: i64, count: usize) {
    for n in 1..=count {
        person.says(room, &format!("number {n} to be read")).await;
    }
}

async fn a_receipt_reaches_the_other_and_ones_own_devices_with_counts(db: Db) {
    let server = TestServer::spawn(db).await;
    let (ann, bob, room) = server.api().pair().await;
    let cem = server.api().person("cem").await;
    let with_cem = bob.room_with(&cem).await;
    some_chats(&ann, room, 3).await;
    some_chats(&cem, with_cem, 2).await;
    let (mut phone, mut desk) = (bob.device().await, bob.device().await);
    let (mut of_ann, mut of_cem) = (ann.device().await, cem.device().await);
    phone.send_json(&receipt(room, 3, 2));
    let received = marked(&mut of_ann, bob.id, (3, 2)).await;
    let expected = json!({
        "type": "receipt", "chatroom_id": room, "chatter_id": bob.id, "delivered_seq": 3, "read_seq": 2
    });
    assert_eq!(received, expected, "no counts for the other");
    for device in [&mut desk, &mut phone] {
        let own = marked(device, bob.id, (3, 2)).await;
        let counts = [("unread_count", 1), ("unread_total", 3), ("version", 3), ("last_seq", 3)];
        for (key, value) in counts {
            assert_eq!(own[key], value, "{key}: {own}");
        }
    }
    let path = format!("/api/chatrooms/{room}/chats");
    cem.get(&path).await.problem(404, "not_found");
    let received = of_cem.until_pong().await;
    assert!(received.iter().all(|frame| frame["type"] == "presence"), "{received:?}");
    assert_eq!(bob.marks(room).await, (3, 2), "stored");
}

async fn watermarks_move_forward_only_and_not_beyond_the_last_chat(db: Db) {
    let server = TestServer::spawn(db).await;
    let (ann, bob, room) = server.api().pair().await;
    some_chats(&ann, room, 5).await;
    let (mut device, mut other) = (bob.device().await, ann.device().await);
    device.send_json(&json!({"type": "receipt", "chatroom_id": room, "delivered_seq": 2}));
    marked(&mut other, bob.id, (2, 0)).await;
    device.send_json(&json!({"type": "receipt", "chatroom_id": room, "read_seq": 3}));
    marked(&mut other, bob.id, (3, 3)).await;
    device.send_json(&receipt(room, 1, 1));
    device.send_json(&json!({"type": "receipt", "chatroom_id": room, "delivered_seq": 3, "read_seq": 2}));
    device.send_json(&json!({"type": "receipt", "chatroom_id": room}));
    device.send_json(&receipt(room, 4, 9_000_000_000));
    // Stale watermarks are ignored: the next receipt lies ahead, capped at the last chat. The previous receipt may come
    // once more, since an instance sends again what the others may have missed.
    let mut next = other.expect("receipt").await;
    while (&next["delivered_seq"], &next["read_seq"]) == (&json!(3), &json!(3)) {
        next = other.expect("receipt").await;
    }
    assert_eq!((&next["delivered_seq"], &next["read_seq"]), (&json!(5), &json!(5)), "{next}");
    assert_eq!(bob.marks(room).await, (5, 5));
    some_chats(&ann, room, 1).await;
    device.expect("chat").await;
    eventually("what came later is unread", s(5), || async {
        (bob.room(room).await["unread_count"] == 1).then_some(())
    })
    .await;
    for bad in [receipt(room, -1, 0), receipt(room, 0, -1)] {
        device.send_json(&bad);
        let error = device.expect("error").await;
        assert!(matches!(error["problem"]["status"].as_u64(), Some(400 | 422)), "{error}");
    }
    assert_eq!(bob.marks(room).await, (5, 5));
}

async fn the_unread_count_is_the_same_in_ready_over_rest_and_in_receipts(db: Db) {
    let server = TestServer::spawn(db).await;
    let (ann, bob, room) = server.api().pair().await;
    let cem = server.api().person("cem").await;
    let with_cem = bob.room_with(&cem).await;
    some_chats(&ann, room, 4).await;
    some_chats(&cem, with_cem, 3).await;
    bob.says(with_cem, "one's own are never unread").await;
    let mut watching = bob.device().await;
    for (read, left) in [(1, 3), (3, 1), (4, 0)] {
        watching.send_json(&receipt(room, read, read));
        let own = marked(&mut watching, bob.id, (read, read)).await;
        assert_eq!((&own["unread_count"], &own["unread_total"]), (&json!(left), &json!(left + 3)));
        let fresh = bob.device().await;
        assert_eq!(fresh.listed(room)["unread_count"], left);
        assert_eq!(fresh.listed(with_cem)["unread_count"], 3);
        assert_eq!(fresh.ready["unread_total"], left + 3);
        assert_eq!(bob.room(room).await["unread_count"], left);
    }
    assert_eq!(ann.device().await.ready["unread_total"], 0);
}

async fn a_deleted_unread_chat_is_no_longer_counted(db: Db) {
    let server = TestServer::spawn(db).await;
    let (ann, bob, room) = server.api().pair().await;
    some_chats(&ann, room, 4).await;
    let chats = ann.history(room).await;
    let mut device = bob.device().await;
    device.send_json(&receipt(room, 4, 1));
    assert_eq!(marked(&mut device, bob.id, (4, 1)).await["unread_count"], 3);
    for at in [0, 2] {
        ann.delete(&format!("/api/chats/{}", chats[at]["id"])).await.expect(200);
        device.expect("chat_deleted").await;
    }
    let fresh = bob.device().await;
    assert_eq!((&fresh.listed(room)["unread_count"], &fresh.listed(room)["version"]), (&json!(2), &json!(6)));
    device.send_json(&receipt(room, 4, 2));
    let own = marked(&mut device, bob.id, (4, 2)).await;
    assert_eq!((&own["unread_count"], &own["version"], &own["last_seq"]), (&json!(1), &json!(6), &json!(4)));
}

async fn unread_is_counted_up_to_a_thousand(db: Db) {
    let server = TestServer::spawn(db).await;
    let (ann, bob, room) = server.api().pair().await;
    server.dump().await.add_chats(room, ann.id, 1..=1_500).await;
    let mut device = bob.device().await;
    assert_eq!((&device.listed(room)["unread_count"], &device.ready["unread_total"]), (&json!(1_000), &json!(1_000)));
    for (read, left) in [(100, 1_000), (501, 999), (1_500, 0)] {
        device.send_json(&receipt(room, read, read));
        let own = marked(&mut device, bob.id, (read, read)).await;
        assert_eq!((&own["unread_count"], &own["unread_total"]), (&json!(left), &json!(left)));
    }
}

async fn sending_marks_delivered_chats_as_read(db: Db) {
    let server = TestServer::spawn(db).await;
    let (ann, bob, room) = server.api().pair().await;
    some_chats(&ann, room, 3).await;
    let (mut device, mut other) = (bob.device().await, ann.device().await);
    device.says(room, "a", "an answer before anything was delivered").await;
    assert_eq!(bob.marks(room).await.1, 0, "at most to what was delivered");
    device.send_json(&json!({"type": "receipt", "chatroom_id": room, "delivered_seq": 2}));
    marked(&mut other, bob.id, (2, 0)).await;
    device.says(room, "b", "an answer to the two that were").await;
    let own = marked(&mut device, bob.id, (2, 2)).await;
    assert_eq!(own["unread_count"], 1, "{own}");
    marked(&mut other, bob.id, (2, 2)).await;
    assert_eq!(bob.marks(room).await, (2, 2));
}

async fn a_receipt_over_rest_reaches_devices_too(db: Db) {
    let server = TestServer::spawn(db).await;
    let (ann, bob, room) = server.api().pair().await;
    some_chats(&ann, room, 2).await;
    let (mut own, mut other) = (bob.device().await, ann.device().await);
    bob.put(&format!("/api/chatrooms/{room}/receipt"), &json!({"read_seq": 1})).await.expect(200);
    assert_eq!(marked(&mut own, bob.id, (1, 1)).await["unread_count"], 1);
    marked(&mut other, bob.id, (1, 1)).await;
    bob.history(room).await;
    marked(&mut other, bob.id, (2, 1)).await;
    let mut room_socket = bob.joins(room).await;
    ann.says(room, "proven by a pong").await;
    room_socket.expect_message("proven by a pong").await;
    tokio::spawn(async move { while room_socket.next(s(30)).await.is_some() {} });
    marked(&mut other, bob.id, (3, 1)).await;
}

async fn a_chatter_who_hides_receipts_causes_no_receipt_events(db: Db) {
    let server = TestServer::spawn(db).await;
    let (ann, bob, room) = server.api().pair().await;
    some_chats(&ann, room, 3).await;
    let changed = bob.put("/api/chatters", &json!({"show_receipts": false})).await.expect(200);
    assert_eq!(changed["show_receipts"], false);
    let (mut own, mut other) = (bob.device().await, ann.device().await);
    assert_eq!(own.ready["chatter"]["show_receipts"], false);
    assert!(own.listed(room)["receipts"].get(bob.id.to_string()).is_some(), "one's own are there for oneself");
    assert!(other.listed(room)["receipts"].get(bob.id.to_string()).is_none(), "{}", other.listed(room));
    assert!(ann.room(room).await["receipts"].get(bob.id.to_string()).is_none());
    own.send_json(&receipt(room, 3, 2));
    assert_eq!(marked(&mut own, bob.id, (3, 2)).await["unread_count"], 1);
    bob.put("/api/chatters", &json!({"show_receipts": true})).await.expect(200);
    own.send_json(&receipt(room, 3, 3));
    // The first receipt is the one that was sent after receipts were shown again.
    let received = other.expect("receipt").await;
    assert_eq!((&received["chatter_id"], &received["read_seq"]), (&json!(bob.id), &json!(3)), "{received}");
}

/// Row D6.
async fn a_chatter_with_one_open_device_stays_online_and_gets_no_push(db: Db) {
    let fcm = FcmStandIn::start();
    let server = TestServer::with(db).pushes_to(&fcm).start().await;
    let (ann, bob, room) = server.api().pair().await;
    let elsewhere = bob.signed_in_again().await;
    bob.put("/api/chatters", &json!({"fcm_reg_id": "device-of-bob-d6"})).await.expect(200);
    let mut of_ann = ann.device().await;
    let (phone, mut desk) = (bob.device().await, elsewhere.device().await);
    assert_eq!(of_ann.expect("presence").await["online"], true);
    phone.close();
    of_ann.says(room, "a", "to the device that is left").await;
    desk.expect_chat("to the device that is left").await;
    desk.send_json(&receipt(room, 1, 0));
    let dump = server.dump().await;
    let settled = || async { dump.outbox(room).await.is_empty().then_some(()) };
    eventually("what was confirmed is settled", s(15), settled).await;
    assert!(fcm.sent_to("device-of-bob-d6").is_empty(), "no push for what was confirmed");
    let shown = ann.get(&format!("/api/chatters/{}", bob.id)).await.expect(200);
    assert_eq!(shown["online"], true, "{shown}");
    assert!(!of_ann.drain().iter().any(|frame| frame["type"] == "presence"), "no chatter went offline");
    desk.close();
    let gone = of_ann.expect("presence").await;
    assert_eq!((&gone["chatter_id"], &gone["online"]), (&json!(bob.id), &json!(false)));
    of_ann.says(room, "b", "to one who is away").await;
    eventually("the push", s(15), || async { (!fcm.sent_to("device-of-bob-d6").is_empty()).then_some(()) }).await;
}

#[tokio::test]
async fn receipts_of_many_frames_are_batched_and_the_last_one_counts() {
    let server = TestServer::spawn(Db::Sqlite).await;
    let (ann, bob, room) = server.api().pair().await;
    some_chats(&ann, room, 40).await;
    let (mut device, mut other) = (bob.device().await, ann.device().await);
    for read in 1..=40 {
        device.send_json(&receipt(room, read, read));
    }
    marked(&mut other, bob.id, (40, 40)).await;
    assert_eq!(marked(&mut device, bob.id, (40, 40)).await["unread_total"], 0);
    let received = other.until_pong().await.len();
    assert_eq!(received, 0, "nothing after the last");
    // Chats that are sent meanwhile do not wait for the receipts.
    for n in 0..20 {
        device.send_json(&receipt(room, 40, 40));
        device.send_json(&send(room, &format!("n-{n}"), "in between the receipts"));
    }
    let start = std::time::Instant::now();
    for _ in 0..20 {
        other.expect_chat("in between the receipts").await;
    }
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}

async fn e13_sending_marks_as_read_what_the_own_devices_were_shown_before(db: Db) {
    let server = TestServer::spawn(db).await;
    let (ann, bob, room) = server.api().pair().await;
    let mut device = bob.device().await;
    some_chats(&ann, room, 15).await;
    for n in 1..=15 {
        device.expect_chat(&format!("number {n} to be read")).await;
    }
    // The device has not confirmed them yet when its chatter sends by REST.
    bob.says(room, "an answer by REST").await;
    device.expect_chat("an answer by REST").await;
    ann.says(room, "a chat behind the answer").await;
    device.expect_chat("a chat behind the answer").await;
    device.send_json(&json!({"type": "receipt", "chatroom_id": room, "delivered_seq": 17}));
    let own = marked(&mut device, bob.id, (17, 16)).await;
    assert_eq!((&own["unread_count"], &own["unread_total"]), (&json!(1), &json!(1)), "the chat behind the answer");
    bob.says(room, "an answer to what is confirmed").await;
    let own = marked(&mut device, bob.id, (17, 17)).await;
    assert_eq!(own["unread_count"], 0, "{own}");
}
