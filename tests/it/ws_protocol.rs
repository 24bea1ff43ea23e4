//! RFC 6455 as a hostile client sees it: frames, fragments, pings, closing, upgrades, origins.

use serde_json::json;

use crate::support::proxy::Proxy;
use crate::support::raw_socket::{BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, frame, head};
use crate::support::sockets_open::{held, memory_bytes};
use crate::support::wait::s;
use crate::support::{Db, Person, RawSocket, TestServer, alone, until};

const FRAME_BYTES: usize = 131_072;

struct Room {
    server: TestServer,
    ann: Person,
    bob: Person,
    id: i64,
}

impl Room {
    async fn new() -> Self {
        let server = TestServer::spawn(Db::Sqlite).await;
        let (ann, bob, id) = server.api().pair().await;
        Self { server, ann, bob, id }
    }

    fn path(&self) -> String {
        format!("/ws/chatrooms/{}/?jwt={}", self.id, self.ann.token)
    }

    async fn socket(&self) -> RawSocket {
        RawSocket::open(self.server.port, &self.path(), "").await.expect("a socket")
    }

    /// Sends these bytes on a fresh socket; the code that the server closes with.
    async fn close_code(&self, bytes: &[u8]) -> u16 {
        let mut socket = self.socket().await;
        socket.write(bytes).await;
        let code = socket.expect_close(s(10)).await;
        socket.expect_end(s(5)).await;
        code
    }

    /// The other one's socket works as before.
    async fn still_works(&self) {
        self.bob.joins(self.id).await.expect_nothing_before_own("the others are unaffected").await;
    }
}

fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    frame(first, Some([1, 2, 3, 4]), payload)
}

#[tokio::test]
async fn a_frame_beyond_the_limit_closes_1009_without_being_buffered() {
    let room = Room::new().await;
    let before = memory_bytes(room.server.pid());
    let just = json!({"message": "x", "pad": "p".repeat(FRAME_BYTES - 30)}).to_string();
    assert!(just.len() <= FRAME_BYTES);
    let mut socket = room.socket().await;
    assert!(socket.send(TEXT, just.as_bytes()).await);
    assert_eq!(socket.expect_text().await["message"], "x", "just within the limit");
    let one_more = vec![b'x'; FRAME_BYTES + 1];
    assert_eq!(room.close_code(&masked(0x80 | TEXT, &one_more)).await, 1009);
    assert_eq!(room.close_code(&masked(0x80 | TEXT, &vec![b'x'; 1 << 20])).await, 1009);
    for claimed in [1 << 40, (1 << 63) - 1] {
        assert_eq!(room.close_code(&head(0x80 | TEXT, true, claimed)).await, 1009, "claims {claimed}");
    }
    let code = room.close_code(&head(0x80 | TEXT, true, u64::MAX)).await;
    assert!(matches!(code, 1002 | 1009), "the first bit of a length must be 0: {code}");
    let grown = memory_bytes(room.server.pid()).saturating_sub(before);
    assert!(grown < 24 << 20, "{grown} bytes more");
    room.still_works().await;
}

#[tokio::test]
async fn text_that_is_no_utf8_closes_1007() {
    let room = Room::new().await;
    for bad in [&b"{\"message\":\"\xff\"}"[..], b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe2\x82"] {
        assert_eq!(room.close_code(&masked(0x80 | TEXT, bad)).await, 1007, "{bad:?}");
    }
    let mut parts = masked(TEXT, b"{\"message\":\"\xe2\x82");
    parts.extend(masked(0x80 | CONTINUATION, b"\x28\"}"));
    assert_eq!(room.close_code(&parts).await, 1007);
    let mut socket = room.socket().await;
    socket.send_part(TEXT, false, b"{\"message\":\"a euro \xe2").await;
    socket.send_part(CONTINUATION, true, b"\x82\xac in two parts\"}").await;
    assert_eq!(socket.expect_text().await["message"], "a euro € in two parts", "a character may be split");
}

#[tokio::test]
async fn frames_against_the_protocol_close_1002() {
    let room = Room::new().await;
    let text = br#"{"message":"must not arrive"}"#;
    let mut double = masked(TEXT, b"{");
    double.extend(masked(0x80 | TEXT, text));
    for (what, bytes) in [
        ("unmasked", frame(0x80 | TEXT, None, text)),
        ("RSV1", masked(0xC0 | TEXT, text)),
        ("RSV2", masked(0xA0 | TEXT, text)),
        ("RSV3", masked(0x90 | TEXT, text)),
        ("opcode 3", masked(0x83, text)),
        ("opcode 7", masked(0x87, text)),
        ("opcode 11", masked(0x8B, b"")),
        ("opcode 15", masked(0x8F, b"")),
        ("a continuation of nothing", masked(0x80 | CONTINUATION, text)),
        ("a new message inside another", double),
        ("a ping of 126 bytes", masked(0x80 | PING, &[b'x'; 126])),
        ("a ping in parts", masked(PING, b"x")),
        ("a close in parts", masked(CLOSE, &1000u16.to_be_bytes())),
        ("a close of one byte", masked(0x80 | CLOSE, &[3])),
        ("a close with code 999", masked(0x80 | CLOSE, &999u16.to_be_bytes())),
        ("a close with code 1005", masked(0x80 | CLOSE, &1005u16.to_be_bytes())),
        ("a close of 126 bytes", masked(0x80 | CLOSE, &[3; 126])),
    ] {
        assert_eq!(room.close_code(&bytes).await, 1002, "{what}");
    }
    let mut reason = 1000u16.to_be_bytes().to_vec();
    reason.extend_from_slice(b"\xff\xff");
    let code = room.close_code(&masked(0x80 | CLOSE, &reason)).await;
    assert!(matches!(code, 1002 | 1007), "a reason that is no UTF-8: {code}");
    assert!(room.ann.history(room.id).await.is_empty());
    room.still_works().await;
}

#[tokio::test]
async fn a_binary_frame_closes_1003() {
    let room = Room::new().await;
    assert_eq!(room.close_code(&masked(0x80 | BINARY, b"{\"message\":\"binary\"}")).await, 1003);
    let mut parts = masked(BINARY, b"one part");
    parts.extend(masked(0x80 | CONTINUATION, b" and another"));
    assert_eq!(room.close_code(&parts).await, 1003);
}

#[tokio::test]
async fn fragments_make_one_message_and_pings_between_them_are_answered() {
    let room = Room::new().await;
    let mut socket = room.socket().await;
    let text = br#"{"message":"many small parts"}"#;
    for (n, byte) in text.iter().enumerate() {
        let opcode = if n == 0 { TEXT } else { CONTINUATION };
        assert!(socket.send_part(opcode, false, &[*byte]).await);
        if n == 5 {
            assert!(socket.send(PING, b"between").await);
            assert_eq!(socket.expect(PONG, s(5)).await.payload, b"between");
        }
    }
    assert!(socket.send_part(CONTINUATION, true, b"").await);
    assert_eq!(socket.expect_text().await["message"], "many small parts");
}

#[tokio::test]
async fn fragments_share_one_limit_and_have_fifteen_seconds_in_total() {
    let room = Room::new().await;
    let mut parts = masked(TEXT, &[b'x'; 1 << 16]);
    parts.extend(masked(CONTINUATION, &[b'x'; 1 << 16]));
    parts.extend(masked(CONTINUATION, b"x"));
    assert_eq!(room.close_code(&parts).await, 1009);
    let mut endless = room.socket().await;
    endless.send_part(TEXT, false, b"{\"mess").await;
    let start = std::time::Instant::now();
    let code = endless.expect_close(s(25)).await;
    assert!(matches!(code, 1002 | 1008 | 4408), "{code}");
    let waited = start.elapsed();
    assert!(s(10) < waited && waited < s(20), "15 s, not {waited:?}");
    endless.expect_end(s(5)).await;
    room.still_works().await;
}

#[tokio::test]
async fn pings_are_answered_with_their_payload_and_a_flood_is_bounded() {
    let room = Room::new().await;
    let mut socket = room.socket().await;
    for payload in [&b""[..], b"x", &[0; 125]] {
        assert!(socket.send(PING, payload).await);
        assert_eq!(socket.expect(PONG, s(5)).await.payload, payload);
    }
    let before = memory_bytes(room.server.pid());
    let flood: Vec<u8> = (0..1_000).flat_map(|_| masked(0x80 | PING, &[7; 125])).collect();
    for _ in 0..50 {
        // Nothing is read back: a server that queued the answers would grow.
        if !socket.write(&flood).await {
            break;
        }
    }
    let grown = memory_bytes(room.server.pid()).saturating_sub(before);
    assert!(grown < 16 << 20, "{grown} bytes more");
    room.still_works().await;
}

#[tokio::test]
async fn a_close_is_answered_and_the_connection_ends_whatever_the_client_does() {
    let room = Room::new().await;
    let mut socket = room.socket().await;
    assert!(socket.send(CLOSE, &1000u16.to_be_bytes()).await);
    assert_eq!(socket.expect_close(s(3)).await, 1000);
    socket.expect_end(s(3)).await;
    let mut talker = room.socket().await;
    let mut bytes = masked(0x80 | CLOSE, &1000u16.to_be_bytes());
    bytes.extend(masked(0x80 | TEXT, br#"{"message":"after the close"}"#));
    assert!(talker.write(&bytes).await);
    assert_eq!(talker.expect_close(s(3)).await, 1000);
    talker.expect_end(s(3)).await;
    let mut broken = room.socket().await;
    assert!(broken.write(&frame(0x80 | TEXT, None, b"x")).await);
    assert_eq!(broken.expect_close(s(3)).await, 1002);
    broken.expect_end(s(3)).await;
    let mut empty = room.socket().await;
    assert!(empty.send(CLOSE, b"").await);
    let code = empty.expect_close(s(3)).await;
    assert!(matches!(code, 1000 | 1005), "{code}");
    assert!(room.ann.history(room.id).await.is_empty(), "nothing after a close counts");
}

#[tokio::test]
async fn a_silent_peer_is_pinged_and_let_go_after_sixty_seconds() {
    let room = Room::new().await;
    let mut silent = room.socket().await;
    let proxy = Proxy::before(room.server.port).await;
    let gone = RawSocket::open(proxy.port, &room.path(), "").await.expect("a socket");
    let behind = proxy.ports_behind();
    until("the server holds who is behind the proxy", s(20), || held(room.server.port, &behind) == 1).await;
    proxy.hole();
    silent.expect(PING, s(30)).await;
    let code = silent.expect_close(s(75)).await;
    assert_eq!(code, 4408, "silent too long");
    silent.expect_end(s(15)).await;
    until("the server lets go of who is behind the hole", s(30), || held(room.server.port, &behind) == 0).await;
    drop(gone);
}

#[tokio::test]
async fn an_upgrade_that_is_none_is_refused() {
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

#[tokio::test]
async fn a_client_that_vanishes_is_forgotten() {
    let room = Room::new().await;
    let mut ports = std::collections::HashSet::new();
    for _ in 0..20 {
        ports.insert(room.socket().await.local_port());
    }
    until("the server lets go of sockets whose clients are gone", s(10), || held(room.server.port, &ports) == 0).await;
    room.still_works().await;
}
