//! Lists of large chats, and clients that read them slowly: bounded in bytes, in number, and in what they cost others.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use crate::support::account::{list, numbers};
use crate::support::http::get_slowly;
use crate::support::rest::next_link;
use crate::support::sockets_open::memory_bytes;
use crate::support::wait::s;
use crate::support::{Db, Person, TestServer, alone, eventually, on_both};

on_both![
    a2_slow_readers_of_whole_histories_cost_bounded_memory_and_no_places_of_others,
    a2_pages_of_large_chats_are_bounded_in_bytes_and_go_on_to_the_end,
    a2_a_device_that_resumes_and_a_list_of_rooms_get_large_chats_in_bounded_parts,
];

/// Chats in the room of large chats, each 32,000 bytes.
const CHATS: i64 = 200;
const CHAT_BYTES: usize = 32_000;
/// The bytes of a page.
const PAGE_BYTES: usize = 262_144;
/// A page ends with the chat that reaches its bytes.
const ANSWER_BYTES_MAX: usize = PAGE_BYTES + CHAT_BYTES + 4_096;
/// Whole histories that each of two people asks for at once, and how many of them are let in.
const READERS_EACH: usize = 12;
const PLACES_EACH: usize = 8;
/// 16 pages that wait, as many that are read and encoded, and what the allocator keeps of them; a page of the rows alone
/// would take as much for each two of the readers.
const GROWTH_BYTES_MAX: u64 = 48 << 20;
/// How long a slow reader waits between two reads.
const SLOW_READ_EVERY: Duration = Duration::from_millis(200);
/// Chats by which the pair beside the readers is measured.
const MEASURED: usize = 40;

/// Fills a room with large chats.
async fn add_large_chats(server: &TestServer, room: i64, sender: i64) {
    let dump = server.dump().await;
    dump.add_chats(room, sender, 1..=CHATS).await;
    let content = match server.db {
        Db::Sqlite => "replace(hex(zeroblob(8000)), '00', '👋')",
        Db::Postgres | Db::Cluster => "repeat('👋', 8000)",
    };
    dump.run(&format!("UPDATE chats SET content = {content} WHERE chatroom_id = {room}")).await;
}

/// A request for the whole history on a connection whose kernel buffers little.
async fn open_history(server: &TestServer, reader: &Person, room: i64) -> TcpStream {
    get_slowly(server.port, &format!("/api/chatrooms/{room}/chats"), &reader.token, "").await
}

/// Reads an answer to its end, slowly until there is hurry: its head and its body, which may be chunked.
async fn read_to_end(mut tcp: TcpStream, mut bytes: Vec<u8>, hurry: Arc<AtomicBool>) -> (String, Vec<u8>) {
    let mut piece = vec![0; 16_384];
    loop {
        let read = tokio::time::timeout(s(30), tcp.read(&mut piece)).await.expect("in time").expect("an answer");
        if read == 0 {
            break;
        }
        bytes.extend_from_slice(&piece[..read]);
        if !hurry.load(Ordering::Relaxed) {
            tokio::time::sleep(SLOW_READ_EVERY).await;
        }
    }
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").expect("a head") + 4;
    let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
    let mut rest = &bytes[end..];
    if !head.contains("transfer-encoding: chunked") {
        return (head, rest.to_vec());
    }
    let mut body = Vec::new();
    loop {
        let line = rest.windows(2).position(|window| window == b"\r\n").expect("the length of a chunk");
        let length = usize::from_str_radix(&String::from_utf8_lossy(&rest[..line]), 16).expect("hexadecimal");
        rest = &rest[line + 2..];
        if length == 0 {
            return (head, body);
        }
        body.extend_from_slice(&rest[..length]);
        rest = &rest[length + 2..];
    }
}

/// How long a chat of a pair and the read of it take, at the median.
async fn measured(from: &Person, to: &Person, room: i64) -> Duration {
    let mut waits = Vec::new();
    for n in 0..MEASURED {
        let start = Instant::now();
        from.says(room, &format!("chat {n} beside the readers")).await;
        list(to.get(&format!("/api/chatrooms/{room}/chats?limit=5")).await);
        waits.push(start.elapsed());
    }
    waits.sort_unstable();
    waits[MEASURED / 2]
}

async fn a2_slow_readers_of_whole_histories_cost_bounded_memory_and_no_places_of_others(db: Db) {
    let _turn = alone().await;
    let server = TestServer::spawn(db).await;
    let (ann, bob, room) = server.api().pair().await;
    add_large_chats(&server, room, ann.id).await;
    let (cem, dan) = (server.api().person("cem").await, server.api().person("dan").await);
    let (quiet, own) = (cem.room_with(&dan).await, cem.room_with(&cem).await);
    add_large_chats(&server, own, cem.id).await;
    let calm = measured(&cem, &dan, quiet).await;
    let before = memory_bytes(server.pid());

    let mut readers = Vec::new();
    for reader in [&ann, &bob] {
        for _ in 0..READERS_EACH {
            readers.push(open_history(&server, reader, room).await);
        }
    }
    // Each has an answer that has begun: a few bytes of a list, or a whole refusal.
    let mut begun = Vec::new();
    for mut tcp in readers {
        let mut head = vec![0; 64];
        tokio::time::timeout(s(20), tcp.read_exact(&mut head)).await.expect("in time").expect("an answer");
        begun.push((tcp, head));
    }
    let hurry = Arc::new(AtomicBool::new(false));
    let work: Vec<_> =
        begun.into_iter().map(|(tcp, head)| tokio::spawn(read_to_end(tcp, head, hurry.clone()))).collect();
    let beside = measured(&cem, &dan, quiet).await;
    let mut most = memory_bytes(server.pid());
    hurry.store(true, Ordering::Relaxed);
    let whole = read_to_end(open_history(&server, &cem, own).await, Vec::new(), hurry).await;
    assert!(whole.0.starts_with("http/1.1 200"), "another chatter has places of their own: {}", whole.0);
    while work.iter().any(|reader| !reader.is_finished()) {
        most = most.max(memory_bytes(server.pid()));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let mut refused = 0;
    for reader in work {
        let (head, body) = reader.await.expect("no panic");
        let body: Value = serde_json::from_slice(&body).expect("whole JSON");
        if head.starts_with("http/1.1 429") {
            assert!(head.contains("retry-after: ") && body["code"] == "rate_limited", "{head}{body}");
            refused += 1;
            continue;
        }
        let chats = body.as_array().expect("a list");
        assert_eq!(numbers(chats, "seq"), (1..=CHATS).collect::<Vec<_>>());
        assert!(chats.iter().all(|chat| chat["content"].as_str().map(str::len) == Some(CHAT_BYTES)));
    }
    assert_eq!(refused, 2 * (READERS_EACH - PLACES_EACH));
    let grown = most.saturating_sub(before);
    assert!(grown < GROWTH_BYTES_MAX, "memory grew by {grown} bytes");
    let calm = calm.max(measured(&cem, &dan, quiet).await);
    assert!(beside < 3 * calm + Duration::from_millis(250), "{beside:?} beside the readers, {calm:?} without");
    let again = || async { (ann.get(&format!("/api/chatrooms/{room}/chats")).await.status == 200).then_some(()) };
    eventually("the places are free again", s(5), again).await;
}

async fn a2_pages_of_large_chats_are_bounded_in_bytes_and_go_on_to_the_end(db: Db) {
    let server = TestServer::spawn(db).await;
    let (ann, bob, room) = server.api().pair().await;
    add_large_chats(&server, room, ann.id).await;
    // Control characters take six times their bytes as JSON.
    let escaped = format!("!{}", "\u{1}".repeat(7_999));
    for _ in 0..20 {
        ann.says(room, &escaped).await;
    }
    let last = CHATS + 20;
    for direction in ["after=0", "before=1000"] {
        let (mut seen, mut page) = (Vec::new(), Some(format!("/api/chatrooms/{room}/chats?limit=200&{direction}")));
        while let Some(path) = page {
            let answer = bob.get(&path).await;
            assert!(answer.text.len() < ANSWER_BYTES_MAX + 6 * 8_000, "{} bytes", answer.text.len());
            page = next_link(&answer);
            seen.extend(numbers(&list(answer), "seq"));
        }
        seen.sort_unstable();
        assert_eq!(seen, (1..=last).collect::<Vec<_>>(), "{direction}");
    }
    let around = bob.get(&format!("/api/chatrooms/{room}/chats?limit=50&around=100")).await;
    assert!(around.text.len() < ANSWER_BYTES_MAX + CHAT_BYTES);
    let around = numbers(&list(around), "seq");
    assert!(around.contains(&99) && around.contains(&100) && around.contains(&101), "{around:?}");
    assert!(around.windows(2).all(|pair| pair[1] == pair[0] + 1), "without a gap: {around:?}");

    ann.put(&format!("/api/chats/{}", bob.history(room).await[2]["id"]), &json!({"content": escaped}))
        .await
        .expect(200);
    let (mut since, mut versions) = (0, Vec::new());
    loop {
        let answer = bob.get(&format!("/api/chatrooms/{room}/changes?since={since}&limit=200")).await;
        assert!(answer.text.len() < ANSWER_BYTES_MAX + 6 * 8_000, "{} bytes", answer.text.len());
        let body = answer.expect(200);
        versions.extend(numbers(body["changes"].as_array().expect("a list"), "version"));
        since = body["version"].as_i64().expect("a version");
        if body["has_more"] == false {
            break;
        }
    }
    let expected: Vec<_> = (1..=last + 1).filter(|version| *version != 3).collect();
    assert_eq!((versions, since), (expected, last + 1));
    assert_eq!(bob.history(room).await.len() as i64, last, "whole lists take the same pages");
}

async fn a2_a_device_that_resumes_and_a_list_of_rooms_get_large_chats_in_bounded_parts(db: Db) {
    let server = TestServer::spawn(db).await;
    let (ann, bob, room) = server.api().pair().await;
    add_large_chats(&server, room, ann.id).await;
    let mut device = bob.device().await;
    let (mut seen, mut since) = (Vec::new(), 0);
    for frame in device.resume(&[(room, 0)]).await {
        assert_eq!(frame["since"], since, "each page follows the one before");
        assert!(frame.to_string().len() < 3 * CHAT_BYTES + 4_096);
        seen.extend(numbers(frame["changes"].as_array().expect("a list"), "seq"));
        since = frame["version"].as_i64().expect("a version");
        assert_eq!(frame["has_more"], since < CHATS);
    }
    assert_eq!(seen, (1..=CHATS).collect::<Vec<_>>());

    let large = "👋".repeat(8_000);
    for n in 0..20 {
        let other = server.api().person(&format!("other-{n}")).await;
        let with_other = bob.room_with(&other).await;
        bob.says(with_other, &large).await;
    }
    let (mut rooms, mut page) = (Vec::new(), Some("/api/chatrooms?limit=200".to_owned()));
    while let Some(path) = page {
        let answer = bob.get(&path).await;
        assert!(answer.text.len() < ANSWER_BYTES_MAX + 21 * 2_048, "{} bytes", answer.text.len());
        page = next_link(&answer);
        rooms.extend(numbers(&list(answer), "id"));
    }
    assert_eq!(rooms, numbers(&list(bob.get("/api/chatrooms").await), "id"));
    assert_eq!(rooms.len(), 21);
}
