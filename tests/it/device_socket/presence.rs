//! Presence and typing over device sockets: only chatters who share a room receive them.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::frames::Received;
use crate::support::proxy::Proxy;
use crate::support::wait::s;
use crate::support::{Db, DeviceSocket, Person, TestServer, eventually, on_all};

on_all![
    a_chatroom_socket_counts_as_online,
    a_chatter_who_hides_last_seen_causes_no_presence_events,
    typing_reaches_the_opponent_only,
    typing_ends_by_timeout_by_a_chat_or_by_a_frame,
    // Another instance shows it a moment later: `cluster::presence`.
    ; but_single:
    online_and_offline_events_reach_chatters_who_share_a_room,
    presence_is_in_bodies_for_chatters_who_share_a_room,
];

/// Reads on to the next presence event of this chatter.
async fn expect_presence(socket: &mut DeviceSocket, who: &Person) -> Value {
    loop {
        let frame = socket.expect("presence").await;
        if frame["chatter_id"] == who.id {
            return frame;
        }
    }
}

fn typing(room: i64, typing: bool) -> Value {
    json!({"type": "typing", "chatroom_id": room, "typing": typing})
}

fn is_time(value: &Value) -> bool {
    value.as_str().is_some_and(|text| text.ends_with('Z'))
}

async fn online_and_offline_events_reach_chatters_who_share_a_room(db: Db) {
    let server = TestServer::spawn(db).await;
    let (ann, bob, _) = server.api().pair().await;
    let cem = server.api().person("cem").await;
    let (mut watching, mut stranger) = (ann.device().await, cem.device().await);
    let (first, second) = (bob.device().await, bob.device().await);
    let here = expect_presence(&mut watching, &bob).await;
    assert_eq!(here["online"], true, "{here}");
    assert!(here["last_seen"].is_null() || is_time(&here["last_seen"]), "{here}");
    first.close();
    second.close();
    let gone = expect_presence(&mut watching, &bob).await;
    assert_eq!(gone["online"], false, "once, when the last device went: {gone}");
    assert!(is_time(&gone["last_seen"]), "{gone}");
    assert_eq!(gone.as_object().map(|frame| frame.len()), Some(4), "{gone}");
    let back = bob.device().await;
    let again = expect_presence(&mut watching, &bob).await;
    assert_eq!(again["online"], true, "{again}");
    drop(back);
    assert_eq!(expect_presence(&mut watching, &bob).await["online"], false, "also without a close frame");
    assert_eq!(stranger.until_pong().await, Vec::<Value>::new(), "not to strangers");
    let room = cem.room_with(&bob).await;
    assert_eq!(stranger.expect("chatroom_created").await["chatroom"]["id"], room);
    let _back = bob.device().await;
    assert_eq!(expect_presence(&mut stranger, &bob).await["online"], true, "from the first room on");
}

async fn presence_is_in_bodies_for_chatters_who_share_a_room(db: Db) {
    let server = TestServer::spawn(db).await;
    let (ann, bob, room) = server.api().pair().await;
    let cem = server.api().person("cem").await;
    let of_bob = format!("/api/chatters/{}", bob.id);
    let shown = ann.get(&of_bob).await.expect(200);
    assert_eq!((&shown["online"], &shown["last_seen"]), (&json!(false), &Value::Null), "never seen: {shown}");
    let device = bob.device().await;
    let online = |person: Person, online: bool| {
        let path = of_bob.clone();
        async move { person.get(&path).await.expect(200)["online"] == online }
    };
    eventually("bob is shown online", s(5), || async { online(ann.clone(), true).await.then_some(()) }).await;
    let opponent = ann.room(room).await["opponent"].clone();
    assert_eq!((&opponent["id"], &opponent["online"]), (&json!(bob.id), &json!(true)), "{opponent}");
    for listed in [ann.get("/api/chatters?query=bob").await, ann.get("/api/chatters").await] {
        let all = listed.expect(200);
        let bob_there = all.as_array().unwrap().iter().find(|c| c["id"] == bob.id).unwrap();
        assert_eq!(bob_there["online"], true, "{bob_there}");
    }
    device.close();
    eventually("bob is shown offline", s(5), || async { online(ann.clone(), false).await.then_some(()) }).await;
    eventually("when bob was last seen is shown", s(5), || async {
        is_time(&ann.get(&of_bob).await.expect(200)["last_seen"]).then_some(())
    })
    .await;
    let strange = cem.get(&of_bob).await.expect(200);
    assert!(strange.get("online").is_none() && strange.get("last_seen").is_none(), "{strange}");
    let open = server.api().get("/api/chatters?query=bob").await.expect(200);
    assert!(open[0].get("online").is_none() && open[0].get("last_seen").is_none(), "{open}");
    let own = bob.get("/api/chatters/me").await.expect(200);
    assert_eq!((&own["show_last_seen"], &own["show_receipts"]), (&json!(true), &json!(true)), "{own}");
}

async fn a_chatroom_socket_counts_as_online(db: Db) {
    let server = TestServer::spawn(db).await;
    let (ann, bob, room) = server.api().pair().await;
    let mut watching = ann.device().await;
    let room_socket = bob.joins(room).await;
    assert_eq!(expect_presence(&mut watching, &bob).await["online"], true);
    let device = bob.device().await;
    room_socket.close();
    ann.says(room, "and no chatter has gone offline yet").await;
    // An instance that Redis does not answer in time sends `online` once more.
    let mut received = watching.next_event(s(10)).await.expect("a frame");
    while received["type"] == "presence" {
        assert_eq!(received["online"], true, "{received}");
        received = watching.next_event(s(10)).await.expect("a frame");
    }
    assert_eq!(received["chat"]["content"], "and no chatter has gone offline yet", "{received}");
    device.close();
    while expect_presence(&mut watching, &bob).await["online"] != false {}
}

async fn a_chatter_who_hides_last_seen_causes_no_presence_events(db: Db) {
    let server = TestServer::spawn(db).await;
    let (ann, bob, room) = server.api().pair().await;
    let changed = bob.put("/api/chatters", &json!({"show_last_seen": false})).await.expect(200);
    assert_eq!((&changed["show_last_seen"], &changed["show_receipts"]), (&json!(false), &json!(true)), "{changed}");
    let mut watching = ann.device().await;
    let mut hidden = bob.device().await;
    hidden.says(room, "a", "here, and no event was sent").await;
    let received = watching.next_event(s(10)).await.expect("a frame");
    assert_eq!(received["type"], "chat", "{received}");
    for body in
        [ann.get(&format!("/api/chatters/{}", bob.id)).await.expect(200), ann.room(room).await["opponent"].clone()]
    {
        assert!(body.get("online").is_none() && body.get("last_seen").is_none(), "{body}");
    }
    hidden.close();
    for bad in [json!({"show_last_seen": "no"}), json!({"show_receipts": 1})] {
        assert!(matches!(bob.put("/api/chatters", &bad).await.status, 400 | 422), "{bad}");
    }
    bob.put("/api/chatters", &json!({"show_last_seen": true})).await.expect(200);
    let _shown = bob.device().await;
    let next = expect_presence(&mut watching, &bob).await;
    assert_eq!(next["online"], true, "no event before: {next}");
}

async fn typing_reaches_the_opponent_only(db: Db) {
    let server = TestServer::spawn(db).await;
    let (ann, bob, room) = server.api().pair().await;
    let cem = server.api().person("cem").await;
    let with_cem = ann.room_with(&cem).await;
    let (mut writing, mut desk, mut stranger) = (ann.device().await, ann.device().await, cem.device().await);
    let mut room_socket = bob.joins(room).await;
    let mut readers = [bob.device().await, bob.device().await];
    writing.send_json(&typing(room, true));
    let expected = json!({"type": "typing", "chatroom_id": room, "chatter_id": ann.id, "typing": true});
    for reader in &mut readers {
        assert_eq!(reader.expect("typing").await, expected);
    }
    for n in 0..5 {
        writing.send_json(&typing(room, true));
        writing.says(with_cem, &format!("elsewhere-{n}"), "a chat elsewhere ends nothing").await;
        stranger.expect_chat("a chat elsewhere ends nothing").await;
        desk.expect_chat("a chat elsewhere ends nothing").await;
    }
    stranger.expect_nothing_else().await;
    for own in [&mut writing, &mut desk] {
        let received = own.until_pong().await;
        assert!(!received.iter().any(|frame| frame["type"] == "typing"), "not to oneself: {received:?}");
    }
    readers[0].send_json(&typing(room, true));
    for own in [&mut writing, &mut desk] {
        assert_eq!(own.expect("typing").await["chatter_id"], bob.id, "each of the two for themselves");
    }
    stranger.refused(typing(room, true), "not_found").await;
    room_socket.expect_nothing_before_own("chatroom sockets are told nothing of it").await;
}

/// Sends `typing` again and again, as clients do, until the other device receives it: a restart is not sent at once.
async fn types(writing: &DeviceSocket, reading: &mut DeviceSocket, room: i64, who: i64) {
    let received = json!({"type": "typing", "chatroom_id": room, "chatter_id": who, "typing": true});
    for _ in 0..20 {
        writing.send_json(&typing(room, true));
        while let Received::Text(frame) = reading.receive(Duration::from_millis(500)).await {
            if frame["type"] == "typing" {
                assert_eq!(frame, received);
                return;
            }
        }
    }
    panic!("no typing event");
}

async fn typing_ends_by_timeout_by_a_chat_or_by_a_frame(db: Db) {
    let server = TestServer::spawn(db).await;
    let (ann, bob, room) = server.api().pair().await;
    let (mut writing, mut reading) = (ann.device().await, bob.device().await);
    let ends = json!({"type": "typing", "chatroom_id": room, "chatter_id": ann.id, "typing": false});
    types(&writing, &mut reading, room, ann.id).await;
    writing.send_json(&typing(room, false));
    assert_eq!(reading.expect("typing").await, ends);
    writing.send_json(&typing(room, false));
    types(&writing, &mut reading, room, ann.id).await;
    let start = Instant::now();
    assert_eq!(reading.expect("typing").await, ends, "by itself");
    let waited = start.elapsed();
    assert!((Duration::from_secs(5)..Duration::from_secs(9)).contains(&waited), "after {waited:?}");
    types(&writing, &mut reading, room, ann.id).await;
    writing.says(room, "a", "what was being typed").await;
    reading.expect_chat("what was being typed").await;
    tokio::time::sleep(Duration::from_millis(6_500)).await;
    reading.expect_nothing_else().await;
    // A client that vanishes no longer types.
    let wire = Proxy::before(server.port).await;
    let mut vanishing = DeviceSocket::open(wire.port, &ann.token).await;
    vanishing.until_pong().await;
    types(&vanishing, &mut reading, room, ann.id).await;
    wire.cut();
    assert_eq!(reading.expect("typing").await, ends);
}
