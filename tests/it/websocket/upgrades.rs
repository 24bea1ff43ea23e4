//! Upgrades: which requests become a WebSocket, from which origins, and at what cost.

use super::{Room, masked};
use crate::support::raw_socket::TEXT;
use crate::support::sockets_open::memory_bytes;
use crate::support::wait::s;
use crate::support::{Db, RawSocket, TestServer, alone};

#[tokio::test]
async fn a_malformed_upgrade_is_refused() {
    let room = Room::new().await;
    let path = room.path();
    let send = async |request: String| {
        crate::support::http::send_bytes(room.server.port, request.as_bytes(), s(10)).await.status
    };
    let host = "Host: 127.0.0.1";
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket";
    let key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";
    let version = "Sec-WebSocket-Version: 13";
    for (what, request, statuses) in [
        ("plain", format!("GET {path} HTTP/1.1\r\n{host}\r\n\r\n"), &[400, 426][..]),
        (
            "version 12",
            format!("GET {path} HTTP/1.1\r\n{host}\r\n{upgrade}\r\n{key}\r\nSec-WebSocket-Version: 12\r\n\r\n"),
            &[400, 426],
        ),
        ("no version", format!("GET {path} HTTP/1.1\r\n{host}\r\n{upgrade}\r\n{key}\r\n\r\n"), &[400, 426]),
        ("no key", format!("GET {path} HTTP/1.1\r\n{host}\r\n{upgrade}\r\n{version}\r\n\r\n"), &[400]),
        (
            "POST",
            format!("POST {path} HTTP/1.1\r\n{host}\r\n{upgrade}\r\n{version}\r\n{key}\r\n\r\n"),
            &[400, 404, 405],
        ),
        (
            "HTTP/1.0",
            format!("GET {path} HTTP/1.0\r\n{host}\r\n{upgrade}\r\n{version}\r\n{key}\r\n\r\n"),
            &[400, 426, 505],
        ),
    ] {
        let status = send(request).await;
        assert!(statuses.contains(&status), "{what}: {status}");
    }
    let hook = RawSocket::open(room.server.port, &path, "Sec-WebSocket-Protocol: test\r\n").await;
    let mut socket = hook.expect("an unknown subprotocol is ignored here");
    socket.send(TEXT, br#"{"message":"with an unknown subprotocol"}"#).await;
    assert_eq!(socket.expect_text().await["message"], "with an unknown subprotocol");
    let deflate = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n";
    let mut socket = RawSocket::open(room.server.port, &path, deflate).await.expect("an extension is ignored");
    socket.write(&masked(0xC0 | TEXT, b"compressed?")).await;
    assert_eq!(socket.expect_close(s(5)).await, 1002, "it was not agreed on");
}

#[tokio::test]
async fn c6_subprotocols_in_several_header_lines_are_one_list() {
    let room = Room::new().await;
    let (ours, bearer) = ("hyper-chat.v1".to_owned(), format!("bearer.{}", room.ann.token));
    for lines in [[&ours, &bearer, "other"], [&bearer, &ours, "other"], ["other", &bearer, &ours]] {
        let headers: String = lines.iter().map(|line| format!("Sec-WebSocket-Protocol: {line}\r\n")).collect();
        let request = format!(
            "GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n"
        );
        let answer = crate::support::http::send_bytes(room.server.port, request.as_bytes(), s(10)).await;
        assert_eq!((answer.status, answer.header("sec-websocket-protocol")), (101, Some(&*ours)), "{}", lines[0].len());
        let mut socket = RawSocket::open(room.server.port, "/ws", &headers).await.expect("a socket");
        assert_eq!(socket.expect_text().await["type"], "ready", "the token is found in any line");
    }
}

#[tokio::test]
async fn a_foreign_origin_is_refused_and_a_missing_one_is_not() {
    let room = Room::new().await;
    let port = room.server.port;
    for origin in
        ["https://evil.example", "null", "http://127.0.0.1", &format!("https://127.0.0.1:{port}.evil.example")]
    {
        let refused = RawSocket::open(port, &room.path(), &format!("Origin: {origin}\r\n")).await.err();
        let refused = refused.unwrap_or_else(|| panic!("{origin} was let in"));
        assert_eq!((refused.status, refused.json()["code"].as_str()), (403, Some("origin_refused")), "{origin}");
    }
    let same = format!("Origin: http://127.0.0.1:{port}\r\n");
    assert!(RawSocket::open(port, &room.path(), &same).await.is_ok(), "the demo page's own");
    assert!(RawSocket::open(port, &room.path(), "").await.is_ok(), "native apps send none");
}

#[tokio::test]
async fn a_listed_origin_may_open_sockets() {
    let server = TestServer::with(Db::Sqlite).set("SERVER__ALLOWED_ORIGINS", "https://app.example").start().await;
    let (ann, _, room) = server.api().pair().await;
    let path = format!("/ws/chatrooms/{room}/?jwt={}", ann.token);
    assert!(RawSocket::open(server.port, &path, "Origin: https://app.example\r\n").await.is_ok());
    let refused = RawSocket::open(server.port, &path, "Origin: https://other.example\r\n").await.err().unwrap();
    assert_eq!(refused.status, 403);
}

#[tokio::test]
async fn thousands_of_upgrades_without_a_token_cost_nothing() {
    let _turn = alone().await;
    let room = Room::new().await;
    let before = memory_bytes(room.server.pid());
    let path = format!("/ws/chatrooms/{}/", room.id);
    for _ in 0..40 {
        let tries = (0..50).map(|_| RawSocket::open(room.server.port, &path, ""));
        for refused in futures_util::future::join_all(tries).await {
            assert_eq!(refused.err().expect("refused").status, 401);
        }
    }
    let grown = memory_bytes(room.server.pid()).saturating_sub(before);
    assert!(grown < 32 << 20, "{grown} bytes more");
    room.still_works().await;
}
