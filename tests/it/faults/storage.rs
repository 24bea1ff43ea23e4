//! The database answers and refuses (rows E15 to E18): locked, full, read-only, without free connections, unsafe, or no
//! database.

use std::path::PathBuf;
use std::time::Instant;

use sea_orm::{ConnectOptions, ConnectionTrait, Database};
use serde_json::json;

use crate::support::database::{Dump, sqlite_url};
use crate::support::dice::Dice;
use crate::support::disk::file_size_limit;
use crate::support::postgres::{Cluster, fresh_database};
use crate::support::scene::{HEALED_WITHIN, REFUSED_WITHIN, Scene};
use crate::support::wait::s;
use crate::support::{Checker, Db, TestServer, eventually, heavy, until};

/// Row E15.
#[tokio::test]
async fn a_locked_room_row_delays_and_refuses_chats_of_that_room_only() {
    let mut scene = Scene::on(fresh_database().await).await;
    let (cid, other) = (scene.server.api().person("cid").await, scene.ann.clone());
    let free = cid.room_with(&other).await;
    let foreign = Dump::open_single(&scene.server.database_url).await;
    foreign.run(&format!("BEGIN; SELECT 1 FROM chatrooms WHERE id = {} FOR UPDATE", scene.room)).await;
    let body = json!({"content": "while its room is locked", "client_id": "locked"});
    let (refused, start) = (scene.ann.post_chat(scene.room, &body), Instant::now());
    let others = async {
        for n in 0..20 {
            let begin = Instant::now();
            cid.says(free, &format!("beside a locked room {n}")).await;
            assert!(begin.elapsed() < s(2), "{:?}", begin.elapsed());
        }
    };
    let (refused, ()) = tokio::join!(refused, others);
    refused.problem(503, "unavailable");
    assert!(start.elapsed() < REFUSED_WITHIN + s(1), "{:?}", start.elapsed());
    foreign.run("ROLLBACK").await;
    let chat = scene.ann.post_chat(scene.room, &body).await.expect(201);
    assert_eq!(scene.ann.post_chat(scene.room, &body).await.expect(200), chat);
    scene.socket.expect_message("while its room is locked").await;
    assert_eq!(scene.server.dump().await.chats(scene.room).await.len(), 2);
    scene.verify().await;
}

/// Row E15.
#[tokio::test]
async fn a_read_only_postgresql_serves_reads_and_refuses_chats() {
    let _turn = heavy().await;
    let cluster = Cluster::dedicated().await;
    let mut scene = Scene::on(cluster.fresh_database().await).await;
    let dump = scene.server.dump().await;
    for setting in ["SET default_transaction_read_only = on", "RESET default_transaction_read_only"] {
        dump.run(&format!("ALTER SYSTEM {setting}")).await;
        dump.run("SELECT pg_reload_conf()").await;
        let read_only = setting.starts_with("SET");
        let body = json!({"content": "while nothing may be written", "client_id": "read-only"});
        let start = Instant::now();
        eventually("it is as it was set", s(10), || async {
            let answer = scene.ann.post_chat(scene.room, &body).await;
            (answer.status == if read_only { 503 } else { 200 }).then_some(()).or_else(|| {
                assert!(matches!(answer.status, 200 | 201 | 503), "{}", answer.text);
                None
            })
        })
        .await;
        assert!(read_only || start.elapsed() < HEALED_WITHIN, "{:?}", start.elapsed());
        assert!(!scene.bob.history(scene.room).await.is_empty(), "what is stored can be read");
    }
    scene.heals("may be written again").await;
    scene.verify().await;
}

/// Row E15.
#[tokio::test]
async fn without_a_free_postgresql_connection_requests_get_503_until_one_is_free() {
    let _turn = heavy().await;
    let cluster = Cluster::with(&["max_connections=40"]).await;
    let mut scene = Scene::on(cluster.fresh_database().await).await;
    let url = scene.server.database_url.clone();
    let dump = Dump::open_single(&format!("{url}?application_name=hog")).await;
    let mut options = ConnectOptions::new(format!("{url}?application_name=hog"));
    options.min_connections(39).max_connections(39).acquire_timeout(s(60)).sqlx_logging(false);
    let others = "FROM pg_stat_activity WHERE datname = current_database() AND application_name <> 'hog'";
    // The server's pools and this test compete for the free connections; the test wants all of them.
    let hogs = eventually("all connections are taken", s(60), || async {
        dump.run(&format!("SELECT pg_terminate_backend(pid) {others}")).await;
        let hogs = Database::connect(options.clone()).await.ok()?;
        (dump.number(&format!("SELECT count(*) {others}")).await == 0).then_some(hogs)
    })
    .await;
    scene.refuses().await;
    hogs.close().await.expect("closes");
    scene.heals("with connections again").await;
    scene.verify().await;
}

/// Row E16, on SQLite: no file can grow.
#[tokio::test]
async fn a_full_disk_under_sqlite_refuses_chats_and_loses_none() {
    let server = TestServer::spawn(Db::Sqlite).await;
    let (ann, bob, room) = server.api().pair().await;
    let mut socket = bob.joins(room).await;
    let mut checker = Checker::default().compare_views(room, &ann, &bob);
    ann.says(room, "before the disk is full").await;
    socket.expect_message("before the disk is full").await;
    let log = format!("{}-wal", sqlite_file(&server).display());
    let length = std::fs::metadata(log).expect("a write-ahead log").len();
    file_size_limit(server.pid(), &length.to_string());
    let body = json!({"content": "x".repeat(7_000), "client_id": "during"});
    ann.post_chat(room, &body).await.problem(503, "unavailable");
    socket.send("over a socket meanwhile");
    assert_eq!(socket.expect_error().await["code"], "unavailable");
    assert_eq!(ann.history(room).await.len(), 1, "what is stored can be read");
    file_size_limit(server.pid(), "unlimited");
    eventually("there is space again", HEALED_WITHIN, || async {
        matches!(ann.post_chat(room, &body).await.status, 200 | 201).then_some(())
    })
    .await;
    socket.read_until_seq(2, s(5)).await;
    let dump = server.dump().await;
    assert_eq!(dump.text("PRAGMA integrity_check").await, "ok");
    checker.saw(room, &socket);
    checker.verify(&server).await;
}

/// Row E17.
#[tokio::test]
async fn a_deleted_sqlite_file_causes_refusals_and_no_lost_chat() {
    let server = TestServer::spawn(Db::Sqlite).await;
    let (ann, _, room) = server.api().pair().await;
    ann.says(room, "before the file is gone").await;
    let (file, aside) = (sqlite_file(&server), sqlite_file(&server).with_extension("aside"));
    std::fs::rename(&file, &aside).expect("own folder");
    let body = json!({"content": "into a file that is gone", "client_id": "gone"});
    ann.post_chat(room, &body).await.problem(503, "unavailable");
    std::fs::rename(&aside, &file).expect("own folder");
    ann.post_chat(room, &body).await.expect(201);
    assert_eq!(server.log().matches("moved or deleted").count(), 1, "said once");
    assert_eq!(server.dump().await.chats(room).await.len(), 2);
}

/// Row E17.
#[tokio::test]
async fn a_file_that_is_not_a_database_is_refused_by_name_and_not_changed() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("chat.db");
    let text = "this is no database, and somebody may want it back\n".repeat(200);
    std::fs::write(&file, &text).expect("own folder");
    let (status, _, log) = TestServer::with(Db::Sqlite).database_url(sqlite_url(&file)).run(&["serve"]).await;
    assert!(!status.success(), "{log}");
    assert!(log.contains("the database cannot be opened") && log.contains("not a database"), "{log}");
    assert_eq!(std::fs::read_to_string(&file).expect("still there"), text);
}

/// Row E18.
#[tokio::test]
async fn a_postgresql_that_could_lose_chats_is_refused_unless_a_setting_allows_it() {
    let _turn = heavy().await;
    let unsafe_one = Cluster::with(&["fsync=off"]).await;
    let url = unsafe_one.fresh_database().await;
    let (status, _, log) = TestServer::with(Db::Postgres).database_url(url).run(&["serve"]).await;
    assert!(!status.success() && log.contains("fsync is off, so a crash could lose acknowledged chats"), "{log}");
    drop(unsafe_one);
    let hasty = Cluster::with(&["synchronous_commit=off", "wal_writer_delay=10s"]).await;
    let server = TestServer::with(Db::Postgres).database_url(hasty.fresh_database().await).start().await;
    let (ann, bob, room) = server.api().pair().await;
    let dump = server.dump().await;
    let syncs = async || dump.number("SELECT wal_sync FROM pg_stat_wal").await;
    let before = syncs().await;
    for n in 0..50 {
        ann.says(room, &format!("on the disk before it is acknowledged {n}")).await;
    }
    // PostgreSQL publishes statistics about once a second.
    eventually("each commit was flushed", s(20), || async { (syncs().await >= before + 50).then_some(()) }).await;
    Checker::default().compare_views(room, &ann, &bob).verify(&server).await;
}

/// Row E16: the disk of the log is full.
#[tokio::test]
async fn a_full_disk_under_the_log_loses_log_lines_only() {
    let mut scene = Scene::on(fresh_database().await).await;
    let log = scene.server.instance(0).log_file();
    let length = || std::fs::metadata(&log).expect("a log").len();
    file_size_limit(scene.server.pid(), &length().to_string());
    let full = length();
    for n in 0..20 {
        scene.ann.says(scene.room, &format!("without a line {n}")).await;
    }
    scene.socket.read_until_seq(21, s(5)).await;
    scene.bob.joins(scene.room).await;
    assert_eq!(length(), full, "nothing can be written");
    file_size_limit(scene.server.pid(), "unlimited");
    scene.ann.says(scene.room, "with a line").await;
    scene.socket.read_until_seq(22, s(5)).await;
    until("lines are written again", s(5), || length() > full).await;
    scene.verify().await;
}

/// Row E16, on PostgreSQL: first rows do not fit, then the write-ahead log does not.
#[tokio::test]
async fn a_full_disk_under_postgresql_refuses_chats_and_loses_none() {
    let _turn = heavy().await;
    let cluster = Cluster::on_a_small_disk().await;
    let mut scene = Scene::on(cluster.fresh_database().await).await;
    let mut dice = Dice::new(rand::random(), 0);
    cluster.fill_disk();
    let mut taken = 0;
    let body = loop {
        // Random text, because PostgreSQL compresses.
        let content: String = (0..500).map(|_| format!("{:016x}", dice.below(u64::MAX))).collect();
        let body = json!({"content": content, "client_id": format!("number-{taken}")});
        let answer = scene.ann.post_chat(scene.room, &body).await;
        if answer.status != 201 {
            answer.problem(503, "unavailable");
            break body;
        }
        taken += 1;
        assert!(taken < 1_000, "the disk never fills");
    };
    eprintln!("{taken} chats fitted");
    assert_eq!(scene.ann.history(scene.room).await.len(), 1 + taken, "what is stored can be read");
    // Now the write-ahead log does not fit either, which ends the process.
    let admin = Database::connect(scene.server.database_url.clone()).await.expect("reads go on");
    for _ in 0..100 {
        let another = "SELECT pg_logical_emit_message(true, 'a', 'record'), pg_switch_wal()";
        if admin.execute_unprepared(another).await.is_err() {
            break;
        }
    }
    scene.ann.post_chat(scene.room, &body).await.problem(503, "unavailable");
    cluster.free_disk();
    eventually("there is space again", HEALED_WITHIN, || async {
        matches!(scene.ann.post_chat(scene.room, &body).await.status, 200 | 201).then_some(())
    })
    .await;
    scene.heals("with space again").await;
    scene.verify().await;
}

fn sqlite_file(server: &TestServer) -> PathBuf {
    server.folder.path().join("hyper_chat.db")
}
