//! The database is killed, frozen, unreachable or busy: requests are refused, and no acknowledged chat is lost.

use std::time::Instant;

use serde_json::json;

use crate::support::burst::Burst;
use crate::support::database::Dump;
use crate::support::postgres::Cluster;
use crate::support::proxy::Proxy;
use crate::support::scene::{REFUSED_WITHIN, Scene};
use crate::support::wait::s;
use crate::support::{Checker, Db, TestServer, eventually, heavy, until};

/// `promises` runs it too, as promise 6.
pub async fn a_killed_postgresql_causes_503_until_it_is_back() {
    let _turn = heavy().await;
    let cluster = Cluster::dedicated().await;
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
async fn a_frozen_postgresql_causes_503_until_it_answers() {
    let _turn = heavy().await;
    let cluster = Cluster::dedicated().await;
    let mut scene = Scene::on(cluster.fresh_database().await).await;
    cluster.freeze();
    scene.refuses().await;
    cluster.thaw();
    scene.heals("after the thaw").await;
    scene.verify().await;
}

#[tokio::test]
async fn a_black_hole_before_postgresql_causes_503_until_it_heals() {
    let _turn = heavy().await;
    let cluster = Cluster::dedicated().await;
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
async fn no_acknowledged_chat_is_lost_when_postgresql_is_killed_in_a_burst() {
    let _turn = heavy().await;
    let cluster = Cluster::dedicated().await;
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
    let mut checker = pairs.fold(Checker::default(), |c, (room, (left, right))| c.compare_views(*room, left, right));
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
async fn a_terminated_backend_costs_a_refusal_and_no_chat() {
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
    Checker::default().compare_views(room, &ann, &ann).verify(&server).await;
    assert_eq!(ann.history(room).await.len(), 5);
}

#[tokio::test]
async fn a_foreign_writer_on_sqlite_delays_or_refuses_chats_and_doubles_none() {
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
