//! Starting, stopping and watching the program: commands, settings that it refuses, probes.

use std::os::unix::fs::PermissionsExt;

use serde_json::json;

use crate::support::fcm::FcmStandIn;
use crate::support::secrets::PASSWORD;
use crate::support::wait::s;
use crate::support::{Db, RawSocket, TestServer, on_both, stays, until};

on_both![
    the_probes_answer_alive_and_ready,
    migrate_creates_the_tables_that_serve_then_uses,
    a_restart_keeps_everything,
];

async fn the_probes_answer_alive_and_ready(db: Db) {
    let server = TestServer::spawn(db).await;
    assert_eq!(server.api().get("/healthz").await.status, 200);
    assert_eq!(server.api().get("/readyz").await.expect(200)["status"], "ready");
}

async fn migrate_creates_the_tables_that_serve_then_uses(db: Db) {
    let folder = tempfile::tempdir().expect("a folder");
    let url = match db {
        Db::Sqlite => crate::support::database::sqlite_url(&folder.path().join("made.db")),
        Db::Postgres | Db::Cluster => crate::support::postgres::fresh_database().await,
    };
    for run in 0..2 {
        let (status, _, log) = TestServer::with(db).database_url(&url).run(&["migrate"]).await;
        assert!(status.success(), "run {run}: {log}");
    }
    let without = TestServer::with(db).database_url(&url).set("DATABASE__MIGRATE_ON_START", false);
    let server = without.start().await;
    server.api().pair().await;
}

async fn a_restart_keeps_everything(db: Db) {
    let mut server = TestServer::spawn(db).await;
    let (ann, bob, room) = server.api().pair().await;
    ann.says(room, "said before the restart").await;
    bob.receipt(room, &json!({"read_seq": 1}), (1, 1)).await;
    let before = bob.room(room).await;
    server.term();
    assert_eq!(server.wait_end(s(10)).await.code(), Some(0));
    server.restart().await;
    assert_eq!(bob.room(room).await, before);
    server.api().sign_in("ann", PASSWORD).await.expect(200);
}

#[tokio::test]
async fn a_weak_or_missing_secret_is_refused_with_a_clear_text() {
    for (db, secret) in [(Db::Postgres, None), (Db::Postgres, Some("too-short")), (Db::Sqlite, Some("x"))] {
        let with = TestServer::with(db).unset("AUTH__JWT_SECRET");
        let with = match secret {
            Some(secret) => with.set("AUTH__JWT_SECRET", secret),
            None => with,
        };
        let (status, out, log) = with.run(&["serve"]).await;
        assert!(!status.success(), "{db:?} {secret:?}");
        let text = format!("{out}{log}").to_lowercase();
        assert!(text.contains("jwt_secret") && text.contains("32"), "{db:?} {secret:?}: {text}");
        assert!(!text.contains("panicked"), "{text}");
    }
}

#[tokio::test]
async fn on_sqlite_a_secret_is_created_once_and_kept_private() {
    let mut server = TestServer::with(Db::Sqlite).unset("AUTH__JWT_SECRET").start().await;
    let (ann, _, _) = server.api().pair().await;
    let database = server.folder.path().join("hyper_chat.db");
    let others = std::fs::read_dir(server.folder.path()).unwrap().flatten().filter(|e| e.path() != database);
    let secrets: Vec<_> = others.filter(|e| e.file_name().to_string_lossy().contains("secret")).collect();
    assert_eq!(secrets.len(), 1, "one file beside the database");
    let mode = secrets[0].metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o600, "{mode:o}");
    server.restart().await;
    ann.get("/api/chatters/me").await.expect(200);
}

#[tokio::test]
async fn a_second_server_on_the_same_sqlite_file_is_refused() {
    let server = TestServer::spawn(Db::Sqlite).await;
    let (ann, _, room) = server.api().pair().await;
    let second = TestServer::with(Db::Sqlite).database_url(&server.database_url);
    let (status, out, log) = second.run(&["serve"]).await;
    assert!(!status.success());
    assert!(format!("{out}{log}").contains("lock"), "{out}{log}");
    ann.says(room, "the first one goes on").await;
}

#[tokio::test]
async fn invalid_settings_are_refused_by_name() {
    for (key, value) in
        [("LIMITS__SEND_PER_S", "many"), ("ACCOUNTS__DELETION", "perhaps"), ("ACCOUNTS__PUBLIC_DIRECTORY", "perhaps")]
    {
        let with = TestServer::with(Db::Sqlite);
        let (status, out, log) = with.set(key, value).run(&["serve"]).await;
        assert!(!status.success(), "{key}={value}");
        let name = key.rsplit("__").next().unwrap().to_lowercase();
        assert!(format!("{out}{log}").to_lowercase().contains(&name), "{key}={value}: {out}{log}");
    }
    let (status, _, log) = TestServer::with(Db::Sqlite).database_url("mysql://127.0.0.1/x").run(&["serve"]).await;
    assert!(!status.success(), "{log}");
    let (status, _, _) = TestServer::with(Db::Sqlite).run(&["no-such-command"]).await;
    assert!(!status.success());
}

#[tokio::test]
async fn invalid_push_credentials_do_not_stop_the_server() {
    let folder = tempfile::tempdir().expect("a folder");
    let malformed = folder.path().join("malformed.json");
    std::fs::write(&malformed, "{\"type\":\"service_account\"").unwrap();
    let other_kind = folder.path().join("other.json");
    let key = "a-private-key-that-must-not-be-logged";
    std::fs::write(&other_kind, json!({"type": "authorized_user", "private_key": key}).to_string()).unwrap();
    for path in [folder.path().join("missing.json"), malformed, other_kind] {
        let server = TestServer::with(Db::Sqlite).set("FCM__SERVICE_ACCOUNT", path.display()).start().await;
        let (ann, _, room) = server.api().pair().await;
        ann.says(room, "chats go on without pushes").await;
        let log = server.log().to_lowercase();
        assert!(log.contains("push") || log.contains("fcm"), "the log says so: {path:?}");
        assert!(!log.contains(key));
    }
}

/// Promise 7 when the key of the service account is missing at first.
#[tokio::test]
async fn pushes_pending_on_a_server_without_a_key_are_sent_by_one_that_has_it() {
    let fcm = FcmStandIn::start();
    let mut server = TestServer::with(Db::Sqlite)
        .set("FCM__SERVICE_ACCOUNT", fcm.directory().join("mislaid.json").display())
        .set("FCM__BASE_URL", fcm.base_url())
        .set("PUSH__GRACE_MS", 100)
        .start()
        .await;
    let (ann, bob, room) = server.api().pair().await;
    bob.put("/api/chatters", &json!({"fcm_reg_id": "the-phone-of-bob"})).await.expect(200);
    ann.says(room, "owed for as long as nobody can push it").await;
    let dump = server.dump().await;
    // Several times the time in which a push comes due and is claimed.
    stays("it is owed", s(4), async || dump.outbox(room).await.len() == 1).await;
    server.restart_with("FCM__SERVICE_ACCOUNT", fcm.service_account_path().display()).await;
    until("the push", s(20), || fcm.sent_to("the-phone-of-bob").len() == 1).await;
}

#[tokio::test]
async fn port_overrides_the_other_settings() {
    let other = crate::support::ports::free_port();
    let server = TestServer::with(Db::Sqlite).env("PORT", other).set("SERVER__HOST", "127.0.0.1").launch().await;
    let api = crate::support::Api::new(other, server.api().secrets);
    crate::support::eventually("it listens on PORT", s(20), || async {
        let answer = api.try_request(reqwest::Method::GET, "/readyz", &[], None).await;
        answer.is_ok_and(|a| a.status == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_draining_server_accepts_no_new_sockets() {
    let mut server = TestServer::spawn(Db::Sqlite).await;
    let (ann, _, room) = server.api().pair().await;
    let path = format!("/ws/chatrooms/{room}/?jwt={}", ann.token);
    let mut socket = ann.joins(room).await;
    // A client that never answers the close keeps the drain going for a moment.
    let _raw = RawSocket::open(server.port, &path, "").await.expect("a socket");
    server.term();
    assert_eq!(socket.expect_close(s(10)).await, 1001);
    let ready = server.api().try_request(reqwest::Method::GET, "/readyz", &[], None).await;
    assert!(ready.is_err() || ready.is_ok_and(|a| a.status == 503), "not ready any more");
    assert_eq!(server.wait_end(s(10)).await.code(), Some(0));
}
