//! Presence over REST: online, last seen, and the privacy settings of a chatter.

use serde_json::{Value, json};

use crate::support::account::list;
use crate::support::wait::s;
use crate::support::{Db, Person, TestServer, eventually, on_all};

on_all![
    presence_is_hidden_from_chatters_without_a_shared_room,
    last_seen_is_shown_to_chatters_who_share_a_room,
    a_chatter_who_hides_receipts_still_sees_their_own,
    the_own_account_shows_the_privacy_settings,
    a_deleted_account_has_no_last_seen,
    // Another instance shows it a moment later: `cluster::presence`.
    ; but_single:
    a_chatter_is_online_until_the_last_socket_closes,
    last_seen_is_when_the_last_socket_closed,
    hiding_last_seen_hides_online_too,
];

/// A chatter as the viewer sees them: in the room, in the lists, by id and in the directory.
async fn shown_to(viewer: &Person, room: i64, other: &Person) -> Value {
    let of_room = |room: &Value| {
        let side = if room["owner"]["id"] == other.id { "owner" } else { "opponent" };
        room[side].clone()
    };
    let find = |all: Vec<Value>, id: i64| all.into_iter().find(|one| one["id"] == id).expect("listed");
    let shown = of_room(&viewer.room(room).await);
    assert_eq!(of_room(&find(list(viewer.get("/api/chatrooms").await), room)), shown, "in the list");
    assert_eq!(of_room(&find(list(viewer.get("/api/chatrooms?limit=9").await), room)), shown, "in a page");
    assert_eq!(viewer.get(&format!("/api/chatters/{}", other.id)).await.expect(200), shown, "by id");
    assert_eq!(find(list(viewer.get("/api/chatters").await), other.id), shown, "in the directory");
    assert_eq!(find(list(viewer.get("/api/chatters?limit=9").await), other.id), shown, "in a page of it");
    shown
}

fn has_presence(chatter: &Value) -> bool {
    chatter.get("online").is_some() || chatter.get("last_seen").is_some()
}

fn has_settings(chatter: &Value) -> bool {
    chatter.get("show_last_seen").is_some() || chatter.get("show_receipts").is_some()
}

async fn online(viewer: &Person, room: i64, other: &Person) -> bool {
    let shown = shown_to(viewer, room, other).await;
    shown["online"].as_bool().unwrap_or_else(|| panic!("online is missing: {shown}"))
}

/// A chatter by id: a single answer, for tests in which presence is about to change.
async fn by_id(viewer: &Person, other: &Person) -> Value {
    viewer.get(&format!("/api/chatters/{}", other.id)).await.expect(200)
}

async fn a_chatter_is_online_until_the_last_socket_closes(db: Db) {
    let server = TestServer::spawn(db).await;
    let (ann, bob, room) = server.api().pair().await;
    assert!(!online(&ann, room, &bob).await);
    let (one, mut two) = (bob.joins(room).await, bob.signed_in_again().await.joins(room).await);
    assert!(online(&ann, room, &bob).await);
    one.close();
    drop(one);
    two.expect_nothing_before_own("one of two sockets is left").await;
    assert!(online(&ann, room, &bob).await);
    two.close();
    let gone = || async { (by_id(&ann, &bob).await["online"] == false).then_some(()) };
    eventually("offline after the last socket", s(5), gone).await;
}

async fn presence_is_hidden_from_chatters_without_a_shared_room(db: Db) {
    let server = TestServer::spawn(db).await;
    let (_ann, bob, room) = server.api().pair().await;
    let stranger = server.api().person("cem").await;
    stranger.room_with(&stranger).await;
    let _socket = bob.joins(room).await;
    let by_id = stranger.get(&format!("/api/chatters/{}", bob.id)).await.expect(200);
    for shown in [
        vec![by_id],
        list(stranger.get("/api/chatters").await),
        list(server.api().get("/api/chatters").await),
        list(server.api().get("/api/chatters?limit=9").await),
    ]
    .concat()
    {
        assert!(!has_presence(&shown), "{shown}");
        assert!(!has_settings(&shown) || shown["id"] == stranger.id, "{shown}");
    }
}

async fn last_seen_is_shown_to_chatters_who_share_a_room(db: Db) {
    let server = TestServer::spawn(db).await;
    let (ann, bob, room) = server.api().pair().await;
    assert_eq!(shown_to(&ann, room, &bob).await["last_seen"], Value::Null, "never seen");
    let set = "UPDATE chatters SET last_seen = 1795338434000120 WHERE id = ";
    server.dump().await.run(&format!("{set}{}", bob.id)).await;
    let shown = shown_to(&ann, room, &bob).await;
    assert_eq!((&shown["online"], &shown["last_seen"]), (&json!(false), &json!("2026-11-22T09:07:14.000120Z")));
    assert!(!has_presence(&bob.get("/api/chatters/me").await.expect(200)), "not to oneself");
}

async fn last_seen_is_when_the_last_socket_closed(db: Db) {
    let server = TestServer::spawn(db).await;
    let (ann, bob, room) = server.api().pair().await;
    let (one, mut two) = (bob.joins(room).await, bob.joins(room).await);
    one.close();
    drop(one);
    let chat = two.expect_nothing_before_own("one of two sockets is left").await;
    assert_eq!(shown_to(&ann, room, &bob).await["last_seen"], Value::Null, "still here");
    two.close();
    let seen = || async { Some(by_id(&ann, &bob).await["last_seen"].clone()).filter(Value::is_string) };
    let seen = eventually("the last time seen", s(5), seen).await;
    assert!(seen.as_str() >= chat["create_time"].as_str(), "{seen} is before the last chat of the socket");
    assert!(!online(&ann, room, &bob).await);
    bob.joins(room).await;
    let later = || async {
        let now = by_id(&ann, &bob).await["last_seen"].clone();
        (now.as_str() > seen.as_str()).then_some(())
    };
    eventually("a later time after another socket", s(5), later).await;
}

async fn hiding_last_seen_hides_online_too(db: Db) {
    let server = TestServer::spawn(db).await;
    let (ann, bob, room) = server.api().pair().await;
    let _socket = bob.joins(room).await;
    assert!(online(&ann, room, &bob).await);
    bob.put("/api/chatters", &json!({"show_last_seen": false})).await.expect(200);
    assert!(!has_presence(&shown_to(&ann, room, &bob).await));
    assert!(has_presence(&shown_to(&bob, room, &ann).await), "it hides nothing from the one who hides");
    bob.put("/api/chatters", &json!({"show_last_seen": true})).await.expect(200);
    assert!(online(&ann, room, &bob).await);
}

async fn a_chatter_who_hides_receipts_still_sees_their_own(db: Db) {
    let server = TestServer::spawn(db).await;
    let (ann, bob, room) = server.api().pair().await;
    ann.says(room, "read by somebody who does not tell").await;
    bob.put("/api/chatters", &json!({"show_receipts": false})).await.expect(200);
    bob.receipt(room, &json!({"read_seq": 1}), (1, 1)).await;
    let (mine, theirs) = (ann.id.to_string(), bob.id.to_string());
    for seen in [ann.room(room).await, list(ann.get("/api/chatrooms").await)[0].clone()] {
        let receipts = seen["receipts"].as_object().expect("an object by chatter id");
        assert_eq!(receipts.keys().collect::<Vec<_>>(), [&mine], "{seen}");
    }
    let seen = bob.room(room).await;
    assert_eq!(seen["receipts"].as_object().map(|marks| marks.len()), Some(2), "{seen}");
    bob.put("/api/chatters", &json!({"show_receipts": true})).await.expect(200);
    assert_eq!(ann.room(room).await["receipts"][&theirs]["read_seq"], 1);
}

async fn the_own_account_shows_the_privacy_settings(db: Db) {
    let server = TestServer::spawn(db).await;
    let signed_up = server.api().sign_up("bob").await.expect(201);
    let ann = server.api().person("ann").await;
    let room = ann.post("/api/chatrooms", &json!({"opponent_id": signed_up["id"]})).await.expect(201);
    assert_eq!((&signed_up["show_last_seen"], &signed_up["show_receipts"]), (&json!(true), &json!(true)));
    assert!(has_settings(&room["owner"]) && !has_settings(&room["opponent"]), "{room}");
    assert!(!has_presence(&room["owner"]) && has_presence(&room["opponent"]), "{room}");
    let changed = ann.put("/api/chatters", &json!({"show_receipts": false})).await.expect(200);
    assert_eq!((&changed["show_last_seen"], &changed["show_receipts"]), (&json!(true), &json!(false)));
    ann.put("/api/chatters", &json!({"nickname": "Anna"})).await.expect(200);
    let me = ann.get("/api/chatters/me").await.expect(200);
    assert_eq!((&me["show_receipts"], &me["nickname"]), (&json!(false), &json!("Anna")), "what is left out stays");
    ann.put("/api/chatters", &json!({"show_receipts": "no"})).await.problem(400, "malformed");
}

async fn a_deleted_account_has_no_last_seen(db: Db) {
    let server = TestServer::spawn(db).await;
    let (ann, bob, room) = server.api().pair().await;
    let dump = server.dump().await;
    dump.run(&format!("UPDATE chatters SET last_seen = 5 WHERE id = {}", bob.id)).await;
    bob.delete("/api/chatters").await.expect(200);
    assert_eq!(dump.chatter(bob.id).await.and_then(|row| row.last_seen), None);
    let seen = &ann.room(room).await["opponent"];
    assert_eq!((&seen["online"], &seen["last_seen"]), (&json!(false), &Value::Null), "{seen}");
}
