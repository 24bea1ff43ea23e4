//! Starting on the schema of another release, and while another process migrates it (row E20).

use serde_json::json;

use crate::support::account::list;
use crate::support::database::Dump;
use crate::support::device_socket::cursors;
use crate::support::fcm::FcmStandIn;
use crate::support::postgres::fresh_database;
use crate::support::wait::s;
use crate::support::{Db, Person, TestServer, on_both, until};

on_both![
    a_server_works_on_the_schema_of_a_later_release,
    a_column_that_a_later_release_adds_disturbs_no_running_server,
    a_schema_that_is_marked_incompatible_is_refused_with_the_reason,
    missing_tables_are_named_when_the_start_may_not_create_them,
];

/// A migration that no release has yet.
const LATER: &str = "m20990101_000001_later";

async fn a_server_works_on_the_schema_of_a_later_release(db: Db) {
    let mut server = TestServer::spawn(db).await;
    let (ann, bob, room) = server.api().pair().await;
    let dump = server.dump().await;
    dump.run("ALTER TABLE chats ADD COLUMN later TEXT").await;
    dump.run(&format!("INSERT INTO seaql_migrations (version, applied_at) VALUES ('{LATER}', 0)")).await;
    for migrates in [true, false] {
        server.restart_with("DATABASE__MIGRATE_ON_START", migrates).await;
        ann.says(room, "said on a schema of tomorrow").await;
    }
    // Also when an older migration is missing: it is applied.
    dump.run("DROP TABLE schema_needs").await;
    dump.run("DELETE FROM seaql_migrations WHERE version LIKE '%_needs'").await;
    server.restart_with("DATABASE__MIGRATE_ON_START", true).await;
    assert_eq!(bob.history(room).await.len(), 2);
    assert!(server.log().contains(LATER), "the log names what is new");
    let (status, _, log) = TestServer::with(db).database_url(&server.database_url).run(&["migrate"]).await;
    assert!(status.success(), "{log}");
}

/// A migration of the next release runs while this server still has prepared statements.
async fn a_column_that_a_later_release_adds_disturbs_no_running_server(db: Db) {
    let fcm = FcmStandIn::start();
    let server = TestServer::with(db).pushes_to(&fcm).set("PUSH__GRACE_MS", 200).start().await;
    let (ann, bob, room) = server.api().pair().await;
    bob.put("/api/chatters", &json!({"fcm_reg_id": "the-phone-of-bob"})).await.expect(200);
    uses_all(&server, [&ann, &bob], room, "before").await;
    until("a push", s(20), || !fcm.sent_to("the-phone-of-bob").is_empty()).await;
    let dump = server.dump().await;
    for table in ["chats", "chatrooms", "members", "chatters", "devices", "sign_ins", "push_outbox", "endings"] {
        dump.run(&format!("ALTER TABLE {table} ADD COLUMN later TEXT")).await;
    }
    let pushed = fcm.sent_to("the-phone-of-bob").len();
    uses_all(&server, [&ann, &bob], room, "after").await;
    // A room of their own, because a second push for the same room would have to wait.
    let dan = server.api().person("dan").await;
    dan.says(dan.room_with(&bob).await, "what rings once more").await;
    until("another push", s(20), || fcm.sent_to("the-phone-of-bob").len() > pushed).await;
}

/// Calls every operation that reads or changes rows.
async fn uses_all(server: &TestServer, [ann, bob]: [&Person; 2], room: i64, when: &str) {
    let cem = server.api().person(&format!("cem-{when}")).await;
    let theirs = cem.room_with(bob).await;
    let mut socket = bob.joins(theirs).await;
    cem.says(theirs, when).await;
    socket.expect_message(when).await;
    cem.delete(&format!("/api/chatrooms/{theirs}")).await.expect(200);
    cem.delete("/api/chatters").await.expect(200);
    let first = ann.says_once(room, &format!("said {when}"), when).await.expect(201);
    assert_eq!(ann.says_once(room, &format!("said {when}"), when).await.expect(200)["id"], first["id"], "a retry");
    let edited = json!({"content": format!("changed {when}")});
    ann.put(&format!("/api/chats/{}", first["id"]), &edited).await.expect(200);
    let other = ann.says(room, "what goes again").await;
    ann.delete(&format!("/api/chats/{}", other["id"])).await.expect(200);
    let changes = bob.get(&format!("/api/chatrooms/{room}/changes?since=0")).await.expect(200);
    assert!(changes["version"].as_i64() >= Some(4), "{changes}");
    assert!(!bob.history(room).await.is_empty());
    assert_eq!(bob.finds(room, "changed").await.first(), Some(&format!("changed {when}")));
    bob.room(room).await;
    assert_eq!(list(bob.get("/api/chatrooms").await).len(), 1);
    let mut device = bob.device().await;
    device.send_json(&json!({"type": "resume", "ref": 1, "chatrooms": cursors(&[(room, 0)])}));
    device.expect("changes").await;
    device.expect("resumed").await;
}

async fn a_schema_that_is_marked_incompatible_is_refused_with_the_reason(db: Db) {
    let mut server = TestServer::spawn(db).await;
    server.kill9();
    let dump = server.dump().await;
    dump.run(&format!("INSERT INTO seaql_migrations (version, applied_at) VALUES ('{LATER}', 0)")).await;
    dump.run(&format!("UPDATE schema_needs SET migration = '{LATER}'")).await;
    for (command, migrates) in [("serve", true), ("serve", false), ("migrate", true)] {
        let with = TestServer::with(db).database_url(&server.database_url);
        let (status, _, log) = with.set("DATABASE__MIGRATE_ON_START", migrates).run(&[command]).await;
        assert_eq!(status.code(), Some(1), "{command}: {log}");
        let newest = migration::names().pop().unwrap();
        for said in [LATER, newest.as_str(), "later release", "start a newer hyper-chat"] {
            assert!(log.contains(said), "{command}: {said} is missing in {log}");
        }
        assert!(!log.contains("panicked"), "{log}");
    }
    dump.run(&format!("UPDATE schema_needs SET migration = '{}'", migration::names()[0])).await;
    server.restart().await;
}

async fn missing_tables_are_named_when_the_start_may_not_create_them(db: Db) {
    let mut server = TestServer::spawn(db).await;
    server.kill9();
    let one = migration::names().into_iter().find(|name| name.ends_with("_needs")).unwrap();
    let fresh = || TestServer::with(db).set("DATABASE__MIGRATE_ON_START", false);
    for (with, lacks) in [(fresh(), migration::names()), (fresh().database_url(&server.database_url), vec![one])] {
        server.dump().await.run("DELETE FROM seaql_migrations WHERE version LIKE '%_needs'").await;
        let (status, _, log) = with.run(&["serve"]).await;
        assert_eq!(status.code(), Some(1), "{log}");
        assert!(log.contains(&format!("lacks {};", lacks.join(", "))), "{log}");
        assert!(log.contains("`hyper-chat migrate`") && log.contains("MIGRATE_ON_START"), "{log}");
    }
}

#[tokio::test]
async fn a_start_waits_for_another_migration_or_says_why_it_gives_up() {
    let url = fresh_database().await;
    let other = Dump::open_single(&url).await;
    other.run("SELECT pg_advisory_lock(7528171833139619937)").await;
    let with =
        |wait_s: u64| TestServer::with(Db::Postgres).database_url(&url).set("DATABASE__MIGRATION_WAIT_S", wait_s);
    let (status, _, log) = with(1).run(&["serve"]).await;
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(log.contains("another instance") && log.contains("for 1 s") && log.contains("pg_stat_activity"), "{log}");
    let mut waits = with(60).launch().await;
    until("it says that it waits", s(20), || waits.log().contains("another instance is bringing the schema")).await;
    other.run("SELECT pg_advisory_unlock_all()").await;
    waits.instance_mut(0).wait_ready().await.expect("it goes on");
}

#[tokio::test]
async fn servers_and_migrations_that_start_at_once_on_an_empty_or_old_database_all_succeed() {
    for old in [false, true] {
        let url = fresh_database().await;
        let with = || TestServer::with(Db::Postgres).database_url(&url);
        if old {
            assert!(with().run(&["migrate"]).await.0.success());
            let dump = Dump::open(&url).await;
            dump.run("DROP TABLE schema_needs").await;
            dump.run("DELETE FROM seaql_migrations WHERE version LIKE '%_needs'").await;
        }
        let (mut one, mut two, first, second) =
            tokio::join!(with().launch(), with().launch(), with().run(&["migrate"]), with().run(&["migrate"]));
        for (status, _, log) in [first, second] {
            assert!(status.success(), "{log}");
        }
        for server in [&mut one, &mut two] {
            server.instance_mut(0).wait_ready().await.expect("it comes up");
        }
        let ran = |log: &str| log.matches("has been applied").count();
        assert!(ran(&one.log()) == 0 || ran(&two.log()) == 0, "at most one of the two migrates");
    }
}
