//! The end of an instance (row E3): hundreds of clients do not come back at once, and no acknowledged chat is lost.

use std::time::Instant;

use reqwest::Method;

use crate::support::burst::Burst;
use crate::support::checker::Checker;
use crate::support::wait::s;
use crate::support::{Db, SeedSocket, TestServer, eventually, heavy, on_both};

on_both![hundreds_of_sockets_are_closed_one_by_one_while_chats_go_on];

const SOCKETS: usize = 400;
/// Parts of the drain; none of them may have many of the sockets.
const PARTS: usize = 8;

async fn hundreds_of_sockets_are_closed_one_by_one_while_chats_go_on(db: Db) {
    let _turn = heavy().await;
    let mut server = TestServer::with(db).set("LIMITS__SOCKETS_PER_CHATTER", 0).start().await;
    let burst = Burst::start(&server.api(), 2, 1).await;
    let mut open = Vec::new();
    for (room, (_, person)) in burst.rooms.iter().zip(&burst.people) {
        open.push((*room, person.joins(*room).await));
    }
    // Hundreds more in a room where nothing is said: what they measure is the drain, not the traffic.
    let (_, idle, quiet) = server.api().pair().await;
    for _ in open.len()..SOCKETS {
        open.push((quiet, idle.joins(quiet).await));
    }
    let acked = burst.acked();
    server.term();
    let start = Instant::now();
    eventually("readiness is refused at once", s(1), || async {
        let ready = server.api().try_request(Method::GET, "/readyz", &[], None).await;
        ready.is_ok_and(|answer| answer.status == 503).then_some(())
    })
    .await;
    let goes = open.into_iter().map(|(room, socket)| tokio::spawn(closed(room, socket, start)));
    let mut checker = burst
        .rooms
        .iter()
        .zip(&burst.people)
        .fold(Checker::default(), |checker, (room, (left, right))| checker.both_look(*room, left, right));
    let mut at = Vec::new();
    for gone in goes.collect::<Vec<_>>() {
        let (room, socket, when) = gone.await.expect("closed 1001");
        if room != quiet {
            checker.saw(room, &socket);
        }
        at.push(when);
    }
    assert_eq!(server.wait_end(s(10)).await.code(), Some(0));
    spread(&at);
    assert!(burst.acked() > acked, "chats were taken meanwhile");
    server.restart().await;
    let acked = burst.finish().await;
    let count = acked.len();
    assert_eq!(checker.acked(acked).verify(&server).await, count);
}

/// Reads a socket to its end; when that came, in seconds.
async fn closed(room: i64, mut socket: SeedSocket, start: Instant) -> (i64, SeedSocket, f64) {
    assert_eq!(socket.expect_close(s(10)).await, 1001);
    (room, socket, start.elapsed().as_secs_f64())
}

/// Over 400 x 5 ms, evenly but for chance.
fn spread(at: &[f64]) {
    let (first, last) = at.iter().fold((f64::MAX, 0.0_f64), |(first, last), at| (first.min(*at), last.max(*at)));
    assert!(last - first > 1.0, "all went within {} s", last - first);
    let mut parts = [0; PARTS];
    let part = |at: &f64| ((at - first) / (last - first) * PARTS as f64) as usize;
    at.iter().for_each(|at| parts[part(at).min(PARTS - 1)] += 1);
    assert!(parts.iter().all(|part| *part < SOCKETS / 2), "{parts:?}");
}

#[tokio::test]
async fn few_sockets_are_through_in_no_time() {
    let mut server = TestServer::with(Db::Sqlite).set("SERVER__DRAIN_MS", 20_000).start().await;
    let (ann, _, room) = server.api().pair().await;
    let mut sockets = vec![ann.joins(room).await, ann.joins(room).await, ann.joins(room).await];
    server.term();
    for socket in &mut sockets {
        assert_eq!(socket.expect_close(s(5)).await, 1001);
    }
    assert_eq!(server.wait_end(s(5)).await.code(), Some(0));
}
