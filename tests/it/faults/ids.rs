//! Errors of the database that mean one thing only: ids that are taken, values that cannot be stored.

use serde_json::json;

use crate::support::postgres::fresh_database;
use crate::support::wait::s;
use crate::support::{Db, TestServer, on_both, until};

on_both![e23_a_value_that_the_database_refuses_is_refused_for_good];

/// Rows were copied with their ids, and the sequences still begin at 1.
#[tokio::test]
async fn d5_sequences_behind_their_tables_are_said_at_the_start_and_mended_by_check() {
    let url = fresh_database().await;
    let mut server = TestServer::with(Db::Postgres).database_url(&url).start().await;
    let (ann, _, room) = server.api().pair().await;
    ann.says(room, "the first").await;
    let dump = server.dump().await;
    for (table, column) in [("chatters", "id"), ("sign_ins", "id"), ("chatrooms", "id"), ("chats", "id")] {
        dump.run(&format!("SELECT setval(pg_get_serial_sequence('{table}', '{column}'), 1, false)")).await;
    }
    server.restart().await;
    let line = "sequences of ids are behind their tables";
    until("it is said", s(5), || server.log().contains(line)).await;
    let log = server.log();
    let said: Vec<&str> = log.lines().filter(|text| text.contains(line)).collect();
    assert!(said.len() == 1 && said[0].contains("hyper-chat check --fix"), "{said:?}");
    for table in ["chatters", "sign_ins", "chatrooms", "chats"] {
        assert!(said[0].contains(table), "{said:?}");
    }
    // A taken id is no taken name.
    server.api().sign_up("a-free-name").await.problem(500, "internal");
    ann.post_chat(room, &json!({"content": "an id that is taken"})).await.problem(500, "internal");
    let check = async |args: &[&str]| TestServer::with(Db::Postgres).database_url(&url).run(args).await;
    let (status, out, _) = check(&["check"]).await;
    assert_eq!(status.code(), Some(1), "{out}");
    assert!(out.contains("the next id of chatrooms would be 1, and there is 1"), "{out}");
    let (status, out, _) = check(&["check", "--fix"]).await;
    assert!(status.success() && out.contains("mended"), "{out}");
    let (status, out, _) = check(&["check"]).await;
    assert!(status.success() && out.contains("none is behind"), "{out}");
    server.api().sign_up("another-free-name").await.expect(201);
    ann.says(room, "an id of its own").await;
    server.restart().await;
    assert_eq!(server.log().matches(line).count(), 1, "nothing more to say");
}

/// A constraint stands for what a database may not take.
async fn e23_a_value_that_the_database_refuses_is_refused_for_good(db: Db) {
    let server = TestServer::spawn(db).await;
    let (ann, bob, room) = server.api().pair().await;
    let dump = server.dump().await;
    dump.run(if db == Db::Sqlite {
        "CREATE TRIGGER no_poison BEFORE INSERT ON chats WHEN new.content = 'poison'
         BEGIN SELECT RAISE(ABORT, 'no poison'); END"
    } else {
        "ALTER TABLE chats ADD CONSTRAINT no_poison CHECK (content <> 'poison')"
    })
    .await;
    for _ in 0..2 {
        ann.post_chat(room, &json!({"content": "poison"})).await.problem(422, "invalid");
    }
    let mut socket = bob.joins(room).await;
    socket.send("poison");
    assert_eq!(socket.expect_error().await["code"], "invalid");
    ann.says(room, "something else").await;
    let taken = server.api().sign_up("ann").await;
    taken.problem(409, "username_taken");
}

#[tokio::test]
async fn d10_check_finds_damage_in_a_sqlite_file() {
    let mut server = TestServer::spawn(Db::Sqlite).await;
    let (ann, _, room) = server.api().pair().await;
    for n in 0..50 {
        ann.says(room, &format!("number {n} {}", "x".repeat(2_000))).await;
    }
    server.dump().await.run("PRAGMA wal_checkpoint(TRUNCATE)").await;
    server.kill9();
    let check = async || TestServer::with(Db::Sqlite).database_url(&server.database_url).run(&["check"]).await;
    let (status, out, _) = check().await;
    assert!(status.success() && out.contains("found no damage"), "{out}");
    let file = server.folder.path().join("hyper_chat.db");
    let mut bytes = std::fs::read(&file).expect("a database");
    let half = bytes.len() / 2;
    bytes[half..].fill(0xAB);
    std::fs::write(&file, bytes).expect("own folder");
    let (status, out, _) = check().await;
    assert_eq!(status.code(), Some(1), "{out}");
    assert!(out.contains("damaged") && out.contains("put back a backup"), "{out}");
}
