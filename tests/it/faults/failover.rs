//! PostgreSQL fails over: the old primary takes no more writes, and another server may take them.

use std::time::Instant;

use serde_json::json;

use crate::support::database::Dump;
use crate::support::postgres::Cluster;
use crate::support::scene::Scene;
use crate::support::wait::{SLACK, s};
use crate::support::{Db, TestServer, eventually, heavy};

/// Until `/readyz` answers this status; the answer.
async fn readiness(server: &TestServer, status: u16) -> serde_json::Value {
    let api = server.api();
    eventually(&format!("/readyz answers {status}"), s(10), || async {
        let answer = api.get("/readyz").await;
        (answer.status == status).then_some(answer.json)
    })
    .await
}

/// The primary was fenced: it answers every read, and refuses every write with 25006.
#[tokio::test]
async fn d3_a_primary_that_takes_no_writes_is_an_outage_until_it_does() {
    let _turn = heavy().await;
    let cluster = Cluster::dedicated().await;
    let mut scene = Scene::on(cluster.fresh_database().await).await;
    let dump = Dump::open(&scene.server.database_url).await;
    dump.run("ALTER SYSTEM SET default_transaction_read_only = on").await;
    dump.run("SELECT pg_reload_conf()").await;
    let answer = readiness(&scene.server, 503).await;
    let reason = answer["reasons"][0].as_str().unwrap_or_default();
    assert!(reason.starts_with("database_read_only"), "{answer}");
    let body = json!({"content": "while nothing may be written", "client_id": "during"});
    scene.ann.post_chat(scene.room, &body).await.problem(503, "unavailable");
    scene.socket.send("over a socket meanwhile");
    assert_eq!(scene.socket.expect_error().await["code"], "unavailable");
    assert!(!scene.bob.history(scene.room).await.is_empty(), "what is stored can be read");
    dump.run("ALTER SYSTEM RESET default_transaction_read_only").await;
    dump.run("SELECT pg_reload_conf()").await;
    scene.heals("may be written again").await;
    readiness(&scene.server, 200).await;
    scene.verify().await;
}

/// Two hosts in the URL: the second becomes the primary, once while the first is dead, once while it answers reads.
#[tokio::test]
async fn d3_a_promoted_standby_is_found_and_used_without_a_restart() {
    let _turn = heavy().await;
    for first_dies in [true, false] {
        let primary = Cluster::dedicated().await;
        let one = primary.fresh_database().await;
        let standby = primary.standby().await;
        let two = one.replace(&primary.port.to_string(), &standby.port.to_string());
        let both = one.replace("/test_", &format!(",127.0.0.1:{}/test_", standby.port));
        let mut scene = Scene::on(format!("{both}?target_session_attrs=read-write")).await;
        let stored = Dump::open(&one).await.chats_count().await;
        eventually("the standby has it", s(10), || async {
            (Dump::open(&two).await.chats_count().await == stored).then_some(())
        })
        .await;
        if first_dies {
            primary.kill9();
        } else {
            let dump = Dump::open(&one).await;
            dump.run("ALTER SYSTEM SET default_transaction_read_only = on").await;
            dump.run("SELECT pg_reload_conf()").await;
        }
        readiness(&scene.server, 503).await;
        standby.promote();
        let promoted = Instant::now();
        scene.signs_in_again().await;
        scene.heals("on the new primary").await;
        assert!(promoted.elapsed() < s(5) + SLACK, "only after {:?}", promoted.elapsed());
        readiness(&scene.server, 200).await;
        assert!(Dump::open(&two).await.chats_count().await > stored, "the chats are in the new primary");
        scene.server.database_url = two;
        scene.verify().await;
    }
}

/// Whatever their order, the one that takes writes is used.
#[tokio::test]
async fn d3_of_several_hosts_the_start_uses_the_first_that_takes_writes() {
    let _turn = heavy().await;
    let primary = Cluster::dedicated().await;
    let one = primary.fresh_database().await;
    let standby = primary.standby().await;
    let hosts = format!("127.0.0.1:1,127.0.0.1:{},127.0.0.1:{}", standby.port, primary.port);
    let url = one.replace(&format!("127.0.0.1:{}", primary.port), &hosts);
    let server = TestServer::with(Db::Postgres).database_url(url).start().await;
    let (ann, bob, room) = server.api().pair().await;
    ann.says(room, "stored at the primary").await;
    assert_eq!(bob.history(room).await.len(), 1);
    drop(server);
    let only_standby = one.replace(&primary.port.to_string(), &standby.port.to_string());
    let url = format!("{only_standby}?target_session_attrs=read-write");
    let waiting = TestServer::with(Db::Postgres).database_url(url).launch().await;
    eventually("the log says why it waits", s(10), || async {
        let log = waiting.log();
        (log.contains("waiting for the database") && log.contains("takes no writes")).then_some(())
    })
    .await;
}
