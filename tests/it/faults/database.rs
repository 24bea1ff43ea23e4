//! The database is killed, frozen, unreachable or busy: a clear refusal, nothing acknowledged, nothing lost.

use std::time::Instant;

use serde_json::json;

use crate::support::burst::Burst;
use crate::support::database::Dump;
use crate::support::postgres::Cluster;
use crate::support::proxy::Proxy;
use crate::support::scene::{REFUSED_WITHIN, Scene};
use crate::support::wait::s;
use crate::support::{Checker, Db, TestServer, eventually, heavy, until};

/// Run by `promises`, as what is promised of a database that is gone.
pub async fn a_killed_postgresql_is_refused_clearly_and_comes_back() {
    let _turn = heavy().await;
    let cluster = Cluster::of_ones_own().await;
    let mut scene = Scene::on(cluster.fresh_database().await).await;
    for cycle in 0..2 {
        cluster.kill9();
        scene.refuses().await;
        cluster.up();
        scene.heals(&format!("after blow number {cycle}")).await;
    }
    scene.verify().await;
}

#[tokio::test]
async fn a_frozen_postgresql_is_refused_clearly_and_comes_back() {
    let _turn = heavy().await;
    let cluster = Cluster::of_ones_own().await;
    let mut scene = Scene::on(cluster.fresh_database().await).await;
    cluster.freeze();
    scene.refuses().await;
    cluster.thaw();
    scene.heals("after the thaw").await;
    scene.verify().await;
}

#[tokio::test]
async fn a_hole_before_postgresql_is_refused_clearly_and_heals() {
    let _turn = heavy().await;
    let cluster = Cluster::of_ones_own().await;
    let proxy = Proxy::before(cluster.port).await;
    let direct = cluster.fresh_database().await;
    let through = direct.replace(&cluster.port.to_string(), &proxy.port.to_string());
    let mut scene = Scene::on(through).await;
    let before = Dump::open(&direct).await.chats_count().await;
    proxy.hole();
    scene.refuses().await;
    assert_eq!(Dump::open(&direct).await.chats_count().await, before, "nothing came through");
    proxy.heal();
    scene.heals("after the hole").await;
    proxy.cut();
    scene.refuses().await;
    proxy.heal();
    scene.heals("after the cut").await;
    assert!(proxy.accepted() < 400, "no storm of connections: {}", proxy.accepted());
    scene.server.database_url = direct;
    scene.verify().await;
}

#[tokio::test]
async fn nothing_acknowledged_is_lost_when_postgresql_is_killed_in_a_burst() {
    let _turn = heavy().await;
    let cluster = Cluster::of_ones_own().await;
    let url = cluster.fresh_database().await;
    let server = TestServer::with(Db::Postgres).database_url(url).start().await;
    let burst = Burst::start(&server.api(), 5, 2).await;
    let mut sockets = Vec::new();
    for (room, (left, _)) in burst.rooms.iter().zip(&burst.people) {
        sockets.push((*room, left.joins(*room).await));
    }
    for _ in 0..if crate::support::long() { 10 } else { 3 } {
        let goal = burst.acked() + 100;
        until("the burst goes on", s(60), || burst.acked() >= goal).await;
        let refused = burst.refused();
        cluster.kill9();
        until("senders are refused", s(10), || burst.refused() > refused).await;
        cluster.up();
    }
    let goal = burst.acked() + 100;
    until("the burst goes on after the last blow", s(60), || burst.acked() >= goal).await;
    let pairs = burst.rooms.iter().zip(&burst.people);
    let mut checker = pairs.fold(Checker::default(), |c, (room, (left, right))| c.both_look(*room, left, right));
    let acked = burst.finish().await;
    for (room, socket) in &mut sockets {
        let head = server.dump().await.room(*room).await.unwrap().last_seq;
        socket.read_until_seq(head, s(10)).await;
        checker.saw(*room, socket);
    }
    let stored = checker.acked(acked.clone()).verify(&server).await;
    assert_eq!(stored, acked.len());
}

#[tokio::test]
async fn a_terminated_backend_is_no_more_than_a_refusal() {
    let server = TestServer::spawn(Db::Postgres).await;
    let (ann, _, room) = server.api().pair().await;
    let dump = server.dump().await;
    for n in 0..5 {
        dump.run(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
             WHERE datname = current_database() AND pid <> pg_backend_pid()",
        )
        .await;
        let body = json!({"content": format!("after blow number {n}"), "client_id": format!("blow-{n}")});
        eventually("the chat is taken", s(5), || async {
            let answer = ann.post_chat(room, &body).await;
            assert!(matches!(answer.status, 200 | 201 | 503), "{}", answer.text);
            (answer.status != 503).then_some(())
        })
        .await;
    }
    Checker::default().both_look(room, &ann, &ann).verify(&server).await;
    assert_eq!(ann.history(room).await.len(), 5);
}

#[tokio::test]
async fn a_foreign_writer_on_sqlite_is_waited_for_or_refused_and_never_doubles() {
    let server = TestServer::spawn(Db::Sqlite).await;
    let (ann, _, room) = server.api().pair().await;
    let foreign = Dump::open_single(&server.database_url).await;
    foreign.run("BEGIN IMMEDIATE").await;
    let start = Instant::now();
    let refused = ann.says_once(room, "while somebody else writes", "busy").await;
    refused.problem(503, "unavailable");
    assert!(start.elapsed() < REFUSED_WITHIN, "{:?}", start.elapsed());
    assert!(ann.history(room).await.is_empty(), "reads go on");
    foreign.run("ROLLBACK").await;
    eventually("the chat is taken", s(4), || async {
        let answer = ann.says_once(room, "while somebody else writes", "busy").await;
        matches!(answer.status, 200 | 201).then_some(())
    })
    .await;
    assert_eq!(ann.history(room).await.len(), 1);
}
