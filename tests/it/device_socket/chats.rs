//! Chats over device sockets: sent, edited and deleted, and delivered to every device of both chatters.

use serde_json::{Value, json};

use crate::support::account::{contents, numbers};
use crate::support::device_socket::send;
use crate::support::wait::s;
use crate::support::{Db, DeviceSocket, TestServer, on_all};

on_all![
    a_chat_is_acknowledged_and_reaches_every_device_of_both,
    chats_of_any_transport_reach_devices_and_chatroom_sockets,
    edits_and_deletions_are_acknowledged_and_reach_every_device,
    only_the_sender_may_change_a_chat_and_only_until_it_is_deleted,
    strangers_get_no_access_over_a_socket,
    notes_to_self_reach_each_own_device_once,
    sixty_four_frames_in_flight_keep_their_order,
    chats_to_a_deleted_account_are_refused,
    events_of_a_room_reach_its_two_chatters_only,
];

async fn a_chat_is_acknowledged_and_reaches_every_device_of_both(db: Db) {
    let server = TestServer::spawn(db).await;
    let (ann, bob, room) = server.api().pair().await;
    let mut devices = [ann.device().await, ann.device().await, bob.device().await, bob.device().await];
    let ack = devices[0].ask(send(room, "a-1", "told to all four")).await;
    let chat = ack["chat"].clone();
    let shown = ann.get(&format!("/api/chats/{}", chat["id"])).await.expect(200);
    assert_eq!((&ack["type"], &chat), (&json!("ack"), &shown), "the chat as REST shows it");
    assert_eq!(ack.as_object().map(|a| a.len()), Some(3), "type, ref and chat: {ack}");
    assert_eq!((&chat["client_id"], &chat["seq"], &chat["version"]), (&json!("a-1"), &json!(1), &json!(1)));
    for device in &mut devices {
        assert_eq!(device.expect("chat").await, json!({"type": "chat", "chat": shown}));
        device.expect_nothing_else().await;
    }
    devices[3].send_json(&send(room, "b-1", "without a ref"));
    let (mut acked, mut received) = (None, None);
    while acked.is_none() || received.is_none() {
        let frame = devices[3].next(s(10)).await.expect("open");
        match frame["type"].as_str() {
            Some("ack") => acked = Some(frame),
            Some("chat") => received = Some(frame),
            _ => {}
        }
    }
    let (acked, received) = (acked.unwrap(), received.unwrap());
    assert_eq!((acked.get("ref"), &acked["chat"]), (None, &received["chat"]));
}

async fn chats_of_any_transport_reach_devices_and_chatroom_sockets(db: Db) {
    let server = TestServer::spawn(db).await;
    let (ann, bob, room) = server.api().pair().await;
    let (mut room_socket, mut device) = (ann.joins_with_events(room).await, bob.device().await);
    device.says(room, "a", "from a device").await;
    room_socket.expect_message("from a device").await;
    device.expect_chat("from a device").await;
    room_socket.send_with_client_id("from a chatroom socket", "s");
    let by_room_socket = room_socket.expect_message("from a chatroom socket").await;
    let chat = device.expect_chat("from a chatroom socket").await;
    assert_eq!((&chat["id"], &chat["client_id"], &chat["seq"]), (&by_room_socket["id"], &json!("s"), &json!(2)));
    let posted = bob.says(room, "from REST").await;
    room_socket.expect_message("from REST").await;
    assert_eq!(device.expect_chat("from REST").await, posted);
    let edit = json!({"type": "edit", "chat_id": posted["id"], "content": "edited on a device"});
    device.ask(edit).await;
    assert_eq!(room_socket.expect_event("edited").await["id"], posted["id"]);
    assert_eq!(device.expect("chat_edited").await["chat"]["version"], 4);
    device.ask(json!({"type": "delete", "chat_id": posted["id"]})).await;
    assert_eq!(room_socket.expect_event("deleted").await["version"], 5);
    assert_eq!(device.expect("chat_deleted").await["version"], 5);
    device.expect_nothing_else().await;
}

async fn edits_and_deletions_are_acknowledged_and_reach_every_device(db: Db) {
    let server = TestServer::spawn(db).await;
    let (ann, bob, room) = server.api().pair().await;
    let mut devices = [ann.device().await, ann.device().await, bob.device().await];
    let chat = devices[0].says(room, "a", "as it was at first").await;
    // A device that reads changes later finds only the last change of a chat: so each is received before the next.
    for device in &mut devices {
        device.expect_chat("as it was at first").await;
    }
    let ack = devices[0].ask(json!({"type": "edit", "chat_id": chat["id"], "content": "as it is now"})).await;
    let edited = ann.get(&format!("/api/chats/{}", chat["id"])).await.expect(200);
    assert_eq!((&ack["type"], &ack["chat"]), (&json!("ack"), &edited));
    assert_eq!(
        (&edited["content"], &edited["version"], &edited["seq"]),
        (&json!("as it is now"), &json!(2), &json!(1))
    );
    for device in &mut devices {
        assert_eq!(device.expect("chat_edited").await, json!({"type": "chat_edited", "chat": edited}));
    }
    let ack = devices[0].ask(json!({"type": "delete", "chat_id": chat["id"]})).await;
    let gone = &ack["chat"];
    assert_eq!((&gone["id"], &gone["content"], &gone["deleted"]), (&chat["id"], &json!(""), &json!(true)), "{ack}");
    assert_eq!((&gone["version"], &gone["seq"], &gone["client_id"]), (&json!(3), &json!(1), &json!("a")));
    for device in &mut devices {
        let deleted = device.expect("chat_deleted").await;
        for (key, value) in [("chatroom_id", json!(room)), ("chat_id", chat["id"].clone()), ("seq", json!(1))] {
            assert_eq!(deleted[key], value, "{deleted}");
        }
        assert_eq!(deleted["version"], 3);
        assert!(!deleted.to_string().contains("as it"), "no content: {deleted}");
        device.expect_nothing_else().await;
    }
}

async fn only_the_sender_may_change_a_chat_and_only_until_it_is_deleted(db: Db) {
    let server = TestServer::spawn(db).await;
    let (ann, bob, room) = server.api().pair().await;
    let (mut one, mut two) = (ann.device().await, bob.device().await);
    let chat = one.says(room, "a", "written by one of the two").await;
    // Before any other change in the room: a device that reads changes later would find the chat deleted.
    two.expect("chat").await;
    let edit = |id: &Value| json!({"type": "edit", "chat_id": id, "content": "written by somebody else"});
    let delete = |id: &Value| json!({"type": "delete", "chat_id": id});
    two.refused(edit(&chat["id"]), "not_yours").await;
    two.refused(delete(&chat["id"]), "not_yours").await;
    one.ask(delete(&chat["id"])).await;
    for id in [chat["id"].clone(), json!(999_999), json!(-1), json!(0), json!(i64::MAX)] {
        one.refused(edit(&id), "not_found").await;
        one.refused(delete(&id), "not_found").await;
    }
    two.refused(edit(&chat["id"]), "not_found").await;
    two.expect("chat_deleted").await;
    two.expect_nothing_else().await;
}

async fn strangers_get_no_access_over_a_socket(db: Db) {
    let server = TestServer::spawn(db).await;
    let (ann, bob, room) = server.api().pair().await;
    let stranger = server.api().person("cem").await;
    let chat = ann.says(room, "between the two of them").await;
    let (mut device, mut of_ann, mut of_bob) = (stranger.device().await, ann.device().await, bob.device().await);
    for id in [room, 999_999, 0, -1, i64::MAX] {
        device.refused(send(id, "a", "from somebody strange"), "not_found").await;
        let receipt = json!({"type": "receipt", "chatroom_id": id, "delivered_seq": 1, "read_seq": 1});
        device.refused(receipt, "not_found").await;
        device.refused(json!({"type": "typing", "chatroom_id": id, "typing": true}), "not_found").await;
        let received = device.resume(&[(id.max(0), 0)]).await;
        assert_eq!(received, [json!({"type": "chatroom_deleted", "chatroom_id": id.max(0)})], "as if there were none");
    }
    let edit = json!({"type": "edit", "chat_id": chat["id"], "content": "by somebody strange"});
    device.refused(edit, "not_found").await;
    device.refused(json!({"type": "delete", "chat_id": chat["id"]}), "not_found").await;
    ann.says(room, "and nothing was told").await;
    for socket in [&mut of_ann, &mut of_bob] {
        socket.expect_chat("and nothing was told").await;
    }
    device.expect_nothing_else().await;
    assert_eq!(device.until_pong().await, Vec::<Value>::new(), "nor presence");
    let dump = server.dump().await;
    assert!(dump.members(room).await.iter().all(|m| (m.delivered_seq, m.read_seq) == (0, 0)));
    assert_eq!(contents(&ann.history(room).await), ["between the two of them", "and nothing was told"]);
}

/// The next frame of each device is this event: no receipt, presence or typing comes before it.
async fn expect_next_events(devices: &mut [DeviceSocket], kind: &str, seq: i64) {
    for device in devices {
        let frame = device.next_event(s(10)).await.expect("open");
        let chat = frame.get("chat").unwrap_or(&frame);
        assert_eq!((&frame["type"], &chat["seq"]), (&json!(kind), &json!(seq)), "{frame}");
    }
}

async fn notes_to_self_reach_each_own_device_once(db: Db) {
    let server = TestServer::spawn(db).await;
    let ann = server.api().person("ann").await;
    let notes = ann.room_with(&ann).await;
    let mut devices = [ann.device().await, ann.device().await];
    let chat = devices[0].says(notes, "a", "milk, bread, a bicycle").await;
    assert_eq!((&chat["sender_id"], &chat["receiver_id"]), (&json!(ann.id), &json!(ann.id)));
    expect_next_events(&mut devices, "chat", 1).await;
    devices[0].ask(json!({"type": "edit", "chat_id": chat["id"], "content": "milk and bread"})).await;
    expect_next_events(&mut devices, "chat_edited", 1).await;
    devices[0].ask(json!({"type": "delete", "chat_id": chat["id"]})).await;
    expect_next_events(&mut devices, "chat_deleted", 1).await;
    devices[0].send_json(&json!({"type": "receipt", "chatroom_id": notes, "delivered_seq": 1, "read_seq": 1}));
    devices[0].send_json(&json!({"type": "typing", "chatroom_id": notes, "typing": true}));
    devices[0].says(notes, "b", "the end of the notes").await;
    expect_next_events(&mut devices, "chat", 2).await;
    let again = ann.device().await;
    assert_eq!((&again.listed(notes)["unread_count"], &again.ready["unread_total"]), (&json!(0), &json!(0)));
}

async fn sixty_four_frames_in_flight_keep_their_order(db: Db) {
    let server = TestServer::spawn(db).await;
    let (ann, bob, room) = server.api().pair().await;
    let (mut one, mut two) = (ann.device().await, bob.device().await);
    for n in 0..64 {
        let mut frame = send(room, &format!("n-{n}"), &format!("in flight number {n}"));
        frame["ref"] = json!(n);
        one.send_json(&frame);
    }
    let (mut acked, mut received) = (Vec::new(), Vec::new());
    while acked.len() < 64 || received.len() < 64 {
        let frame = one.next(s(20)).await.expect("open");
        match frame["type"].as_str() {
            Some("ack") => acked.push(frame),
            Some("chat") => received.push(frame["chat"].clone()),
            Some("receipt" | "presence") => {}
            _ => panic!("unexpected: {frame}"),
        }
    }
    assert_eq!(numbers(&acked, "ref"), (0..64).collect::<Vec<_>>());
    let chats: Vec<_> = acked.iter().map(|ack| ack["chat"].clone()).collect();
    assert_eq!(chats, received, "acknowledged and received in the same order");
    assert_eq!(numbers(&received, "version"), (1..=64).collect::<Vec<_>>());
    for chat in &received {
        assert_eq!(two.expect("chat").await["chat"], *chat);
    }
}

async fn chats_to_a_deleted_account_are_refused(db: Db) {
    let server = TestServer::spawn(db).await;
    let (ann, bob, room) = server.api().pair().await;
    let mut device = ann.device().await;
    let chat = device.says(room, "a", "while both were there").await;
    bob.delete("/api/chatters").await.expect(200);
    let problem = device.refused(send(room, "b", "to one who is gone"), "receiver_deleted").await;
    assert_eq!(problem["status"], 422);
    device.expect_chat("while both were there").await;
    let mut again = ann.device().await;
    assert_eq!(again.listed(room)["last_seq"], 1, "the conversation stays");
    let ack = again.ask(json!({"type": "delete", "chat_id": chat["id"]})).await;
    assert_eq!(ack["chat"]["deleted"], true, "one's own chats can still be deleted: {ack}");
    device.expect("chat_deleted").await;
}

async fn events_of_a_room_reach_its_two_chatters_only(db: Db) {
    let server = TestServer::spawn(db).await;
    let (ann, bob, room) = server.api().pair().await;
    let cem = server.api().person("cem").await;
    let with_cem = ann.room_with(&cem).await;
    let (mut of_bob, mut of_cem, mut of_ann) = (bob.device().await, cem.device().await, ann.device().await);
    of_ann.says(room, "a", "for bob and nobody else").await;
    of_ann.says(with_cem, "b", "for cem and nobody else").await;
    of_bob.expect_chat("for bob and nobody else").await;
    of_cem.expect_chat("for cem and nobody else").await;
    of_bob.expect_nothing_else().await;
    of_cem.expect_nothing_else().await;
    of_ann.expect_chat("for bob and nobody else").await;
    of_ann.expect_chat("for cem and nobody else").await;
}
