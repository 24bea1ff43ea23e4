//! Sockets that flood the server with frames which are no messages: only they are closed, and no other socket waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::{Room, masked};
use crate::support::raw_socket::{CONTINUATION, PING, PONG, TEXT};
use crate::support::sockets_open::memory_bytes;
use crate::support::wait::s;
use crate::support::{Db, Person, RawSocket, TestServer, alone};

const SOCKETS: usize = 50;
/// What a socket may take while its peer floods it: what was read of it and what waits for it.
const SOCKET_BYTES_MAX: u64 = 512 << 10;

#[tokio::test]
async fn a4_sockets_that_ping_without_reading_take_little_memory_and_are_closed_4429() {
    let _turn = alone().await;
    let room = Room::new().await;
    let mut sockets = Vec::new();
    for _ in 0..SOCKETS {
        sockets.push(RawSocket::open_narrow(room.server.port, &room.path()).await);
    }
    let before = memory_bytes(room.server.pid());
    let pings: Arc<[u8]> = masked(0x80 | PING, b"").repeat(200_000).into();
    let flooding: Vec<_> = sockets
        .into_iter()
        .map(|mut socket| {
            let pings = pings.clone();
            tokio::spawn(async move {
                for _ in 0..10 {
                    if !socket.write(&pings).await {
                        break;
                    }
                }
                socket
            })
        })
        .collect();
    let mut most = 0;
    while flooding.iter().any(|task| !task.is_finished()) {
        most = most.max(memory_bytes(room.server.pid()));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let a_socket = most.max(memory_bytes(room.server.pid())).saturating_sub(before) / SOCKETS as u64;
    eprintln!("{a_socket} bytes a socket");
    assert!(a_socket < SOCKET_BYTES_MAX, "{a_socket} bytes a socket");
    for task in flooding {
        let mut socket = task.await.expect("no panic");
        let code = socket.expect_close(s(10)).await;
        // The connection may be reset before the client reads the close frame.
        assert!(matches!(code, 4429 | 1006), "{code}");
    }
    room.still_works().await;
}

#[tokio::test]
async fn a4_pings_that_wait_for_an_answer_get_one_pong_to_the_newest() {
    let room = Room::new().await;
    let mut socket = room.socket().await;
    let pings: Vec<u8> = (0..150_u8).flat_map(|n| masked(0x80 | PING, &[n])).collect();
    assert!(socket.write(&pings).await);
    let mut pongs = Vec::new();
    while pongs.last() != Some(&149) {
        pongs.push(socket.expect(PONG, s(5)).await.payload[0]);
    }
    assert!(pongs.is_sorted() && pongs.len() < 150, "{pongs:?}");
    assert!(socket.send(TEXT, br#"{"message":"still open"}"#).await);
    assert_eq!(socket.expect_text().await["message"], "still open");
}

#[tokio::test]
async fn a4_floods_of_control_frames_and_fragments_close_4429() {
    let room = Room::new().await;
    let begun = masked(TEXT, b"{");
    let after_begun = |part: &[u8]| [&begun[..], &masked(CONTINUATION, part).repeat(20_000)].concat();
    for (what, flood) in [
        ("pings", masked(0x80 | PING, b"x").repeat(1_000)),
        ("pongs", masked(0x80 | PONG, b"x").repeat(1_000)),
        ("empty fragments", after_begun(b"")),
        ("small fragments", after_begun(b" ")),
        ("empty messages in two", [masked(TEXT, b""), masked(0x80 | CONTINUATION, b"")].concat().repeat(1_000)),
    ] {
        assert_eq!(room.close_code(&flood).await, 4429, "{what}");
    }
    room.still_works().await;
}

#[tokio::test]
async fn a4_frames_that_are_not_valid_have_a_rate_on_each_kind_of_socket() {
    let server = TestServer::spawn(Db::Sqlite).await;
    let (ann, _, room) = server.api().pair().await;
    let paths = [format!("/ws/chatrooms/{room}/?jwt={}", ann.token), format!("/ws?jwt={}", ann.token), "/ws".into()];
    for path in paths {
        let frames = [r#"{"message":7}"#, r#"{"message":""}"#];
        let device = [r#"{"type":"dance"}"#, r#"{"type":"send","chatroom_id":1,"client_id":"","content":"a"}"#];
        let frames = if path.contains("chatrooms") { frames } else { device };
        let mut socket = RawSocket::open(server.port, &path, "").await.expect("a socket");
        let flood: Vec<u8> = (0..500).flat_map(|n| masked(0x80 | TEXT, frames[n % 2].as_bytes())).collect();
        assert!(socket.write(&flood).await);
        assert_eq!(socket.expect_close(s(10)).await, 4429, "{}", &path[..10.min(path.len())]);
    }
}

/// How many chats of the pair are timed, without and with the flood.
const CHATS: usize = 60;
const FLOODERS: usize = 16;

#[tokio::test]
async fn a4_a_flood_of_empty_fragments_does_not_slow_another_pair() {
    let _turn = alone().await;
    let server = TestServer::spawn(Db::Sqlite).await;
    let (ann, bob, room) = server.api().pair().await;
    let eve = server.api().person("eve").await;
    let notes = eve.room_with(&eve).await;
    let calm = slow_delivery(&ann, &bob, room, "calm").await;
    let stop = Arc::new(AtomicBool::new(false));
    let written = Arc::new(AtomicUsize::new(0));
    let path = format!("/ws/chatrooms/{notes}/?jwt={}", eve.token);
    let floods: Vec<_> = (0..FLOODERS)
        .map(|_| {
            let (port, path, stop, written) = (server.port, path.clone(), stop.clone(), written.clone());
            std::thread::spawn(move || flood(port, &path, &stop, &written))
        })
        .collect();
    let attacked = slow_delivery(&ann, &bob, room, "attacked").await;
    stop.store(true, Ordering::Relaxed);
    floods.into_iter().for_each(|thread| thread.join().expect("no panic"));
    eprintln!("calm {calm:?}, attacked {attacked:?}, {} bytes of fragments", written.load(Ordering::Relaxed));
    assert!(written.load(Ordering::Relaxed) > 1 << 20, "the flood arrived");
    assert!(attacked < calm * 5 + Duration::from_millis(20), "calm {calm:?}, attacked {attacked:?}");
}

/// How long the slowest tenth of some chats takes at least, from one device to the other.
async fn slow_delivery(ann: &Person, bob: &Person, room: i64, phase: &str) -> Duration {
    let (mut writing, mut reading) = (ann.device().await, bob.device().await);
    let mut times = Vec::new();
    for n in 0..CHATS {
        let content = format!("{phase}, chat {n}");
        let start = Instant::now();
        writing.says(room, &format!("{phase}-{n}"), &content).await;
        reading.expect_chat(&content).await;
        times.push(start.elapsed());
    }
    times.sort();
    times[CHATS * 9 / 10]
}

/// Writes empty fragments for as long as the server takes them, again and again.
fn flood(port: u16, path: &str, stop: &AtomicBool, written: &AtomicUsize) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let fragments = masked(CONTINUATION, b"").repeat(50_000);
    runtime.block_on(async {
        while !stop.load(Ordering::Relaxed) {
            let mut socket = RawSocket::open(port, path, "").await.expect("a socket");
            let mut is_open = socket.write(&masked(TEXT, b"{")).await;
            while is_open && !stop.load(Ordering::Relaxed) {
                is_open = socket.write(&fragments).await;
                written.fetch_add(fragments.len(), Ordering::Relaxed);
            }
        }
    });
}
