//! The SQLite file: who may read it, which names it has for its lock and its secret, and its backup beside traffic.

use std::fs::{Permissions, read_dir, set_permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use crate::support::burst::Burst;
use crate::support::database::{Dump, sqlite_url};
use crate::support::wait::s;
use crate::support::{Db, TestServer, heavy, until};

fn mode(file: &Path) -> u32 {
    file.metadata().unwrap_or_else(|e| panic!("{}: {e}", file.display())).permissions().mode() & 0o777
}

/// The files of the database in this folder, by name.
fn files(folder: &Path) -> Vec<String> {
    let names = read_dir(folder).expect("a folder").flatten().map(|f| f.file_name().to_string_lossy().into_owned());
    let mut names: Vec<String> = names.filter(|name| !name.ends_with(".log")).collect();
    names.sort();
    names
}

#[tokio::test]
async fn b10_what_the_server_creates_is_for_its_user_alone_and_what_others_can_read_is_named() {
    let mut server = TestServer::with(Db::Sqlite).unset("AUTH__JWT_SECRET").start().await;
    server.api().pair().await;
    let folder = server.folder.path().to_owned();
    let created = files(&folder);
    let expected = ["", "-shm", "-wal", ".lock", ".secret"].map(|suffix| format!("hyper_chat.db{suffix}"));
    assert_eq!(created, expected, "every file is known to this test");
    for name in &created {
        assert_eq!(mode(&folder.join(name)), 0o600, "{name}");
    }
    assert!(!server.log().contains("others can read"), "{}", server.log());
    for name in ["hyper_chat.db", "hyper_chat.db.secret"] {
        set_permissions(folder.join(name), Permissions::from_mode(0o644)).expect("its owner");
    }
    server.restart().await;
    let log = server.log();
    let lines: Vec<&str> = log.lines().filter(|line| line.contains("others can read")).collect();
    assert!(lines.len() == 1 && lines[0].contains("hyper_chat.db.secret") && lines[0].contains("WARN"), "{lines:?}");
    assert!(lines[0].contains("hyper_chat.db,"), "{lines:?}");
}

#[tokio::test]
async fn b11_a_second_server_is_refused_by_whatever_name_it_knows_the_file() {
    let server = TestServer::spawn(Db::Sqlite).await;
    let folder = server.folder.path();
    let file = folder.join("hyper_chat.db");
    symlink(&file, folder.join("link.db")).expect("a link");
    symlink(folder, folder.join("there")).expect("a link");
    std::fs::hard_link(&file, folder.join("hard.db")).expect("a hard link");
    let refused = async |name: &str| {
        let url = format!("sqlite://{}/{name}?mode=rwc", folder.display());
        let (status, _, log) = TestServer::with(Db::Sqlite).database_url(url).run(&["serve"]).await;
        assert_eq!(status.code(), Some(1), "{name}: {log}");
        assert!(log.contains("another hyper-chat serves this SQLite file"), "{name}: {log}");
    };
    for name in ["hyper_chat.db", "link.db", "there/hyper_chat.db", "./hyper_chat.db", "hyp%65r_chat.db"] {
        refused(name).await;
    }
    // The lock is not a matter of the file beside it.
    std::fs::remove_file(folder.join("hyper_chat.db.lock")).expect("the lock file");
    refused("hyper_chat.db").await;
    refused("hard.db").await;
}

#[tokio::test]
async fn b11_a_blank_in_the_name_is_the_same_for_lock_secret_and_driver() {
    let folder = tempfile::tempdir().expect("a folder");
    let with = |name: &str| {
        let url = format!("sqlite://{}/{name}?mode=rwc", folder.path().display());
        TestServer::with(Db::Sqlite).database_url(url).unset("AUTH__JWT_SECRET")
    };
    let mut server = with("on e%25.db").start().await;
    let (ann, _, room) = server.api().pair().await;
    ann.says(room, "said under one spelling").await;
    server.kill9();
    symlink(folder.path().join("on e%.db"), folder.path().join("link.db")).expect("a link");
    for name in ["%6fn%20e%25.db", "link.db"] {
        let again = with(name).start().await;
        let ann = crate::support::Person { api: again.api(), ..ann.clone() };
        assert_eq!(ann.history(room).await.len(), 1, "the same chats under the same secret: {name}");
    }
    let names = files(folder.path());
    assert!(names.iter().all(|name| name.starts_with("on e%.db") || name == "link.db"), "{names:?}");
}

#[tokio::test]
async fn d9_a_backup_beside_traffic_holds_every_chat_acknowledged_before_it() {
    let _turn = heavy().await;
    let server = TestServer::spawn(Db::Sqlite).await;
    let folder = server.folder.path().to_owned();
    let copy = folder.join("copy.db");
    let burst = Burst::start(&server.api(), 3, 1).await;
    until("the burst is under way", s(60), || burst.acked() >= 100).await;
    let before = burst.acked();
    let to = copy.display().to_string();
    let backup = async || TestServer::with(Db::Sqlite).database_url(&server.database_url).run(&["backup", &to]).await;
    let (status, _, log) = backup().await;
    assert!(status.success(), "{log}");
    let after = burst.acked();
    until("the burst goes on", s(60), || burst.acked() >= after + 20).await;
    let acked = burst.finish().await;
    let dump = Dump::open(&sqlite_url(&copy)).await;
    assert_eq!(dump.text("PRAGMA integrity_check").await, "ok");
    let copied = dump.chats_count().await as usize;
    assert!(copied >= before && copied < acked.len(), "{before} before, {copied} copied, {} at last", acked.len());
    assert_eq!(mode(&copy), 0o600);
    let leftover = files(&folder).into_iter().filter(|name| name.starts_with("copy.db.")).count();
    assert_eq!(leftover, 0, "no draft is left");
    // It replaces nothing.
    let held = std::fs::read(&copy).expect("the copy");
    let (status, _, log) = backup().await;
    assert!(status.code() == Some(1) && log.contains("exists already"), "{log}");
    assert_eq!(std::fs::read(&copy).expect("the copy"), held);
    // A server runs on the copy.
    drop(dump);
    TestServer::with(Db::Sqlite).database_url(sqlite_url(&copy)).start().await;
}

#[tokio::test]
async fn d9_a_backup_of_postgresql_names_its_own_tools() {
    let (status, _, log) = TestServer::with(Db::Postgres).run(&["backup", "copy.db"]).await;
    assert!(status.code() == Some(1) && log.contains("pg_dump"), "{log}");
}
