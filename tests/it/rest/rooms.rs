//! Rooms: `/api/chatrooms`, `/api/chatrooms/{id}`, receipts and changes.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::account::{list, marks_of, numbers};
use crate::support::rest::next_link;
use crate::support::wait::s;
use crate::support::{Db, TestServer, on_all, stays};

on_all![
    a_new_room_answers_201_with_both_people,
    a_room_is_shown_to_its_two_chatters_only,
    an_unknown_opponent_is_422,
    a_pair_has_one_room_from_either_side,
    fifty_simultaneous_requests_create_one_room,
    rooms_are_listed_newest_chat_first,
    rooms_are_paged_with_a_link_to_the_next,
    a_list_without_paging_is_complete,
    a_room_shows_its_counters_and_its_last_chat,
    a_room_with_oneself_works_and_is_never_unread,
    deleting_a_room_removes_it_for_both_and_closes_its_chatroom_sockets,
    a_receipt_moves_the_watermarks_forward_only,
    a_receipt_beyond_the_last_chat_is_capped_at_it,
    changes_since_a_version_are_given_in_order_and_in_pages,
    keys_that_clients_may_not_set_are_ignored,
];

fn is_account(value: &Value) -> bool {
    value["id"].is_i64() && ["username", "nickname", "fcm_reg_id"].iter().all(|key| value[key].is_string())
}

fn is_time(value: &Value) -> bool {
    // 2026-11-22T09:07:14.000123Z
    value.as_str().is_some_and(|t| t.len() == 27 && t.ends_with('Z') && t.as_bytes()[10] == b'T')
}

async fn a_new_room_answers_201_with_both_people(db: Db) {
    let server = TestServer::spawn(db).await;
    let (ann, bob) = (server.api().person("ann").await, server.api().person("bob").await);
    let room = ann.post("/api/chatrooms", &json!({"opponent_id": bob.id})).await.expect(201);
    assert!(room["id"].is_i64() && is_time(&room["create_time"]), "{room}");
    assert_eq!(room["last_chat_time"], room["create_time"], "equal while the room is empty");
    assert!(is_account(&room["owner"]) && is_account(&room["opponent"]), "{room}");
    assert_eq!((&room["owner"]["id"], &room["opponent"]["id"]), (&json!(ann.id), &json!(bob.id)));
    let seen = bob.room(room["id"].as_i64().unwrap()).await;
    assert_eq!(seen["owner"]["id"], ann.id, "the owner is who created it, for both");
    assert_eq!(seen["opponent"]["id"], bob.id);
    server.api().post("/api/chatrooms", &json!({"opponent_id": bob.id})).await.problem(401, "token_missing");
}

async fn a_room_is_shown_to_its_two_chatters_only(db: Db) {
    let server = TestServer::spawn(db).await;
    let (ann, bob, room) = server.api().pair().await;
    let stranger = server.api().person("cem").await;
    let path = format!("/api/chatrooms/{room}");
    for person in [&ann, &bob] {
        assert_eq!(person.get(&path).await.expect(200)["id"], room);
        assert_eq!(numbers(&list(person.get("/api/chatrooms").await), "id"), [room]);
    }
    let hidden = stranger.get(&path).await.problem(404, "not_found");
    let absent = stranger.get("/api/chatrooms/999999").await.problem(404, "not_found");
    assert_eq!(hidden["detail"], absent["detail"], "what is not yours looks as if it were not there");
    assert!(list(stranger.get("/api/chatrooms").await).is_empty());
    server.api().get(&path).await.problem(401, "token_missing");
}

async fn an_unknown_opponent_is_422(db: Db) {
    let server = TestServer::spawn(db).await;
    let ann = server.api().person("ann").await;
    for id in [json!(999_999), json!(0), json!(-1)] {
        ann.post("/api/chatrooms", &json!({"opponent_id": id})).await.invalid("opponent_id");
    }
    let gone = server.api().person("gone").await;
    gone.delete("/api/chatters").await.expect(200);
    let refused = ann.post("/api/chatrooms", &json!({"opponent_id": gone.id})).await;
    assert_eq!(refused.status, 422, "{}", refused.text);
    assert_eq!(server.dump().await.rooms_count().await, 0);
}

async fn a_pair_has_one_room_from_either_side(db: Db) {
    let server = TestServer::spawn(db).await;
    let (ann, bob, room) = server.api().pair().await;
    for (asker, other) in [(&ann, &bob), (&bob, &ann)] {
        let refused = asker.post("/api/chatrooms", &json!({"opponent_id": other.id})).await;
        let problem = refused.problem(409, "chatroom_exists");
        assert_eq!(problem["chatroom_id"], room, "the body names the room");
    }
}

async fn fifty_simultaneous_requests_create_one_room(db: Db) {
    let server = TestServer::spawn(db).await;
    let (ann, bob) = (server.api().person("ann").await, server.api().person("bob").await);
    let (to_bob, to_ann) = (json!({"opponent_id": bob.id}), json!({"opponent_id": ann.id}));
    let asks = (0..50).map(|n| if n % 2 == 0 { (&ann, &to_bob) } else { (&bob, &to_ann) });
    let answers = futures_util::future::join_all(asks.map(|(who, body)| who.post("/api/chatrooms", body))).await;
    let created: Vec<_> = answers.iter().filter(|a| a.status == 201).collect();
    assert_eq!(created.len(), 1);
    let room = created[0].json["id"].clone();
    for answer in answers.into_iter().filter(|a| a.status != 201) {
        assert_eq!(answer.problem(409, "chatroom_exists")["chatroom_id"], room);
    }
    assert_eq!(server.dump().await.rooms_count().await, 1);
    assert_eq!(server.dump().await.members(room.as_i64().unwrap()).await.len(), 2);
}

async fn rooms_are_listed_newest_chat_first(db: Db) {
    let server = TestServer::spawn(db).await;
    let ann = server.api().person("ann").await;
    let mut rooms = Vec::new();
    for name in ["bob", "cem", "dee"] {
        let other = server.api().person(name).await;
        rooms.push(ann.room_with(&other).await);
    }
    let order = async || numbers(&list(ann.get("/api/chatrooms").await), "id");
    assert_eq!(order().await, [rooms[2], rooms[1], rooms[0]], "empty rooms count by when they were made");
    let chat = ann.says(rooms[0], "this one comes to the top").await;
    assert_eq!(order().await, [rooms[0], rooms[2], rooms[1]]);
    assert_eq!(ann.room(rooms[0]).await["last_chat_time"], chat["create_time"]);
}

async fn rooms_are_paged_with_a_link_to_the_next(db: Db) {
    let server = TestServer::spawn(db).await;
    let ann = server.api().person("ann").await;
    for n in 0..7 {
        let other = server.api().person(&format!("other-{n}")).await;
        ann.room_with(&other).await;
    }
    let all = numbers(&list(ann.get("/api/chatrooms").await), "id");
    let (mut seen, mut page) = (Vec::new(), Some("/api/chatrooms?limit=3".to_owned()));
    while let Some(path) = page {
        let answer = ann.get(&path).await;
        page = next_link(&answer);
        let rooms = list(answer);
        assert!(rooms.len() <= 3 && seen.len() <= all.len());
        seen.extend(numbers(&rooms, "id"));
    }
    assert_eq!(seen, all);
}

async fn a_list_without_paging_is_complete(db: Db) {
    let server = TestServer::spawn(db).await;
    let ann = server.api().person("ann").await;
    let dump = server.dump().await;
    // More than two internal pages of the server. The accounts come from SQL, because a sign-up costs a password hash.
    dump.add_rooms(ann.id, 10_000..11_200).await;
    let rooms = numbers(&list(ann.get("/api/chatrooms").await), "id");
    assert_eq!(rooms, (10_000..11_200).rev().collect::<Vec<i64>>(), "every room, newest first");
    assert_eq!(list(ann.get("/api/chatters").await).len(), 1_201);
    assert_eq!(list(ann.get("/api/chatrooms?limit=1000000000").await).len(), 200, "a page is at most 200");
}

async fn a_room_shows_its_counters_and_its_last_chat(db: Db) {
    let server = TestServer::spawn(db).await;
    let (ann, bob, room) = server.api().pair().await;
    let empty = ann.room(room).await;
    assert_eq!((&empty["version"], &empty["last_seq"]), (&json!(0), &json!(0)));
    assert!(empty.get("last_chat").is_none_or(Value::is_null), "{empty}");
    ann.says(room, "the first of two").await;
    let second = ann.says(room, "the second of two").await;
    for (person, unread) in [(&ann, 0), (&bob, 2)] {
        let shown = person.room(room).await;
        assert_eq!((&shown["version"], &shown["last_seq"]), (&json!(2), &json!(2)));
        assert_eq!(shown["last_chat"]["content"], "the second of two");
        assert_eq!(shown["unread_count"], unread);
        let receipts = shown["receipts"].as_object().expect("an object by chatter id");
        assert_eq!(receipts.len(), 2);
        assert_eq!(receipts[&bob.id.to_string()], json!({"delivered_seq": 0, "read_seq": 0}));
        let listed = list(person.get("/api/chatrooms").await);
        assert_eq!(listed[0]["unread_count"], unread);
    }
    ann.delete(&format!("/api/chats/{}", second["id"])).await.expect(200);
    let after = bob.room(room).await;
    assert_eq!(after["last_chat"]["content"], "the first of two", "no tombstone is a last chat");
    assert_eq!((&after["unread_count"], &after["version"]), (&json!(1), &json!(3)));
}

async fn a_room_with_oneself_works_and_is_never_unread(db: Db) {
    let server = TestServer::spawn(db).await;
    let ann = server.api().person("ann").await;
    let room = ann.room_with(&ann).await;
    let again = ann.post("/api/chatrooms", &json!({"opponent_id": ann.id})).await;
    again.problem(409, "chatroom_exists");
    let mut socket = ann.joins(room).await;
    let chat = ann.says(room, "a note to myself").await;
    assert_eq!((&chat["sender_id"], &chat["receiver_id"]), (&json!(ann.id), &json!(ann.id)));
    socket.expect_message("a note to myself").await;
    socket.expect_nothing_before_own("one copy per socket").await;
    assert_eq!(ann.room(room).await["unread_count"], 0);
    let dump = server.dump().await;
    assert_eq!(dump.members(room).await.len(), 1, "one member row");
    assert!(dump.outbox(room).await.is_empty(), "no push to oneself");
    assert_eq!(ann.history(room).await.len(), 2);
}

async fn deleting_a_room_removes_it_for_both_and_closes_its_chatroom_sockets(db: Db) {
    let server = TestServer::spawn(db).await;
    let (ann, bob, room) = server.api().pair().await;
    let stranger = server.api().person("cem").await;
    ann.says(room, "what goes with the room").await;
    let (mut one, mut two) = (ann.joins(room).await, bob.joins(room).await);
    let path = format!("/api/chatrooms/{room}");
    stranger.delete(&path).await.problem(404, "not_found");
    assert_eq!(bob.delete(&path).await.expect(200)["message"], "Success Delete Chatroom");
    assert_eq!(one.expect_close(s(5)).await, 4404);
    assert_eq!(two.expect_close(s(5)).await, 4404);
    for person in [&ann, &bob] {
        person.get(&path).await.problem(404, "not_found");
        person.get(&format!("{path}/chats")).await.problem(404, "not_found");
        person.post_chat(room, &json!({"content": "into a room that is gone"})).await.problem(404, "not_found");
        assert!(list(person.get("/api/chatrooms").await).is_empty());
    }
    ann.delete(&path).await.problem(404, "not_found");
    let dump = server.dump().await;
    assert!(dump.chats(room).await.is_empty() && dump.members(room).await.is_empty());
    assert!(dump.outbox(room).await.is_empty());
    let new = ann.room_with(&bob).await;
    assert_ne!(new, room, "ids are never used again");
}

async fn a_receipt_moves_the_watermarks_forward_only(db: Db) {
    let server = TestServer::spawn(db).await;
    let (ann, bob, room) = server.api().pair().await;
    for n in 1..=5 {
        ann.says(room, &format!("number {n} of five")).await;
    }
    bob.receipt(room, &json!({"delivered_seq": 3}), (3, 0)).await;
    bob.receipt(room, &json!({"read_seq": 4}), (4, 4)).await;
    assert_eq!(bob.room(room).await["unread_count"], 1);
    let path = format!("/api/chatrooms/{room}/receipt");
    bob.put(&path, &json!({"delivered_seq": 1, "read_seq": 2})).await.expect(200);
    stays("watermarks never go back", Duration::from_millis(700), || async { bob.marks(room).await == (4, 4) }).await;
    assert_eq!(marks_of(&ann.room(room).await, bob.id), (4, 4), "the other one sees them");
    let stranger = server.api().person("cem").await;
    stranger.put(&path, &json!({"read_seq": 1})).await.problem(404, "not_found");
}

async fn a_receipt_beyond_the_last_chat_is_capped_at_it(db: Db) {
    let server = TestServer::spawn(db).await;
    let (ann, bob, room) = server.api().pair().await;
    ann.says(room, "the only chat here").await;
    let path = format!("/api/chatrooms/{room}/receipt");
    let answer = bob.put(&path, &json!({"read_seq": 9_000_000_000_i64})).await;
    assert!(matches!(answer.status, 200 | 422), "{}", answer.text);
    let held = || async {
        let (delivered, read) = bob.marks(room).await;
        delivered <= 1 && read <= 1
    };
    stays("watermarks end at the last chat", Duration::from_millis(700), held).await;
    ann.says(room, "and one that comes later").await;
    assert!(bob.room(room).await["unread_count"].as_i64().unwrap() >= 1, "what came later is unread");
    for bad in [json!({"read_seq": -1}), json!({"read_seq": "1"}), json!({"delivered_seq": 1.5})] {
        assert!(matches!(bob.put(&path, &bad).await.status, 400 | 422), "{bad}");
    }
}

async fn changes_since_a_version_are_given_in_order_and_in_pages(db: Db) {
    let server = TestServer::spawn(db).await;
    let (ann, bob, room) = server.api().pair().await;
    let mut ids = Vec::new();
    for n in 1..=4 {
        ids.push(ann.says(room, &format!("change number {n}")).await["id"].as_i64().unwrap());
    }
    ann.put(&format!("/api/chats/{}", ids[0]), &json!({"content": "changed later on"})).await.expect(200);
    ann.delete(&format!("/api/chats/{}", ids[1])).await.expect(200);
    let path = format!("/api/chatrooms/{room}/changes");
    let all = bob.get(&format!("{path}?since=0")).await.expect(200);
    assert_eq!((&all["version"], &all["has_more"]), (&json!(6), &json!(false)));
    let changes = all["changes"].as_array().unwrap();
    assert_eq!(numbers(changes, "version"), [3, 4, 5, 6], "an edit overtakes the version of its chat");
    assert_eq!(numbers(changes, "id"), [ids[2], ids[3], ids[0], ids[1]]);
    assert_eq!(changes[2]["content"], "changed later on");
    assert_eq!(changes[3], json!({"id": ids[1], "seq": 2, "version": 6, "deleted": true}));
    let first = bob.get(&format!("{path}?since=0&limit=2")).await.expect(200);
    assert_eq!((&first["version"], &first["has_more"]), (&json!(4), &json!(true)), "the last row's while more follow");
    let rest = bob.get(&format!("{path}?since=4&limit=2")).await.expect(200);
    assert_eq!(numbers(rest["changes"].as_array().unwrap(), "version"), [5, 6]);
    assert_eq!((&rest["version"], &rest["has_more"]), (&json!(6), &json!(false)));
    let none = bob.get(&format!("{path}?since=6")).await.expect(200);
    assert_eq!((&none["changes"], &none["version"]), (&json!([]), &json!(6)));
    let stranger = server.api().person("cem").await;
    stranger.get(&format!("{path}?since=0")).await.problem(404, "not_found");
    bob.get(&format!("{path}?since=abc")).await.problem(400, "malformed");
}

async fn keys_that_clients_may_not_set_are_ignored(db: Db) {
    let server = TestServer::spawn(db).await;
    let (ann, bob) = (server.api().person("ann").await, server.api().person("bob").await);
    let body = json!({"opponent_id": bob.id, "id": 4711, "owner_id": bob.id, "last_seq": 7, "version": 7,
        "create_time": "1970-01-01T00:00:00Z"});
    let room = ann.post("/api/chatrooms", &body).await.expect(201);
    assert_ne!(room["id"], 4711);
    assert_eq!((&room["owner"]["id"], &room["version"], &room["last_seq"]), (&json!(ann.id), &json!(0), &json!(0)));
    assert!(!room["create_time"].as_str().unwrap().starts_with("1970"), "{room}");
}
