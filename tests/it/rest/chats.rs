//! Chats: `/api/chatrooms/{id}/chats` and `/api/chats/{id}`.

use serde_json::{Value, json};

use crate::support::account::{contents, numbers};
use crate::support::{Db, TestServer, on_all};

on_all![
    a_new_chat_answers_201_and_both_chatters_see_it,
    an_empty_room_is_200_and_an_empty_list,
    a_named_receiver_must_be_the_opponent,
    content_is_validated,
    c1_what_shows_nothing_is_no_chat,
    content_comes_back_byte_for_byte,
    a_chat_is_shown_to_its_two_chatters_only,
    editing_changes_the_content_and_the_version,
    deleting_leaves_a_tombstone_without_content,
    only_the_sender_may_change_a_chat,
    keys_that_clients_may_not_set_are_ignored,
];

pub(super) fn chat_path(chat: &Value) -> String {
    format!("/api/chats/{}", chat["id"])
}

async fn a_new_chat_answers_201_and_both_chatters_see_it(db: Db) {
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

async fn a_named_receiver_must_be_the_opponent(db: Db) {
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

async fn content_is_validated(db: Db) {
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

async fn c1_what_shows_nothing_is_no_chat(db: Db) {
    let server = TestServer::spawn(db).await;
    let (ann, bob, room) = server.api().pair().await;
    let chat = ann.says(room, "\u{202e}what can be seen\u{202c}").await;
    let mut device = ann.device().await;
    for blank in
        ["\u{200b}", "\u{2060}", "\u{3164}", "\u{2800}", "\u{ad}", "\u{202e}", "\u{ffa0} \u{fe0f}\n\u{2028}\u{1}"]
    {
        ann.post_chat(room, &json!({"content": blank})).await.invalid("content");
        ann.put(&chat_path(&chat), &json!({"content": blank})).await.invalid("content");
        let frame = json!({"type": "send", "chatroom_id": room, "client_id": "blank", "content": blank});
        assert_eq!(device.refused(frame, "invalid").await["field"], "content");
    }
    assert_eq!(contents(&bob.history(room).await), ["\u{202e}what can be seen\u{202c}"]);
    assert_eq!(bob.room(room).await["unread_count"], 1);
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

async fn a_chat_is_shown_to_its_two_chatters_only(db: Db) {
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
    assert!(rows[0].delete_time.is_some());
    let changes = bob.get(&format!("/api/chatrooms/{room}/changes?since=2")).await.expect(200);
    assert_eq!(changes["changes"], json!([{"id": chat["id"], "seq": 1, "version": 3, "deleted": true}]));
    assert_eq!(ann.says(room, "the next one").await["seq"], 3);
}

async fn only_the_sender_may_change_a_chat(db: Db) {
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

async fn keys_that_clients_may_not_set_are_ignored(db: Db) {
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
