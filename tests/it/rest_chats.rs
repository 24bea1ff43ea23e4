//! Chats: `/api/chatrooms/{id}/chats` and `/api/chats/{id}`.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::account::{contents, list, numbers};
use crate::support::rest::next_link;
use crate::support::secrets::MARKER;
use crate::support::{Answer, Db, Person, TestServer, on_all};

on_all![
    a_new_chat_answers_201_and_is_there_for_both,
    an_empty_room_is_200_and_an_empty_list,
    chats_are_ascending_and_numbered_from_one,
    a_receiver_may_be_named_and_must_be_the_other,
    a_retry_in_the_body_answers_200_and_the_same_chat,
    a_retry_by_header_answers_200_and_the_same_chat,
    a_retry_gets_the_chat_as_it_is_now,
    a_client_id_with_other_content_or_another_room_is_409,
    two_different_client_ids_in_one_request_are_400,
    a_client_id_keeps_to_its_rules,
    a_client_id_is_the_senders_own,
    eight_who_retry_at_the_same_instant_get_one_chat,
    content_keeps_to_its_rules,
    content_comes_back_byte_for_byte,
    history_is_paged_before_after_and_around,
    a_history_without_paging_is_whole,
    a_chat_is_shown_to_the_two_only,
    editing_changes_the_content_and_the_version,
    deleting_leaves_a_tombstone_without_content,
    only_the_sender_changes_a_chat,
    keys_that_nobody_may_set_are_ignored,
    reading_the_history_to_its_end_confirms_delivery,
    sending_does_not_confirm_what_was_not_delivered,
    times_never_go_back_in_a_room,
];

fn chat_path(chat: &Value) -> String {
    format!("/api/chats/{}", chat["id"])
}

async fn a_new_chat_answers_201_and_is_there_for_both(db: Db) {
    let server = TestServer::spawn(db).await;
    let (ann, bob, room) = server.api().pair().await;
    let chat = ann.says(room, "the very first chat 👋").await;
    assert!(chat["id"].is_i64(), "{chat}");
    assert_eq!((&chat["chatroom_id"], &chat["sender_id"]), (&json!(room), &json!(ann.id)));
    assert_eq!((&chat["receiver_id"], &chat["content"]), (&json!(bob.id), &json!("the very first chat 👋")));
    assert_eq!((&chat["seq"], &chat["version"]), (&json!(1), &json!(1)));
    let time = chat["create_time"].as_str().unwrap();
    assert!(time.len() == 27 && time.ends_with('Z'), "RFC 3339, UTC, microseconds: {time}");
    for person in [&ann, &bob] {
        let same = |found: &Value| {
            ["id", "chatroom_id", "sender_id", "receiver_id", "content", "create_time", "seq"]
                .iter()
                .all(|key| found[key] == chat[key])
        };
        let history = person.history(room).await;
        assert!(history.len() == 1 && same(&history[0]), "{history:?}");
        let one = person.get(&chat_path(&chat)).await.expect(200);
        assert!(same(&one), "{one}");
    }
}

async fn an_empty_room_is_200_and_an_empty_list(db: Db) {
    let server = TestServer::spawn(db).await;
    let (ann, _, room) = server.api().pair().await;
    assert_eq!(ann.get(&format!("/api/chatrooms/{room}/chats")).await.expect(200), json!([]));
    assert_eq!(ann.search(room, "anything").await.expect(200), json!([]));
}

async fn chats_are_ascending_and_numbered_from_one(db: Db) {
    let server = TestServer::spawn(db).await;
    let (ann, bob, room) = server.api().pair().await;
    for n in 0..10 {
        let person = if n % 3 == 0 { &bob } else { &ann };
        person.says(room, &format!("number {n} of ten")).await;
    }
    let history = ann.history(room).await;
    assert_eq!(numbers(&history, "seq"), (1..=10).collect::<Vec<_>>());
    assert!(numbers(&history, "id").is_sorted());
    assert_eq!(contents(&history), (0..10).map(|n| format!("number {n} of ten")).collect::<Vec<_>>());
    assert_eq!(bob.history(room).await, history, "both see the same");
}

async fn a_receiver_may_be_named_and_must_be_the_other(db: Db) {
    let server = TestServer::spawn(db).await;
    let (ann, bob, room) = server.api().pair().await;
    let cem = server.api().person("cem").await;
    let body = |receiver: i64| json!({"content": "to somebody who is named", "receiver_id": receiver});
    assert_eq!(ann.post_chat(room, &body(bob.id)).await.expect(201)["receiver_id"], bob.id);
    for wrong in [ann.id, cem.id, 999_999, 0, -1] {
        ann.post_chat(room, &body(wrong)).await.invalid("receiver_id");
    }
    assert_eq!(ann.history(room).await.len(), 1);
}

async fn a_retry_in_the_body_answers_200_and_the_same_chat(db: Db) {
    let server = TestServer::spawn(db).await;
    let (ann, _, room) = server.api().pair().await;
    let first = ann.says_once(room, "sent once, asked twice", "retry-1").await.expect(201);
    assert_eq!(first["client_id"], "retry-1");
    let again = ann.says_once(room, "sent once, asked twice", "retry-1").await.expect(200);
    assert_eq!(again, first);
    assert_eq!(ann.history(room).await.len(), 1);
}

async fn with_key(ann: &Person, room: i64, key: &str, body: &Value) -> Answer {
    let bearer = format!("Bearer {}", ann.token);
    let headers = [("authorization", bearer.as_str()), ("idempotency-key", key)];
    let path = format!("/api/chatrooms/{room}/chats");
    ann.api.try_request(Method::POST, &path, &headers, Some(body)).await.expect("an answer")
}

async fn a_retry_by_header_answers_200_and_the_same_chat(db: Db) {
    let server = TestServer::spawn(db).await;
    let (ann, _, room) = server.api().pair().await;
    let body = json!({"content": "named by a header"});
    let first = with_key(&ann, room, "retry-2", &body).await.expect(201);
    assert_eq!(with_key(&ann, room, "retry-2", &body).await.expect(200)["id"], first["id"]);
    let in_body = ann.says_once(room, "named by a header", "retry-2").await.expect(200);
    assert_eq!(in_body["id"], first["id"], "header and body are one name");
    let both = json!({"content": "named by a header", "client_id": "retry-2"});
    assert_eq!(with_key(&ann, room, "retry-2", &both).await.expect(200)["id"], first["id"], "both and equal");
}

async fn a_retry_gets_the_chat_as_it_is_now(db: Db) {
    let server = TestServer::spawn(db).await;
    let (ann, _, room) = server.api().pair().await;
    let first = ann.says_once(room, "what it was at first", "retry-3").await.expect(201);
    ann.put(&chat_path(&first), &json!({"content": "what it became later"})).await.expect(200);
    let again = ann.says_once(room, "what it was at first", "retry-3").await.expect(200);
    assert_eq!((&again["id"], &again["content"]), (&first["id"], &json!("what it became later")));
    assert!(again["edit_time"].is_string(), "{again}");
    ann.says_once(room, "what it became later", "retry-3").await.problem(409, "client_id_conflict");
    ann.delete(&chat_path(&first)).await.expect(200);
    let gone = ann.says_once(room, "what it was at first", "retry-3").await.expect(200);
    assert_eq!(gone["id"], first["id"], "deleted, and not stored anew");
    assert!(ann.history(room).await.is_empty());
}

async fn a_client_id_with_other_content_or_another_room_is_409(db: Db) {
    let server = TestServer::spawn(db).await;
    let (ann, _, room) = server.api().pair().await;
    let cem = server.api().person("cem").await;
    let other_room = ann.room_with(&cem).await;
    ann.says_once(room, "the content as first sent", "retry-4").await.expect(201);
    ann.says_once(room, "another content this time", "retry-4").await.problem(409, "client_id_conflict");
    ann.says_once(other_room, "the content as first sent", "retry-4").await.problem(409, "client_id_conflict");
    assert_eq!((ann.history(room).await.len(), ann.history(other_room).await.len()), (1, 0));
}

async fn two_different_client_ids_in_one_request_are_400(db: Db) {
    let server = TestServer::spawn(db).await;
    let (ann, _, room) = server.api().pair().await;
    let body = json!({"content": "under which of the two?", "client_id": "one"});
    with_key(&ann, room, "two", &body).await.problem(400, "malformed");
    assert!(ann.history(room).await.is_empty());
}

async fn a_client_id_keeps_to_its_rules(db: Db) {
    let server = TestServer::spawn(db).await;
    let (ann, _, room) = server.api().pair().await;
    for bad in ["", "é", "a\nb", "a\u{0}", "x".repeat(65).as_str()] {
        ann.says_once(room, "named against the rules", bad).await.invalid("client_id");
    }
    for good in ["x", "a b ~!{}", "x".repeat(64).as_str()] {
        ann.says_once(room, "named by the rules", good).await.expect(201);
    }
    let number = ann.post_chat(room, &json!({"content": "named by a number", "client_id": 7})).await;
    number.problem(400, "malformed");
}

async fn a_client_id_is_the_senders_own(db: Db) {
    let server = TestServer::spawn(db).await;
    let (ann, bob, room) = server.api().pair().await;
    let one = ann.says_once(room, "the same words of two", "same").await.expect(201);
    let two = bob.says_once(room, "the same words of two", "same").await.expect(201);
    assert_ne!(one["id"], two["id"]);
}

async fn eight_who_retry_at_the_same_instant_get_one_chat(db: Db) {
    let server = TestServer::spawn(db).await;
    let (ann, _, room) = server.api().pair().await;
    for round in 0..10 {
        let name = format!("race-{round}");
        let tries = (0..8).map(|_| ann.says_once(room, "eight tries of one chat", &name));
        let answers = futures_util::future::join_all(tries).await;
        assert_eq!(answers.iter().filter(|a| a.status == 201).count(), 1, "round {round}");
        assert_eq!(answers.iter().filter(|a| a.status == 200).count(), 7, "round {round}");
        assert!(answers.iter().all(|a| a.json["id"] == answers[0].json["id"]), "round {round}");
    }
    assert_eq!(numbers(&ann.history(room).await, "seq"), (1..=10).collect::<Vec<_>>());
}

async fn content_keeps_to_its_rules(db: Db) {
    let server = TestServer::spawn(db).await;
    let (ann, _, room) = server.api().pair().await;
    let long = "가".repeat(8_001);
    for bad in ["", " ", "\n\t\u{3000}", "a\u{0}b", long.as_str()] {
        ann.post_chat(room, &json!({"content": bad})).await.invalid("content");
    }
    for unreadable in [json!({"content": null}), json!({"content": 7}), json!({"content": ["a"]}), json!({}), json!([])]
    {
        let answer = ann.post_chat(room, &unreadable).await;
        assert!(matches!(answer.status, 400 | 422), "{unreadable}: {}", answer.text);
        answer.any_problem();
    }
    for good in ["x", "가".repeat(8_000).as_str(), "👋".repeat(8_000).as_str()] {
        assert_eq!(ann.says(room, good).await["content"], good);
    }
    let chat = ann.says(room, "what is to be edited").await;
    for bad in ["", " ", "a\u{0}b", long.as_str()] {
        ann.put(&chat_path(&chat), &json!({"content": bad})).await.invalid("content");
    }
    assert_eq!(ann.history(room).await.len(), 4);
}

async fn content_comes_back_byte_for_byte(db: Db) {
    let server = TestServer::spawn(db).await;
    let (ann, bob, room) = server.api().pair().await;
    let texts = [
        "👩‍👩‍👧‍👦 and \u{1F468}\u{200D}\u{1F4BB}",
        "\u{202e}right to left\u{202c}",
        &format!("a{}", "\u{301}".repeat(1_000)),
        "line\r\nline\n\ttab",
        "<script>alert(1)</script></script>",
        "%s %n {} {{}} ${x} `x` $(x) \\u0041 \\",
        "'; DROP TABLE chats; --",
        "decomposed: \u{1112}\u{116c}\u{110b}\u{1174} e\u{301}",
        "  blanks around  ",
        "\u{feff}byte order mark",
        "\u{10ffff}\u{e000}",
        "\u{1}\u{7f}control",
    ];
    let mut socket = bob.joins(room).await;
    for text in texts {
        assert_eq!(ann.says(room, text).await["content"], text);
        socket.expect_message(text).await;
    }
    assert_eq!(contents(&bob.history(room).await), texts);
}

async fn history_is_paged_before_after_and_around(db: Db) {
    let server = TestServer::spawn(db).await;
    let (ann, _, room) = server.api().pair().await;
    for n in 1..=12 {
        ann.says(room, &format!("number {n} of twelve")).await;
    }
    let page =
        async |query: &str| numbers(&list(ann.get(&format!("/api/chatrooms/{room}/chats?{query}")).await), "seq");
    assert_eq!(page("limit=3&before=8").await, [5, 6, 7], "the three before, ascending");
    assert_eq!(page("limit=3&after=8").await, [9, 10, 11]);
    assert_eq!(page("limit=5&after=10").await, [11, 12]);
    assert_eq!(page("limit=5&before=1").await, [0; 0]);
    assert_eq!(page("limit=5&after=12").await, [0; 0]);
    let around = page("limit=5&around=6").await;
    assert!(around.len() == 5 && around.contains(&6) && around.is_sorted(), "{around:?}");
    assert!(around.contains(&5) && around.contains(&7), "from both sides: {around:?}");
    let newest = page("limit=4").await;
    assert_eq!(newest, [9, 10, 11, 12], "a limit alone gives the newest, ascending");
    assert_eq!(page("limit=1000000000").await.len(), 12);
    let answer = ann.get(&format!("/api/chatrooms/{room}/chats?limit=5&after=0")).await;
    let next = next_link(&answer).expect("more follow");
    let mut seen = numbers(&list(answer), "seq");
    let mut page = Some(next);
    while let Some(path) = page {
        let answer = ann.get(&path).await;
        page = next_link(&answer);
        seen.extend(numbers(&list(answer), "seq"));
        assert!(seen.len() <= 12, "pages overlap");
    }
    assert_eq!(seen, (1..=12).collect::<Vec<_>>());
    for bad in ["limit=abc", "limit=-1", "before=x", "limit=3&after=1.5", "around=%00"] {
        ann.get(&format!("/api/chatrooms/{room}/chats?{bad}")).await.problem(400, "malformed");
    }
}

async fn a_history_without_paging_is_whole(db: Db) {
    let server = TestServer::spawn(db).await;
    let (ann, bob, room) = server.api().pair().await;
    let mut socket = ann.joins(room).await;
    for n in 1..=1_200 {
        socket.send(&format!("{MARKER} {n} of many"));
        // A window keeps both ends from buffering all of it.
        if n % 50 == 0 {
            socket.read_until_seq(n, crate::support::wait::s(60)).await;
        }
    }
    let history = bob.history(room).await;
    assert_eq!(numbers(&history, "seq"), (1..=1_200).collect::<Vec<_>>());
    assert_eq!(numbers(&history, "id"), numbers(&socket.chats, "id"));
    assert_eq!(contents(&history)[1_199], format!("{MARKER} 1200 of many"));
    assert_eq!(list(bob.get(&format!("/api/chatrooms/{room}/chats?limit=500")).await).len(), 200);
    assert_eq!(bob.finds(room, MARKER).await.len(), 1_200, "a search without paging is whole too");
}

async fn a_chat_is_shown_to_the_two_only(db: Db) {
    let server = TestServer::spawn(db).await;
    let (ann, _, room) = server.api().pair().await;
    let stranger = server.api().person("cem").await;
    let chat = ann.says(room, "between the two of us").await;
    stranger.get(&chat_path(&chat)).await.problem(404, "not_found");
    stranger.get(&format!("/api/chatrooms/{room}/chats")).await.problem(404, "not_found");
    stranger.search(room, "between").await.problem(404, "not_found");
    stranger.post_chat(room, &json!({"content": "from a third one"})).await.problem(404, "not_found");
    server.api().get(&chat_path(&chat)).await.problem(401, "token_missing");
    ann.get("/api/chats/999999").await.problem(404, "not_found");
}

async fn editing_changes_the_content_and_the_version(db: Db) {
    let server = TestServer::spawn(db).await;
    let (ann, bob, room) = server.api().pair().await;
    let chat = ann.says(room, "as it was before").await;
    ann.says(room, "one that stays as it is").await;
    let edited = ann.put(&chat_path(&chat), &json!({"content": "as it is now"})).await.expect(200);
    for key in ["id", "chatroom_id", "sender_id", "receiver_id", "create_time", "seq"] {
        assert_eq!(edited[key], chat[key], "{key}");
    }
    assert_eq!((&edited["content"], &edited["version"]), (&json!("as it is now"), &json!(3)));
    assert!(edited["edit_time"].as_str().unwrap() >= chat["create_time"].as_str().unwrap());
    assert_eq!(contents(&bob.history(room).await), ["as it is now", "one that stays as it is"], "order is kept");
    assert_eq!(bob.finds(room, "as it is now").await.len(), 1);
    assert!(bob.finds(room, "before").await.is_empty());
}

async fn deleting_leaves_a_tombstone_without_content(db: Db) {
    let server = TestServer::spawn(db).await;
    let (ann, bob, room) = server.api().pair().await;
    let chat = ann.says_once(room, "what is to be forgotten", "gone-1").await.expect(201);
    ann.says(room, "what is to be kept").await;
    assert_eq!(ann.delete(&chat_path(&chat)).await.expect(200)["message"], "Success Delete Chat");
    bob.get(&chat_path(&chat)).await.problem(404, "not_found");
    assert_eq!(numbers(&bob.history(room).await, "seq"), [2], "its number is not used again");
    assert!(bob.finds(room, "forgotten").await.is_empty());
    ann.put(&chat_path(&chat), &json!({"content": "back again?"})).await.problem(404, "not_found");
    ann.delete(&chat_path(&chat)).await.problem(404, "not_found");
    let rows = server.dump().await.chats(room).await;
    assert_eq!((rows.len(), rows[0].content.as_str()), (2, ""));
    assert!(rows[0].delete_time.is_some() && rows[0].folded.as_deref().is_none_or(str::is_empty));
    let changes = bob.get(&format!("/api/chatrooms/{room}/changes?since=2")).await.expect(200);
    assert_eq!(changes["changes"], json!([{"id": chat["id"], "seq": 1, "version": 3, "deleted": true}]));
    assert_eq!(ann.says(room, "the next one").await["seq"], 3);
}

async fn only_the_sender_changes_a_chat(db: Db) {
    let server = TestServer::spawn(db).await;
    let (ann, bob, room) = server.api().pair().await;
    let stranger = server.api().person("cem").await;
    let chat = ann.says(room, "mine to change").await;
    bob.put(&chat_path(&chat), &json!({"content": "his?"})).await.problem(403, "not_yours");
    bob.delete(&chat_path(&chat)).await.problem(403, "not_yours");
    stranger.put(&chat_path(&chat), &json!({"content": "theirs?"})).await.problem(404, "not_found");
    stranger.delete(&chat_path(&chat)).await.problem(404, "not_found");
    assert_eq!(contents(&ann.history(room).await), ["mine to change"]);
}

async fn keys_that_nobody_may_set_are_ignored(db: Db) {
    let server = TestServer::spawn(db).await;
    let (ann, bob, room) = server.api().pair().await;
    let body = json!({"content": "with keys of the server", "id": 4711, "sender_id": bob.id, "seq": 70,
        "version": 70, "chatroom_id": 999, "create_time": "1970-01-01T00:00:00Z", "edit_time": "x"});
    let chat = ann.post_chat(room, &body).await.expect(201);
    assert_eq!((&chat["sender_id"], &chat["chatroom_id"]), (&json!(ann.id), &json!(room)));
    assert_eq!((&chat["seq"], &chat["version"]), (&json!(1), &json!(1)));
    assert_ne!(chat["id"], 4711);
    assert!(!chat["create_time"].as_str().unwrap().starts_with("1970"));
    let edit = json!({"content": "edited with them", "sender_id": bob.id, "seq": 70, "chatroom_id": 999});
    let edited = ann.put(&chat_path(&chat), &edit).await.expect(200);
    assert_eq!((&edited["sender_id"], &edited["seq"]), (&json!(ann.id), &json!(1)));
}

async fn reading_the_history_to_its_end_confirms_delivery(db: Db) {
    let server = TestServer::spawn(db).await;
    let (ann, bob, room) = server.api().pair().await;
    for n in 1..=5 {
        ann.says(room, &format!("number {n} to be read")).await;
    }
    let delivered = async || {
        let room = ann.room(room).await;
        room["receipts"][bob.id.to_string()]["delivered_seq"].as_i64().unwrap()
    };
    bob.get(&format!("/api/chatrooms/{room}/chats?limit=2&before=4")).await.expect(200);
    assert_eq!(delivered().await, 0, "a page that does not reach the end proves nothing");
    bob.history(room).await;
    crate::support::eventually("the delivery of five chats", crate::support::wait::s(3), || async {
        (delivered().await == 5).then_some(())
    })
    .await;
    assert_eq!(bob.room(room).await["unread_count"], 5, "delivered is not read");
}

async fn sending_does_not_confirm_what_was_not_delivered(db: Db) {
    let server = TestServer::spawn(db).await;
    let (ann, bob, room) = server.api().pair().await;
    ann.says(room, "one that bob never fetched").await;
    bob.says(room, "bob speaks without looking").await;
    let marks = ann.room(room).await["receipts"][bob.id.to_string()].clone();
    assert_eq!(marks["read_seq"], 0, "at most to his own delivered_seq: {marks}");
    assert_eq!(bob.room(room).await["unread_count"], 1);
}

async fn times_never_go_back_in_a_room(db: Db) {
    let server = TestServer::spawn(db).await;
    let (ann, _, room) = server.api().pair().await;
    ann.says(room, "the chat before the leap").await;
    // As if the clock had been an hour ahead when the last chat was stored.
    let sql = format!("UPDATE chatrooms SET last_chat_time = last_chat_time + 3600000000 WHERE id = {room}");
    server.dump().await.run(&sql).await;
    let ahead = ann.room(room).await["last_chat_time"].as_str().unwrap().to_owned();
    let chat = ann.says(room, "the chat after the leap").await;
    assert!(chat["create_time"].as_str().unwrap() >= ahead.as_str(), "{chat} is before {ahead}");
}
