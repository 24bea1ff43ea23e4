//! Clients that never read: only their own sockets are closed, and no other socket waits.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use crate::support::metrics::Metrics;
use crate::support::secrets::MARKER;
use crate::support::sockets_open::{memory_bytes, open_sockets};
use crate::support::wait::s;
use crate::support::{ChatroomSocket, Db, Person, RawSocket, TestServer, alone, on_both, until};

on_both![fifty_sockets_that_never_read_delay_no_other_socket];

const ROOMS: usize = 2;
const SLOW_PER_ROOM: usize = 25;
const CHATS_PER_ROOM: i64 = 5_000;
/// How many chats a sender has under way.
const WINDOW: i64 = 32;
const CONTENT_BYTES: usize = 4_096;
/// 50 queues of 256 KiB, and the memory that a busy server of this size needs anyway.
const GROWTH_BYTES_MAX: u64 = 96 << 20;
/// A healthy receiver waits for a chat no longer than this.
const DELIVERY_MAX: Duration = Duration::from_secs(1);

async fn fifty_sockets_that_never_read_delay_no_other_socket(db: Db) {
    let _turn = alone().await;
    let server = TestServer::spawn(db).await;
    let mut rooms = Vec::new();
    let mut slow = Vec::new();
    for n in 0..ROOMS {
        let (ann, bob) =
            (server.api().person(&format!("ann-{n}")).await, server.api().person(&format!("bob-{n}")).await);
        let room = ann.room_with(&bob).await;
        for _ in 0..SLOW_PER_ROOM {
            let path = format!("/ws/chatrooms/{room}/?jwt={}", bob.token);
            slow.push(RawSocket::open_narrow(server.port, &path).await);
        }
        rooms.push((ann, bob, room));
    }
    let ports: HashSet<u16> = slow.iter().map(RawSocket::local_port).collect();
    until("all slow sockets are open", s(20), || open_sockets(server.port, &ports) == ROOMS * SLOW_PER_ROOM).await;
    let before = memory_bytes(server.pid());
    let pid = server.pid();
    let mut work = Vec::new();
    for (ann, bob, room) in rooms {
        work.push(tokio::spawn(pass_chats(ann, bob, room)));
    }
    let mut most = 0;
    while work.iter().any(|w| !w.is_finished()) {
        most = most.max(memory_bytes(pid));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    for done in work {
        done.await.expect("senders and healthy readers are unaffected");
    }
    let grown = most.saturating_sub(before);
    assert!(grown < GROWTH_BYTES_MAX, "memory grew by {grown} bytes");
    until("all slow sockets are gone", s(20), || open_sockets(server.port, &ports) == 0).await;
    let counted = Metrics::of(&server.api()).await.get("sockets_closed_total{code=\"4508\"}");
    assert!(counted > 0.0, "and counted");
    drop(slow);
}

/// Sends and reads all chats of one room; fails when one takes too long to come back.
async fn pass_chats(ann: Person, bob: Person, room: i64) {
    let (mut sender, mut healthy): (ChatroomSocket, ChatroomSocket) = (ann.joins(room).await, bob.joins(room).await);
    let content = format!("{MARKER} {}", "x".repeat(CONTENT_BYTES - MARKER.len() - 1));
    let mut slowest = Duration::ZERO;
    for n in 1..=CHATS_PER_ROOM {
        sender.send(&content);
        if n % WINDOW == 0 || n == CHATS_PER_ROOM {
            let start = Instant::now();
            sender.read_until_seq(n, s(30)).await;
            healthy.read_until_seq(n, s(30)).await;
            slowest = slowest.max(start.elapsed());
            forget_contents(&mut sender);
            forget_contents(&mut healthy);
        }
    }
    assert!(slowest < DELIVERY_MAX, "a window of {WINDOW} chats took {slowest:?}");
}

/// Checks the numbers of the received chats and keeps the last one only.
fn forget_contents(socket: &mut ChatroomSocket) {
    let seqs: Vec<_> = socket.chats.iter().filter_map(|c| c["seq"].as_i64()).collect();
    assert!(seqs.windows(2).all(|pair| pair[1] == pair[0] + 1), "skipped or repeated: {seqs:?}");
    let last = socket.chats.len() - 1;
    socket.chats.drain(..last);
}
