//! The drain of an instance (row E3): it closes hundreds of sockets one by one, and no acknowledged chat is lost.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use reqwest::Method;

use crate::support::burst::Burst;
use crate::support::checker::Checker;
use crate::support::metrics::Metrics;
use crate::support::processes::signal;
use crate::support::wait::{SLACK, s};
use crate::support::{Db, TestServer, alone, eventually, on_both};

on_both![hundreds_of_sockets_are_closed_one_by_one_while_chats_go_on];

const SOCKETS: usize = 400;

async fn hundreds_of_sockets_are_closed_one_by_one_while_chats_go_on(db: Db) {
    let _turn = alone().await;
    let mut server = TestServer::with(db).set("LIMITS__SOCKETS_PER_CHATTER", 0).start().await;
    let burst = Burst::start(&server.api(), 2, 1).await;
    let mut open = Vec::new();
    for (room, (_, person)) in burst.rooms.iter().zip(&burst.people) {
        open.push((*room, person.joins(*room).await));
    }
    // Hundreds more sockets in a room without chats, so that only the drain is measured.
    let (_, idle, quiet) = server.api().pair().await;
    for _ in open.len()..SOCKETS {
        open.push((quiet, idle.joins(quiet).await));
    }
    let acked = burst.acked();
    server.term();
    let start = Instant::now();
    eventually("readiness is refused at once", SLACK, || async {
        let ready = server.api().try_request(Method::GET, "/readyz", &[], None).await;
        ready.is_ok_and(|answer| answer.status == 503).then_some(())
    })
    .await;
    sockets_close_one_by_one(&server, start).await;
    let mut checker = burst
        .rooms
        .iter()
        .zip(&burst.people)
        .fold(Checker::default(), |checker, (room, (left, right))| checker.compare_views(*room, left, right));
    for (room, mut socket) in open {
        assert_eq!(socket.expect_close(s(10)).await, 1001);
        if room != quiet {
            checker.saw(room, &socket);
        }
    }
    assert_eq!(server.wait_end(s(10)).await.code(), Some(0));
    assert!(burst.acked() > acked, "chats were taken meanwhile");
    server.restart().await;
    let acked = burst.finish().await;
    let count = acked.len();
    assert_eq!(checker.acked(acked).verify(&server).await, count);
}

/// Over 400 x 5 ms. The server's own metric is read, since a slow client would see other times.
async fn sockets_close_one_by_one(server: &TestServer, start: Instant) {
    let mut counts = BTreeSet::new();
    let mut half = None;
    while counts.last().is_none_or(|gone| *gone < SOCKETS) {
        // Before the last ones are counted the server may have ended.
        let Ok(answer) = server.api().try_request(Method::GET, "/metrics", &[], None).await else { break };
        let gone = Metrics::parse(answer.text).get("sockets_closed_total{code=\"1001\"}") as usize;
        if gone * 2 >= SOCKETS {
            half.get_or_insert(start.elapsed());
        }
        counts.insert(gone);
        assert!(start.elapsed() < s(20), "{counts:?}");
    }
    let between = counts.iter().filter(|gone| (1..SOCKETS).contains(*gone)).count();
    assert!(between >= 4, "{counts:?}");
    assert!(half.is_none_or(|half| half > Duration::from_millis(500)), "half of them within {half:?}");
}

#[tokio::test]
async fn few_sockets_drain_at_once() {
    let mut server = TestServer::with(Db::Sqlite).set("SERVER__DRAIN_MS", 20_000).start().await;
    let (ann, _, room) = server.api().pair().await;
    let mut sockets = vec![ann.joins(room).await, ann.joins(room).await, ann.joins(room).await];
    server.term();
    for socket in &mut sockets {
        assert_eq!(socket.expect_close(s(5)).await, 1001);
    }
    assert_eq!(server.wait_end(s(5)).await.code(), Some(0));
}

#[tokio::test]
async fn e12_a_hangup_drains_as_a_termination_does() {
    let mut server = TestServer::with(Db::Sqlite).set("SERVER__DRAIN_MS", 20_000).start().await;
    let (ann, _, room) = server.api().pair().await;
    let mut socket = ann.joins(room).await;
    signal("HUP", &[server.pid()]);
    assert_eq!(socket.expect_close(s(5)).await, 1001);
    assert_eq!(server.wait_end(s(5)).await.code(), Some(0));
}
