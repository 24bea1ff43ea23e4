//! Rooms that are created and deleted while devices are connected or away, and a chatter with thousands of rooms.

use std::time::Instant;

use serde_json::{Value, json};

use crate::support::account::numbers;
use crate::support::device_checker::{settle, verify};
use crate::support::device_socket::{cursors, send};
use crate::support::wait::s;
use crate::support::{Db, Device, TestServer, alone, on_all};

on_all![
    a_new_room_is_announced_to_every_device_of_both,
    a_deleted_room_is_announced_to_every_device_of_both,
    rooms_created_and_deleted_while_away_are_found_on_return,
    deleting_an_account_with_its_rooms_is_announced,
    a_chatter_with_five_thousand_rooms_signs_in_and_resumes,
];

async fn a_new_room_is_announced_to_every_device_of_both(db: Db) {
    let server = TestServer::spawn(db).await;
    let (ann, bob) = (server.api().person("ann").await, server.api().person("bob").await);
    let mut of_ann = [ann.device().await, ann.device().await];
    let (mut of_bob, mut of_cem) = (bob.device().await, server.api().person("cem").await.device().await);
    let room = ann.room_with(&bob).await;
    for device in &mut of_ann {
        let announced = device.expect("chatroom_created").await["chatroom"].clone();
        let mut shown = ann.room(room).await;
        (shown["opponent"]["online"], shown["opponent"]["last_seen"]) = presence(&announced);
        assert_eq!(announced, shown, "the room as its viewer sees it over REST");
    }
    let announced = of_bob.expect("chatroom_created").await["chatroom"].clone();
    assert_eq!(
        (&announced["id"], &announced["owner"]["id"], &announced["opponent"]["id"]),
        (&json!(room), &json!(ann.id), &json!(bob.id))
    );
    assert_eq!(
        (&announced["version"], &announced["last_seq"], &announced["unread_count"]),
        (&json!(0), &json!(0), &json!(0))
    );
    assert!(announced["receipts"].get(bob.id.to_string()).is_some(), "{announced}");
    let chat = of_bob.says(room, "a", "the first in the new room").await;
    assert_eq!(chat["version"], 1);
    for device in of_ann.iter_mut().chain([&mut of_bob]) {
        device.expect_chat("the first in the new room").await;
        device.expect_nothing_else().await;
    }
    of_cem.expect_nothing_else().await;
    let notes = ann.room_with(&ann).await;
    for device in &mut of_ann {
        assert_eq!(device.expect("chatroom_created").await["chatroom"]["id"], notes);
        device.expect_nothing_else().await;
    }
    ann.post("/api/chatrooms", &json!({"opponent_id": bob.id})).await.problem(409, "chatroom_exists");
    of_bob.expect_nothing_else().await;
}

/// Presence may change between the event and the request.
fn presence(room: &Value) -> (Value, Value) {
    (room["opponent"]["online"].clone(), room["opponent"]["last_seen"].clone())
}

async fn a_deleted_room_is_announced_to_every_device_of_both(db: Db) {
    let server = TestServer::spawn(db).await;
    let (ann, bob, room) = server.api().pair().await;
    let cem = server.api().person("cem").await;
    let other = bob.room_with(&cem).await;
    let mut devices = [ann.device().await, bob.device().await, bob.device().await];
    let mut room_socket = ann.joins(room).await;
    ann.says(room, "what goes with the room").await;
    for device in &mut devices {
        device.expect_chat("what goes with the room").await;
    }
    bob.delete(&format!("/api/chatrooms/{room}")).await.expect(200);
    for device in &mut devices {
        assert_eq!(device.expect("chatroom_deleted").await, json!({"type": "chatroom_deleted", "chatroom_id": room}));
        device.refused(send(room, "late", "into a room that is gone"), "not_found").await;
        device.refused(json!({"type": "typing", "chatroom_id": room, "typing": true}), "not_found").await;
        device.expect_nothing_else().await;
    }
    assert_eq!(room_socket.expect_close(s(5)).await, 4404);
    cem.says(other, "and the others go on").await;
    devices[1].expect_chat("and the others go on").await;
    let again = bob.room_with(&ann).await;
    assert_eq!(devices[0].expect("chatroom_created").await["chatroom"]["id"], again);
}

async fn rooms_created_and_deleted_while_away_are_found_on_return(db: Db) {
    let server = TestServer::spawn(db).await;
    let (ann, bob, stays) = server.api().pair().await;
    let (cem, dan) = (server.api().person("cem").await, server.api().person("dan").await);
    let goes = bob.room_with(&cem).await;
    cem.says(goes, "in a room that goes").await;
    let mut devices = vec![Device::new(&bob, server.ports(), "bob-1")];
    let dump = server.dump().await;
    settle(&mut devices, &dump, &[stays, goes], s(10)).await;
    devices[0].hang_up();
    cem.delete(&format!("/api/chatrooms/{goes}")).await.expect(200);
    let comes = dan.room_with(&bob).await;
    dan.says(comes, "in a room that came").await;
    ann.says(stays, "in a room that stays").await;
    settle(&mut devices, &dump, &[stays, comes], s(10)).await;
    verify(&devices, &dump, &[stays, comes]).await;
    let device = &mut devices[0];
    assert_eq!(device.rooms.keys().copied().collect::<Vec<_>>(), [stays, comes]);
    // And the same while it is there.
    dan.delete(&format!("/api/chatrooms/{comes}")).await.expect(200);
    let live = bob.room_with(&cem).await;
    cem.says(live, "in a room that came live").await;
    // An event of another instance may come later than one that happened after it.
    let start = Instant::now();
    while devices[0].rooms.contains_key(&comes) {
        assert!(start.elapsed() < s(10), "the deletion of room {comes} was not announced");
        devices[0].turn(s(1)).await;
    }
    settle(&mut devices, &dump, &[stays, live], s(10)).await;
    verify(&devices, &dump, &[stays, live]).await;
    assert_eq!(devices[0].rooms.keys().copied().collect::<Vec<_>>(), [stays, live]);
    assert_eq!(devices[0].stats.sockets, 2);
}

async fn deleting_an_account_with_its_rooms_is_announced(db: Db) {
    let server = TestServer::with(db).set("ACCOUNTS__DELETION", "cascade").start().await;
    let (ann, bob, room) = server.api().pair().await;
    let (mut of_ann, mut of_bob) = (ann.device().await, bob.device().await);
    ann.delete("/api/chatters").await.expect(200);
    assert_eq!(of_ann.expect_close(s(5)).await, 4401);
    assert_eq!(of_bob.expect("chatroom_deleted").await["chatroom_id"], room);
}

const ROOMS: i64 = 5_000;
const FIRST: i64 = 10_000;

async fn a_chatter_with_five_thousand_rooms_signs_in_and_resumes(db: Db) {
    let _turn = alone().await;
    let server = TestServer::spawn(db).await;
    let ann = server.api().person("ann").await;
    let dump = server.dump().await;
    dump.add_rooms(ann.id, FIRST..FIRST + ROOMS).await;
    for room in FIRST..FIRST + 20 {
        dump.add_chats(room, room, 1..=50).await;
    }
    let start = Instant::now();
    let mut device = ann.device().await;
    let signed_in = start.elapsed();
    assert_eq!(numbers(&device.rooms, "id"), (FIRST..FIRST + ROOMS).collect::<Vec<_>>(), "each once, by id");
    assert_eq!(device.ready["unread_total"], 20 * 50);
    assert!(signed_in < s(10), "signed in after {signed_in:?}");
    for from in (FIRST..FIRST + ROOMS).step_by(500) {
        let part: Vec<_> = (from..from + 500).map(|room| (room, 0)).collect();
        device.send_json(&json!({"type": "resume", "ref": from, "chatrooms": cursors(&part)}));
    }
    let (mut pages, mut rows, mut resumed) = (0, 0, 0);
    while resumed < ROOMS / 500 {
        let frame = device.next(s(20)).await.unwrap_or_else(|| panic!("closed {:?}", device.close_code()));
        match frame["type"].as_str() {
            Some("changes") => {
                pages += 1;
                rows += frame["changes"].as_array().map_or(0, Vec::len);
            }
            Some("resumed") => resumed += 1,
            _ => assert_eq!(frame["type"], "presence", "{frame}"),
        }
    }
    assert!(pages >= ROOMS && rows == 20 * 50, "{pages} pages with {rows} rows");
    assert!(device.largest() <= 131_072, "{} bytes in one frame", device.largest());
    let chat = device.says(FIRST, "a", "and live from there on").await;
    assert_eq!((&chat["seq"], &chat["version"]), (&json!(51), &json!(51)));
    device.expect_chat("and live from there on").await;
}
