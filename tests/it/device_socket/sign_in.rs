//! Signing in to a device socket: the four ways to send a token, and what the server refuses.

use std::time::{Duration, Instant};

use serde_json::json;

use super::closing::brief;
use crate::support::device_socket::{DeviceSocket, WAYS, Way};
use crate::support::secrets::{JWT_SECRET, PASSWORD};
use crate::support::token::{claims, forge, mint};
use crate::support::wait::s;
use crate::support::{Db, RawSocket, TestServer, eventually, on_all};

on_all![
    a_token_may_be_sent_in_four_ways,
    ready_holds_the_account_and_every_room,
    a_bad_token_is_refused_before_the_upgrade,
    frames_before_the_sign_in_are_refused,
    a_bad_token_in_the_first_frame_gets_an_error_and_closes_4401,
];

async fn a_token_may_be_sent_in_four_ways(db: Db) {
    let server = TestServer::spawn(db).await;
    let (ann, _, _) = server.api().pair().await;
    let minted = mint(&claims(ann.id));
    for way in WAYS {
        for token in [&ann.token, &minted] {
            let mut socket = DeviceSocket::connect(server.port, token, way).await.expect("a socket");
            // A token in the query asks for no subprotocol; the subprotocol with the token is never the answer.
            let answered = (way != Way::Query).then_some("hyper-chat.v1");
            assert_eq!(socket.protocol(), answered, "{way:?}");
            assert_eq!(socket.expect_ready().await["chatter"]["id"], ann.id, "{way:?}");
            socket.expect_nothing_else().await;
        }
    }
    let both = [("sec-websocket-protocol", &*format!("bearer.{minted}, other, hyper-chat.v1"))];
    let mut socket = DeviceSocket::connect_with(server.port, "/ws", &both).await.expect("in any order");
    assert_eq!(socket.protocol(), Some("hyper-chat.v1"));
    socket.expect_ready().await;
}

async fn ready_holds_the_account_and_every_room(db: Db) {
    let server = TestServer::spawn(db).await;
    let (ann, bob, room) = server.api().pair().await;
    let notes = bob.room_with(&bob).await;
    for n in 1..=3 {
        ann.says(room, &format!("number {n} to be listed")).await;
    }
    bob.receipt(room, &json!({"delivered_seq": 2, "read_seq": 1}), (2, 1)).await;
    bob.says(notes, "a note to oneself").await;
    let mut socket = bob.device().await;
    let ready = socket.ready.clone();
    assert_eq!(ready["chatter"], bob.get("/api/chatters/me").await.expect(200), "one's own body, as REST shows it");
    assert!(ready["socket_id"].as_str().is_some_and(|id| !id.is_empty()), "{ready}");
    assert!(ready["server_time"].as_str().is_some_and(|t| t.len() == 27 && t.ends_with('Z')), "{ready}");
    assert_eq!(
        (&ready["heartbeat_s"], &ready["unread_total"], &ready["has_more"]),
        (&json!(25), &json!(2), &json!(false))
    );
    let listed = json!({
        "id": room, "version": 3, "last_seq": 3, "unread_count": 2,
        "receipts": {
            ann.id.to_string(): {"delivered_seq": 0, "read_seq": 0},
            bob.id.to_string(): {"delivered_seq": 2, "read_seq": 1},
        }
    });
    assert_eq!(*socket.listed(room), listed);
    assert_eq!((&socket.listed(notes)["unread_count"], &socket.listed(notes)["version"]), (&json!(0), &json!(1)));
    assert_eq!(socket.rooms.len(), 2);
    socket.expect_nothing_else().await;
    let other = bob.device().await;
    assert_ne!(other.ready["socket_id"], ready["socket_id"], "each socket has an id of its own");
    let stranger = server.api().person("cem").await;
    assert_eq!(stranger.device().await.ready["chatrooms"], json!([]));
}

async fn a_bad_token_is_refused_before_the_upgrade(db: Db) {
    let server = TestServer::spawn(db).await;
    let (ann, bob, _) = server.api().pair().await;
    let revoked = ann.signed_in_again().await;
    let change = json!({"password": "battery-staple-4712", "current_password": PASSWORD});
    ann.api.secrets.remember("battery-staple-4712");
    ann.put("/api/chatters", &change).await.expect(200);
    bob.delete("/api/chatters").await.expect(200);
    let unsigned = forge(r#"{"alg":"none"}"#, &claims(ann.id).to_string(), JWT_SECRET.as_bytes());
    let foreign = crate::support::token::mint_with(&jsonwebtoken::Header::default(), &claims(ann.id), &[b'x'; 32]);
    for (token, code) in [
        ("abc", "token_invalid"),
        (&*unsigned, "token_invalid"),
        (&*foreign, "token_invalid"),
        (&*brief(&ann, -60), "token_expired"),
        (&*revoked.token, "token_revoked"),
        (&*bob.token, "token_revoked"),
        (&*mint(&claims(999_999)), "token_"),
    ] {
        for (path, headers) in [
            ("/ws".to_owned(), format!("Authorization: Bearer {token}\r\n")),
            ("/ws".to_owned(), format!("Sec-WebSocket-Protocol: hyper-chat.v1, bearer.{token}\r\n")),
            (format!("/ws?jwt={token}"), String::new()),
        ] {
            let refused = RawSocket::open(server.port, &path, &headers).await.err().expect("an HTTP answer, no socket");
            let problem = refused.json();
            assert_eq!(refused.status, 401, "{code}: {problem}");
            assert_eq!(refused.header("content-type"), Some("application/problem+json"));
            assert!(problem["code"].as_str().is_some_and(|c| c.starts_with(code)), "{code}: {problem}");
            assert!(!String::from_utf8_lossy(&refused.body).contains(token), "{problem}");
        }
    }
}

async fn frames_before_the_sign_in_are_refused(db: Db) {
    let server = TestServer::spawn(db).await;
    let (ann, bob, room) = server.api().pair().await;
    let mut socket = DeviceSocket::unsigned(server.port).await;
    for frame in [
        json!({"type": "send", "chatroom_id": room, "client_id": "a", "content": "from nobody at all"}),
        json!({"type": "edit", "chat_id": 1, "content": "by nobody at all"}),
        json!({"type": "delete", "chat_id": 1}),
        json!({"type": "receipt", "chatroom_id": room, "read_seq": 1}),
        json!({"type": "typing", "chatroom_id": room, "typing": true}),
        json!({"type": "resume", "chatrooms": {room.to_string(): 0}}),
        json!({"type": "ping"}),
    ] {
        socket.refused(frame, "token_missing").await;
    }
    let mut other = bob.device().await;
    ann.says(room, "not for who is not signed in").await;
    other.expect_chat("not for who is not signed in").await;
    socket.send_json(&json!({"type": "auth", "token": ann.token}));
    socket.expect_ready().await;
    assert_eq!(socket.listed(room)["version"], 1);
    assert_eq!(socket.says(room, "b", "and now from ann").await["sender_id"], ann.id);
}

async fn a_bad_token_in_the_first_frame_gets_an_error_and_closes_4401(db: Db) {
    let server = TestServer::spawn(db).await;
    let (ann, _, _) = server.api().pair().await;
    for (token, code) in [("abc", "token_invalid"), (&*brief(&ann, -60), "token_expired"), ("", "token_invalid")] {
        let mut socket = DeviceSocket::unsigned(server.port).await;
        socket.send_json(&json!({"type": "auth", "ref": "in", "token": token}));
        let error = socket.expect_error(code).await;
        assert_eq!(error["ref"], "in", "{error}");
        assert_eq!(socket.expect_close(s(5)).await, 4401);
    }
}

#[tokio::test]
async fn a_socket_that_does_not_sign_in_within_ten_seconds_is_closed_4401() {
    let server = TestServer::spawn(Db::Sqlite).await;
    let (ann, _, _) = server.api().pair().await;
    let mut silent = DeviceSocket::unsigned(server.port).await;
    let mut talking = DeviceSocket::unsigned(server.port).await;
    let mut signed = DeviceSocket::connect(server.port, &ann.token, Way::FirstFrame).await.expect("a socket");
    signed.expect_ready().await;
    let start = Instant::now();
    let closed = tokio::spawn(async move { silent.expect_close(s(25)).await });
    while start.elapsed() < s(8) {
        talking.refused(json!({"type": "ping"}), "token_missing").await;
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    assert!(!closed.is_finished(), "closed before its time");
    assert_eq!(talking.expect_close(s(25)).await, 4401, "talking is no signing in");
    assert_eq!(closed.await.expect("no panic"), 4401);
    signed.expect_nothing_else().await;
}

#[tokio::test]
async fn an_offer_without_our_subprotocol_is_refused_and_no_offer_is_accepted() {
    let server = TestServer::spawn(Db::Sqlite).await;
    let (ann, _, _) = server.api().pair().await;
    let bearer = format!("Authorization: Bearer {}\r\n", ann.token);
    for offer in ["graphql-ws", "hyper-chat.v2", "hyper-chat", &format!("bearer.{}", ann.token), ""] {
        let headers = format!("{bearer}Sec-WebSocket-Protocol: {offer}\r\n");
        let refused = RawSocket::open(server.port, "/ws", &headers).await.err().unwrap_or_else(|| panic!("{offer}"));
        let shown = offer.chars().take(12).collect::<String>();
        assert_eq!((refused.status, &refused.json()["code"]), (400, &json!("malformed")), "{shown}");
    }
    let mut none = RawSocket::open(server.port, "/ws", &bearer).await.expect("no offer, no answer");
    assert_eq!(none.expect_text().await["type"], "ready");
    let many = format!("{bearer}Sec-WebSocket-Protocol: other\r\nSec-WebSocket-Protocol: hyper-chat.v1\r\n");
    let mut two = RawSocket::open(server.port, "/ws", &many).await.expect("a list may come in several headers");
    assert_eq!(two.expect_text().await["type"], "ready");
}

#[tokio::test]
async fn foreign_origins_and_requests_without_an_upgrade_are_refused() {
    let server = TestServer::spawn(Db::Sqlite).await;
    let (ann, _, _) = server.api().pair().await;
    let path = format!("/ws?jwt={}", ann.token);
    let refused = RawSocket::open(server.port, &path, "Origin: https://evil.example\r\n").await.err().expect("refused");
    assert_eq!((refused.status, &refused.json()["code"]), (403, &json!("origin_refused")));
    let same = format!("Origin: http://127.0.0.1:{}\r\n", server.port);
    RawSocket::open(server.port, &path, &same).await.expect("the same origin");
    ann.get("/ws").await.problem(426, "upgrade_required");
    ann.post("/ws", &json!({})).await.problem(405, "method_not_allowed");
}

/// How many sockets one address may have that are not signed in.
const UNSIGNED_MAX: usize = 20;

#[tokio::test]
async fn at_most_twenty_sockets_of_an_address_wait_for_their_sign_in() {
    let server = TestServer::spawn(Db::Sqlite).await;
    let (ann, _, _) = server.api().pair().await;
    let mut waiting = Vec::new();
    for _ in 0..UNSIGNED_MAX {
        waiting.push(DeviceSocket::unsigned(server.port).await);
    }
    let refused = RawSocket::open(server.port, "/ws", "").await.err().expect("one too many");
    assert_eq!((refused.status, &refused.json()["code"]), (429, &json!("rate_limited")));
    assert!(refused.header("retry-after").is_some_and(|wait| wait.parse::<u64>().is_ok()));
    ann.device().await.expect_nothing_else().await;
    let mut signed = waiting.pop().expect("there are some");
    signed.send_json(&json!({"type": "auth", "token": ann.token}));
    signed.expect_ready().await;
    let another = DeviceSocket::unsigned(server.port).await;
    RawSocket::open(server.port, "/ws", "").await.err().expect("full again");
    another.close();
    eventually("a place is free after a close", s(5), || async { RawSocket::open(server.port, "/ws", "").await.ok() })
        .await;
    signed.expect_nothing_else().await;
}
