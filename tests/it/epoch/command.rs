//! `hyper-chat epoch` and what `hyper-chat restore` refuses.

use serde_json::json;

use crate::support::database::sqlite_url;
use crate::support::device_socket::cursors;
use crate::support::wait::s;
use crate::support::{Db, TestServer, on_both};

on_both![b4_epoch_prints_what_ready_says, b4_a_new_schema_has_an_epoch_of_its_own];

async fn b4_epoch_prints_what_ready_says(db: Db) {
    let server = TestServer::spawn(db).await;
    let (ann, _, room) = server.api().pair().await;
    let device = ann.device().await;
    let (status, out, log) = TestServer::with(db).database_url(&server.database_url).run(&["epoch"]).await;
    assert!(status.success(), "{log}");
    assert_eq!(device.ready["epoch"], out.trim());
    let changes = ann.get(&format!("/api/chatrooms/{room}/changes")).await.expect(200);
    assert_eq!(changes["epoch"], out.trim());
}

async fn b4_a_new_schema_has_an_epoch_of_its_own(db: Db) {
    let mut names = Vec::new();
    for _ in 0..2 {
        let server = TestServer::spawn(db).await;
        let (ann, _, _) = server.api().pair().await;
        names.push(ann.device().await.ready["epoch"].clone());
    }
    assert_ne!(names[0], names[1]);
}

#[tokio::test]
async fn b4_a_new_epoch_under_a_running_server_closes_its_sockets_and_ends_its_sign_ins() {
    let server = TestServer::spawn(Db::Postgres).await;
    let (ann, bob, room) = server.api().pair().await;
    let mut device = ann.device().await;
    let mut chatroom = bob.joins(room).await;
    let old = device.ready["epoch"].clone();
    let with = TestServer::with(Db::Postgres).database_url(&server.database_url);
    let (status, out, log) = with.run(&["epoch", "--new"]).await;
    assert!(status.success(), "{log}");
    ann.get("/api/chatters/me").await.problem(401, "token_revoked");
    assert_eq!(device.expect_close(s(10)).await, 4401);
    assert_eq!(chatroom.expect_close(s(10)).await, 4401);
    let (ann, bob) = (ann.signed_in_again().await, bob.signed_in_again().await);
    let mut device = ann.device().await;
    assert_eq!(device.ready["epoch"], out.trim());
    bob.says(room, "in the new epoch").await;
    device.expect_chat("in the new epoch").await;
    let frame = json!({"type": "resume", "chatrooms": cursors(&[(room, 1)]), "epoch": old});
    assert_eq!(device.ask(frame).await["type"], "resumed");
    assert_eq!(device.drain()[0]["type"], "reset");
}

#[tokio::test]
async fn b4_a_sqlite_file_keeps_its_epoch_while_a_server_has_it_open() {
    let server = TestServer::spawn(Db::Sqlite).await;
    let (ann, _, _) = server.api().pair().await;
    let backup = server.folder.path().join("hyper_chat.db").display().to_string();
    for args in [vec!["epoch", "--new"], vec!["restore", &backup]] {
        let with = TestServer::with(Db::Sqlite).database_url(&server.database_url);
        let (status, _, log) = with.run(&args).await;
        assert!(status.code() == Some(1) && log.contains("another hyper-chat serves this SQLite file"), "{log}");
    }
    ann.get("/api/chatters/me").await.expect(200);
}

#[tokio::test]
async fn b4_restore_refuses_what_is_no_backup_and_changes_nothing() {
    let mut server = TestServer::spawn(Db::Sqlite).await;
    let (ann, _, room) = server.api().pair().await;
    ann.says(room, "stays").await;
    server.kill9();
    let folder = server.folder.path().to_owned();
    let path = |name: &str| folder.join(name).display().to_string();
    std::fs::write(path("text"), "this is no database, however long it is ".repeat(100)).expect("writes");
    std::fs::write(path("empty"), "").expect("writes");
    for (file, text) in [("missing", "cannot be used"), ("text", "damaged"), ("empty", "no database of hyper-chat")] {
        let with = TestServer::with(Db::Sqlite).database_url(&server.database_url);
        let (status, _, log) = with.run(&["restore", &path(file)]).await;
        assert!(status.code() == Some(1) && log.contains(text) && log.contains(file), "{file}: {log}");
    }
    let names: Vec<_> = std::fs::read_dir(&folder).expect("reads").flatten().map(|entry| entry.file_name()).collect();
    let left = names.iter().any(|name| name.to_string_lossy().contains("restor"));
    assert!(!left, "{names:?}");
    let with = TestServer::with(Db::Sqlite).database_url(sqlite_url(&folder.join("new.db")));
    let (status, _, log) = with.run(&["restore", &path("text")]).await;
    assert!(status.code() == Some(1) && !folder.join("new.db").exists(), "{log}");
    server.restart().await;
    assert_eq!(ann.history(room).await.len(), 1, "also the token counts");
    let with = TestServer::with(Db::Postgres);
    let (status, _, log) = with.run(&["restore", &path("text")]).await;
    assert!(status.code() == Some(1) && log.contains("epoch --new"), "{log}");
    let with = TestServer::with(Db::Sqlite).database_url(sqlite_url(&folder.join("nothing.db")));
    let (status, _, log) = with.run(&["epoch"]).await;
    assert!(status.code() == Some(1) && log.contains("there is no file"), "{log}");
    assert!(!folder.join("nothing.db").exists());
}
