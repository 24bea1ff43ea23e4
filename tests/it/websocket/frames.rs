//! Frames: their lengths, fragments, text, masks and opcodes, and which close code each violation gets.

use serde_json::json;

use super::{Room, masked};
use crate::support::raw_socket::{BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, frame, head};
use crate::support::sockets_open::memory_bytes;
use crate::support::wait::s;

const FRAME_BYTES: usize = 131_072;

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
async fn text_that_is_not_utf8_closes_1007() {
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
        // The client reads nothing: a server that queued the answers would grow.
        if !socket.write(&flood).await {
            break;
        }
    }
    let grown = memory_bytes(room.server.pid()).saturating_sub(before);
    assert!(grown < 16 << 20, "{grown} bytes more");
    room.still_works().await;
}
