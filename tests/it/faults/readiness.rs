//! `/readyz` is 503 where no chat can be stored, and says why: a damaged database, a full disk.

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};

use serde_json::json;

use crate::support::disk::file_size_limit;
use crate::support::metrics::Metrics;
use crate::support::postgres::Cluster;
use crate::support::scene::HEALED_WITHIN;
use crate::support::wait::s;
use crate::support::{Db, TestServer, eventually, heavy};

/// Waits for 503 with a reason that begins like this.
async fn refused_for(server: &TestServer, reason: &str) {
    let api = server.api();
    eventually(reason, s(10), || async {
        let answer = api.get("/readyz").await;
        let found = answer.json["reasons"][0].as_str().unwrap_or_default().starts_with(reason);
        (answer.status == 503 && found).then_some(())
    })
    .await;
}

async fn is_ready(server: &TestServer) {
    let api = server.api();
    eventually("ready", HEALED_WITHIN, || async { (api.get("/readyz").await.status == 200).then_some(()) }).await;
}

/// Pages of chats are overwritten behind the server's back.
#[tokio::test]
async fn d10_damage_in_a_sqlite_file_stops_all_writes_until_a_restart_and_is_said_once() {
    let mut server = TestServer::spawn(Db::Sqlite).await;
    let (ann, _, room) = server.api().pair().await;
    for n in 0..100 {
        ann.says(room, &format!("number {n} {}", "x".repeat(2_000))).await;
    }
    // Everything is in the file, and nothing of it in the memory of the process.
    server.dump().await.run("PRAGMA wal_checkpoint(TRUNCATE)").await;
    server.kill9();
    server.restart().await;
    let path = server.folder.path().join("hyper_chat.db");
    let length = std::fs::metadata(&path).expect("a database").len();
    let mut file = File::options().write(true).open(&path).expect("own folder");
    file.seek(SeekFrom::Start(length / 2)).expect("within the file");
    file.write_all(&vec![0xAB; usize::try_from(length / 2).expect("small")]).expect("own folder");
    file.sync_all().expect("own folder");
    let path = format!("/api/chatrooms/{room}/chats");
    for _ in 0..3 {
        ann.get(&path).await.problem(500, "internal");
    }
    refused_for(&server, "database_corrupt").await;
    ann.post_chat(room, &json!({"content": "into a damaged file"})).await.problem(503, "unavailable");
    server.api().sign_up("newcomer").await.problem(503, "unavailable");
    assert_eq!(server.log().matches("the database is damaged").count(), 1, "said once");
    let metrics = Metrics::of(&server.api()).await;
    assert_eq!(metrics.get("database_corrupt"), 1.0);
    assert_eq!(metrics.get("database_writable"), 0.0);
}

/// The write-ahead log may not grow.
#[tokio::test]
async fn d11_a_full_disk_under_sqlite_makes_the_server_unready_until_there_is_space() {
    let server = TestServer::spawn(Db::Sqlite).await;
    let (ann, _, room) = server.api().pair().await;
    ann.says(room, "before the disk is full").await;
    is_ready(&server).await;
    let log = server.folder.path().join("hyper_chat.db-wal");
    let length = std::fs::metadata(log).expect("a write-ahead log").len();
    file_size_limit(server.pid(), &length.to_string());
    let body = json!({"content": "x".repeat(7_000), "client_id": "during"});
    ann.post_chat(room, &body).await.problem(503, "unavailable");
    refused_for(&server, "disk_full").await;
    assert_eq!(Metrics::of(&server.api()).await.get("database_writable"), 0.0);
    file_size_limit(server.pid(), "unlimited");
    // Without a chat: the server finds out by itself.
    is_ready(&server).await;
    ann.post_chat(room, &body).await.expect(201);
}

/// No chat comes in: the probe's own write meets the full disk.
#[tokio::test]
async fn d11_an_idle_server_notices_a_full_disk_by_itself() {
    let server = TestServer::spawn(Db::Sqlite).await;
    let log = server.folder.path().join("hyper_chat.db-wal");
    file_size_limit(server.pid(), &std::fs::metadata(log).expect("a write-ahead log").len().to_string());
    refused_for(&server, "disk_full").await;
    file_size_limit(server.pid(), "unlimited");
    is_ready(&server).await;
}

#[tokio::test]
async fn d11_a_full_disk_under_postgresql_makes_the_server_unready_until_there_is_space() {
    let _turn = heavy().await;
    let cluster = Cluster::on_a_small_disk().await;
    let server = TestServer::with(Db::Postgres).database_url(cluster.fresh_database().await).start().await;
    let (ann, _, room) = server.api().pair().await;
    is_ready(&server).await;
    cluster.fill_disk();
    let filler = |n: u32| json!({"content": format!("{n:07}").repeat(1_000), "client_id": format!("n-{n}")});
    let mut n = 0;
    while ann.post_chat(room, &filler(n)).await.status == 201 {
        n += 1;
        assert!(n < 3_000, "the disk never fills");
    }
    let api = server.api();
    eventually("not ready", s(10), || async { (api.get("/readyz").await.status == 503).then_some(()) }).await;
    cluster.free_disk();
    is_ready(&server).await;
    ann.post_chat(room, &filler(n)).await.expect(201);
}
