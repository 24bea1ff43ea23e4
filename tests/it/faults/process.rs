//! The server process is killed, stopped or frozen under traffic.

use std::time::Duration;

use crate::support::burst::Burst;
use crate::support::wait::s;
use crate::support::{ChatroomSocket, Checker, Db, TestServer, heavy, long, on_both, until};

on_both![
    no_acknowledged_chat_is_lost_by_kill_9_in_a_burst,
    sigterm_in_a_burst_closes_1001_and_exits_0_within_ten_seconds,
    a_frozen_server_continues_where_it_stopped,
    a_token_outlives_a_restart,
];

/// Both people's sockets of each room.
async fn sockets(burst: &Burst) -> Vec<(i64, ChatroomSocket)> {
    let mut open = Vec::new();
    for (room, (left, right)) in burst.rooms.iter().zip(&burst.people) {
        open.push((*room, left.joins(*room).await));
        open.push((*room, right.joins(*room).await));
    }
    open
}

/// After how many chats the process is killed: other numbers in each cycle and run.
fn kill_points(count: usize) -> Vec<usize> {
    let seed = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(1, |d| d.as_nanos() as u64);
    eprintln!("seed of the kill cycles: {seed}");
    let mut state = seed;
    std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        20 + (state >> 33) as usize % 180
    })
    .take(count)
    .collect()
}

fn with_views(burst: &Burst) -> Checker {
    let pairs = burst.rooms.iter().zip(&burst.people);
    pairs.fold(Checker::default(), |checker, (room, (left, right))| checker.compare_views(*room, left, right))
}

/// `promises` runs it too, as the promise of durability.
pub async fn no_acknowledged_chat_is_lost_by_kill_9_in_a_burst(db: Db) {
    let _turn = heavy().await;
    let mut server = TestServer::spawn(db).await;
    // 20 senders: 5 rooms, two people each, two lanes each.
    let burst = Burst::start(&server.api(), 5, 2).await;
    let mut checker = with_views(&burst);
    for more in kill_points(if long() { 20 } else { 5 }) {
        let mut open = sockets(&burst).await;
        let goal = burst.acked() + more;
        until("the burst goes on", s(60), || burst.acked() >= goal).await;
        server.kill9();
        for (room, socket) in &mut open {
            socket.expect_close(s(5)).await;
            checker.saw(*room, socket);
        }
        server.restart().await;
    }
    let goal = burst.acked() + 50;
    until("the burst goes on after the last blow", s(60), || burst.acked() >= goal).await;
    let acked = burst.finish().await;
    let stored = checker.acked(acked.clone()).verify(&server).await;
    assert_eq!(stored, acked.len(), "each chat was tried until it was acknowledged, so none is extra");
}

async fn sigterm_in_a_burst_closes_1001_and_exits_0_within_ten_seconds(db: Db) {
    let _turn = heavy().await;
    let mut server = TestServer::spawn(db).await;
    let burst = Burst::start(&server.api(), 5, 2).await;
    let mut checker = with_views(&burst);
    let mut open = sockets(&burst).await;
    until("the burst is under way", s(60), || burst.acked() >= 100).await;
    server.term();
    for (room, socket) in &mut open {
        assert_eq!(socket.expect_close(s(10)).await, 1001);
        checker.saw(*room, socket);
    }
    let status = server.wait_end(s(10)).await;
    assert_eq!(status.code(), Some(0), "{status}");
    server.restart().await;
    let goal = burst.acked() + 50;
    until("the burst goes on afterwards", s(60), || burst.acked() >= goal).await;
    let acked = burst.finish().await;
    let stored = checker.acked(acked.clone()).verify(&server).await;
    assert_eq!(stored, acked.len());
}

async fn a_frozen_server_continues_where_it_stopped(db: Db) {
    let _turn = heavy().await;
    let server = TestServer::spawn(db).await;
    let burst = Burst::start(&server.api(), 2, 2).await;
    let mut checker = with_views(&burst);
    let mut open = sockets(&burst).await;
    until("the burst is under way", s(60), || burst.acked() >= 50).await;
    server.stop();
    // Longer than the leases of a few seconds and all statement timeouts.
    tokio::time::sleep(Duration::from_secs(6)).await;
    server.cont();
    let goal = burst.acked() + 100;
    until("the burst goes on", s(60), || burst.acked() >= goal).await;
    let acked = burst.finish().await;
    for (room, socket) in &mut open {
        let head = server.dump().await.room(*room).await.unwrap().last_seq;
        socket.read_until_seq(head, s(10)).await;
        checker.saw(*room, socket);
    }
    checker.acked(acked).verify(&server).await;
}

async fn a_token_outlives_a_restart(db: Db) {
    let mut server = TestServer::spawn(db).await;
    let (ann, bob, room) = server.api().pair().await;
    let chat = ann.says(room, "before the restart").await;
    server.kill9();
    server.restart().await;
    assert_eq!(bob.history(room).await[0]["id"], chat["id"]);
    assert_eq!(ann.says(room, "after the restart").await["seq"], 2);
}
