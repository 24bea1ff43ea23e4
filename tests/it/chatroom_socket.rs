//! The chatroom socket: joining, the frames of a room, refusals, events, and proofs of delivery.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::account::{contents, marks_of, numbers};
use crate::support::raw_socket::{PING, PONG};
use crate::support::token::{claims, mint, now};
use crate::support::wait::s;
use crate::support::{ChatroomSocket, Db, RawSocket, TestServer, eventually, on_all, stays};

on_all![
    a_chat_reaches_every_socket_of_the_room_the_senders_included,
    a_chat_posted_by_rest_reaches_sockets,
    a_stranger_is_refused_before_the_upgrade,
    a_token_may_come_in_the_query_or_in_a_header,
    the_path_works_with_and_without_its_last_slash,
    a_retry_with_a_client_id_sends_no_second_chat,
    a_refused_frame_is_answered_and_the_socket_stays,
    events_come_only_to_sockets_that_ask_for_them,
    a_pong_proves_delivery,
    a_pong_proves_no_delivery_of_chats_before_the_join,
    sixty_four_frames_in_flight_keep_their_order,
    an_acknowledged_chat_comes_before_the_next_one_of_its_reader,
    chats_stay_in_their_room,
    a_socket_is_closed_when_its_token_expires,
    a_socket_ends_properly_when_the_client_closes,
];

async fn a_chat_reaches_every_socket_of_the_room_the_senders_included(db: Db) {
    let server = TestServer::spawn(db).await;
    let (ann, bob, room) = server.api().pair().await;
    let mut sockets = [ann.joins(room).await, ann.joins(room).await, bob.joins(room).await, bob.joins(room).await];
    sockets[0].send("said over the first socket");
    let mut first: Option<Value> = None;
    for socket in &mut sockets {
        let chat = socket.expect_message("said over the first socket").await;
        for key in ["id", "chatroom_id", "sender_id", "receiver_id", "seq", "version"] {
            assert!(chat[key].is_i64(), "{key}: {chat}");
        }
        assert_eq!((&chat["sender_id"], &chat["receiver_id"]), (&json!(ann.id), &json!(bob.id)));
        assert_eq!((&chat["chatroom_id"], &chat["seq"]), (&json!(room), &json!(1)));
        assert!(chat["create_time"].is_string() && chat.get("event").is_none(), "{chat}");
        assert_eq!(*first.get_or_insert_with(|| chat.clone()), chat, "the same for all");
    }
    sockets[3].send("and the other one answers");
    for socket in &mut sockets {
        assert_eq!(socket.expect_message("and the other one answers").await["sender_id"], bob.id);
    }
    let stored = ann.history(room).await;
    assert_eq!(stored[0]["id"], first.unwrap()["id"]);
    assert_eq!(contents(&stored).len(), 2);
}

async fn a_chat_posted_by_rest_reaches_sockets(db: Db) {
    let server = TestServer::spawn(db).await;
    let (ann, bob, room) = server.api().pair().await;
    let (mut one, mut two) = (ann.joins(room).await, bob.joins(room).await);
    let chat = ann.says(room, "posted and not sent").await;
    for socket in [&mut one, &mut two] {
        let got = socket.expect_message("posted and not sent").await;
        assert_eq!((&got["id"], &got["seq"], &got["create_time"]), (&chat["id"], &chat["seq"], &chat["create_time"]));
    }
}

async fn a_stranger_is_refused_before_the_upgrade(db: Db) {
    let server = TestServer::spawn(db).await;
    let (ann, _, room) = server.api().pair().await;
    let stranger = server.api().person("cem").await;
    let expired = {
        let mut old = claims(ann.id);
        old["exp"] = json!(now() - 60);
        mint(&old)
    };
    for (path, status, code) in [
        (format!("/ws/chatrooms/{room}/"), 401, "token_missing"),
        (format!("/ws/chatrooms/{room}/?jwt="), 401, "token_"),
        (format!("/ws/chatrooms/{room}/?jwt=abc"), 401, "token_invalid"),
        (format!("/ws/chatrooms/{room}/?jwt={expired}"), 401, "token_expired"),
        (format!("/ws/chatrooms/{room}/?jwt={}", stranger.token), 404, "not_found"),
        (format!("/ws/chatrooms/999999/?jwt={}", ann.token), 404, "not_found"),
        (format!("/ws/chatrooms/abc/?jwt={}", ann.token), 404, "not_found"),
    ] {
        let refused = RawSocket::open(server.ports().pick(), &path, "").await.err().expect("an HTTP answer, no socket");
        let problem = refused.json();
        assert_eq!(refused.status, status, "{path}: {problem}");
        assert!(problem["code"].as_str().unwrap().starts_with(code), "{path}: {problem}");
    }
}

async fn a_token_may_come_in_the_query_or_in_a_header(db: Db) {
    let server = TestServer::spawn(db).await;
    let (ann, _, room) = server.api().pair().await;
    let bearer = format!("Bearer {}", ann.token);
    let headers = [("authorization", bearer.as_str())];
    let mut socket = ChatroomSocket::open(&ann.api, &format!("/ws/chatrooms/{room}/"), &headers).await;
    socket.expect_nothing_before_own("signed in by a header").await;
    let minted = ann.with_token(&mint(&claims(ann.id)));
    minted.joins(room).await.expect_nothing_before_own("signed in by a backend's token").await;
}

async fn the_path_works_with_and_without_its_last_slash(db: Db) {
    let server = TestServer::spawn(db).await;
    let (ann, _, room) = server.api().pair().await;
    for path in [format!("/ws/chatrooms/{room}/?jwt={}", ann.token), format!("/ws/chatrooms/{room}?jwt={}", ann.token)]
    {
        let mut socket = ChatroomSocket::open(&ann.api, &path, &[]).await;
        socket.expect_nothing_before_own("with or without a slash").await;
    }
}

async fn a_retry_with_a_client_id_sends_no_second_chat(db: Db) {
    let server = TestServer::spawn(db).await;
    let (ann, bob, room) = server.api().pair().await;
    let (mut one, mut two) = (ann.joins(room).await, bob.joins(room).await);
    one.send_with_client_id("sent once over a socket", "socket-1");
    let first = one.expect_message("sent once over a socket").await;
    assert_eq!(first["client_id"], "socket-1");
    two.expect_message("sent once over a socket").await;
    one.send_with_client_id("sent once over a socket", "socket-1");
    let again = one.expect_message("sent once over a socket").await;
    assert_eq!((&again["id"], &again["seq"]), (&first["id"], &first["seq"]), "who asks again is answered");
    let by_rest = ann.says_once(room, "sent once over a socket", "socket-1").await.expect(200);
    assert_eq!(by_rest["id"], first["id"], "the same over any transport");
    ann.says(room, "what comes next for both").await;
    two.expect_message("what comes next for both").await;
    one.send_with_client_id("another content over it", "socket-1");
    let mut frame = one.next(s(10)).await.expect("an answer");
    if frame["message"] == "what comes next for both" {
        frame = one.next(s(10)).await.expect("an answer");
    }
    assert_eq!(frame["error"]["code"], "client_id_conflict", "{frame}");
    assert_eq!(ann.history(room).await.len(), 2);
}

async fn a_refused_frame_is_answered_and_the_socket_stays(db: Db) {
    let server = TestServer::spawn(db).await;
    let (ann, bob, room) = server.api().pair().await;
    let (mut socket, mut other) = (ann.joins(room).await, bob.joins(room).await);
    let long = json!({"message": "가".repeat(8_001)}).to_string();
    let deep = format!("{{\"message\":{}{}}}", "[".repeat(200), "]".repeat(200));
    for (frame, code) in [
        ("not json", "malformed"),
        ("", "malformed"),
        ("[]", "malformed"),
        ("7", "malformed"),
        ("{}", ""),
        (r#"{"message":null}"#, ""),
        (r#"{"message":7}"#, ""),
        (r#"{"message":["a"]}"#, ""),
        (deep.as_str(), "malformed"),
        (r#"{"message":"\ud800"}"#, "malformed"),
        (r#"{"message":""}"#, "invalid"),
        (r#"{"message":"  "}"#, "invalid"),
        (r#"{"message":"a\u0000b"}"#, "invalid"),
        (r#"{"message":"under no name","client_id":""}"#, "invalid"),
        (long.as_str(), "invalid"),
    ] {
        socket.send_text(frame);
        let problem = socket.expect_error().await;
        let shown: String = frame.chars().take(50).collect();
        assert!(
            problem["code"] == code || (code.is_empty() && matches!(problem["status"].as_u64(), Some(400 | 422))),
            "{shown}: {problem}"
        );
    }
    socket.send_text(r#"{"message":"keys that nobody may set","id":7,"sender_id":7,"seq":70,"chatroom_id":7}"#);
    let chat = socket.expect_message("keys that nobody may set").await;
    assert_eq!((&chat["sender_id"], &chat["seq"], &chat["chatroom_id"]), (&json!(ann.id), &json!(1), &json!(room)));
    other.expect_message("keys that nobody may set").await;
    assert_eq!(bob.history(room).await.len(), 1, "nothing refused was stored");
}

async fn events_come_only_to_sockets_that_ask_for_them(db: Db) {
    let server = TestServer::spawn(db).await;
    let (ann, bob, room) = server.api().pair().await;
    let (mut plain, mut events) = (bob.joins(room).await, bob.joins_with_events(room).await);
    let chat = ann.says(room, "as it was at first").await;
    plain.expect_message("as it was at first").await;
    events.expect_message("as it was at first").await;
    let path = format!("/api/chats/{}", chat["id"]);
    ann.put(&path, &json!({"content": "as it was edited"})).await.expect(200);
    let edited = events.expect_event("edited").await;
    assert_eq!((&edited["id"], &edited["version"]), (&chat["id"], &json!(2)), "{edited}");
    assert!(edited.to_string().contains("as it was edited"), "{edited}");
    ann.delete(&path).await.expect(200);
    let deleted = events.expect_event("deleted").await;
    assert_eq!((&deleted["id"], &deleted["version"]), (&chat["id"], &json!(3)), "{deleted}");
    ann.says(room, "a proof that nothing came between").await;
    plain.expect_message("a proof that nothing came between").await;
    events.expect_message("a proof that nothing came between").await;
}

async fn a_pong_proves_delivery(db: Db) {
    let server = TestServer::spawn(db).await;
    let (ann, bob, room) = server.api().pair().await;
    let mut socket = bob.joins(room).await;
    for n in 1..=3 {
        ann.says(room, &format!("number {n} to be proven")).await;
    }
    socket.read_until_seq(3, s(5)).await;
    eventually("the pong's proof of three chats", s(5), || async {
        let (delivered, read) = marks_of(&ann.room(room).await, bob.id);
        assert_eq!(read, 0, "a stack that reads is not a person who reads");
        (delivered == 3).then_some(())
    })
    .await;
    assert_eq!(bob.room(room).await["unread_count"], 3);
    drop(socket);
    let path = format!("/ws/chatrooms/{room}/?jwt={}", bob.token);
    let mut silent = RawSocket::open(server.ports().pick(), &path, "").await.unwrap();
    ann.says(room, "to one whose stack does not answer").await;
    assert_eq!(silent.expect_text().await["message"], "to one whose stack does not answer");
    let ping = silent.expect(PING, s(5)).await;
    assert!(silent.send(PONG, b"no nonce of yours").await);
    stays("nothing is proven yet", Duration::from_millis(700), || async { bob.marks(room).await == (3, 0) }).await;
    assert!(silent.send(PONG, &ping.payload).await);
    eventually("the proof of the true nonce", s(5), || async { (bob.marks(room).await == (4, 0)).then_some(()) }).await;
}

async fn a_pong_proves_no_delivery_of_chats_before_the_join(db: Db) {
    let server = TestServer::spawn(db).await;
    let (ann, bob, room) = server.api().pair().await;
    ann.says(room, "sent while bob was away").await;
    let mut socket = bob.joins(room).await;
    ann.says(room, "sent while bob is there").await;
    socket.expect_message("sent while bob is there").await;
    let mut proof = ann.joins(room).await;
    for n in 0..5 {
        proof.expect_nothing_before_own(&format!("round {n} past any ping")).await;
        socket.expect_chat().await;
    }
    let unproven = || async { bob.marks(room).await.0 == 0 };
    stays("the first was never sent to this socket", Duration::from_millis(700), unproven).await;
    bob.history(room).await;
    eventually("the history's proof", s(5), || async { (bob.marks(room).await.0 == 7).then_some(()) }).await;
}

async fn sixty_four_frames_in_flight_keep_their_order(db: Db) {
    let server = TestServer::spawn(db).await;
    let (ann, bob, room) = server.api().pair().await;
    let (mut one, mut two) = (ann.joins(room).await, bob.joins(room).await);
    for n in 0..64 {
        one.send(&format!("in flight number {n}"));
    }
    for socket in [&mut one, &mut two] {
        socket.read_until_seq(64, s(20)).await;
        assert_eq!(numbers(&socket.chats, "seq"), (1..=64).collect::<Vec<_>>());
        for (n, chat) in socket.chats.iter().enumerate() {
            assert_eq!(chat["message"], format!("in flight number {n}"));
        }
    }
}

async fn an_acknowledged_chat_comes_before_the_next_one_of_its_reader(db: Db) {
    let server = TestServer::spawn(db).await;
    let (ann, bob, room) = server.api().pair().await;
    let mut socket = bob.joins(room).await;
    for n in 0..20 {
        let question = ann.says(room, &format!("question number {n}")).await;
        socket.expect_message(&format!("question number {n}")).await;
        let answer = socket.expect_nothing_before_own(&format!("answer number {n}")).await;
        assert!(answer["seq"].as_i64() > question["seq"].as_i64(), "{answer} before {question}");
    }
}

async fn chats_stay_in_their_room(db: Db) {
    let server = TestServer::spawn(db).await;
    let (ann, bob, room) = server.api().pair().await;
    let cem = server.api().person("cem").await;
    let other = ann.room_with(&cem).await;
    let (mut here, mut there) = (bob.joins(room).await, cem.joins(other).await);
    ann.says(room, "for bob and nobody else").await;
    ann.says(other, "for cem and nobody else").await;
    here.expect_message("for bob and nobody else").await;
    there.expect_message("for cem and nobody else").await;
    here.expect_nothing_before_own("nothing else comes here").await;
    there.expect_nothing_before_own("nothing else comes there").await;
}

async fn a_socket_is_closed_when_its_token_expires(db: Db) {
    let server = TestServer::spawn(db).await;
    let (ann, _, room) = server.api().pair().await;
    let mut brief = claims(ann.id);
    brief["exp"] = json!(now() + 3);
    let mut socket = ann.with_token(&mint(&brief)).joins(room).await;
    socket.expect_nothing_before_own("while it is valid").await;
    assert_eq!(socket.expect_close(s(63)).await, 4401);
}

async fn a_socket_ends_properly_when_the_client_closes(db: Db) {
    let server = TestServer::spawn(db).await;
    let (ann, bob, room) = server.api().pair().await;
    let (mut leaving, mut staying) = (ann.joins(room).await, bob.joins(room).await);
    leaving.close();
    let code = leaving.expect_close(s(5)).await;
    assert!(matches!(code, 1000 | 1005), "{code}");
    staying.expect_nothing_before_own("the other one goes on").await;
}
