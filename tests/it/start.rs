//! Starting without PostgreSQL (row E12): the port answers, and the server works as soon as the database does. An error
//! that waiting cannot fix ends the process.

use std::time::Instant;

use reqwest::Method;
use serde_json::json;

use crate::support::database::Dump;
use crate::support::postgres::{Cluster, fresh_database};
use crate::support::wait::{SLACK, s};
use crate::support::{Db, TestServer, eventually, until};

/// The server answers, and says that it is not ready.
async fn waits(server: &TestServer) {
    let api = server.api();
    eventually("the process is alive", s(20), || async {
        let answer = api.try_request(Method::GET, "/healthz", &[], None).await;
        answer.is_ok_and(|a| a.status == 200).then_some(())
    })
    .await;
    assert_eq!(api.get("/readyz").await.expect(503), json!({"status": "unavailable", "database": "down"}));
    for path in ["/api/chatters", "/api/chatrooms/1/chats", "/"] {
        api.get(path).await.problem(503, "unavailable");
    }
    api.sign_in("ann", "whatever-it-is").await.problem(503, "unavailable");
    until("the log says why", s(10), || server.log().contains("waiting for the database")).await;
}

#[tokio::test]
async fn the_server_waits_for_a_postgres_that_is_absent_or_frozen_at_the_start() {
    let cluster = Cluster::start();
    for round in 0..2 {
        let url = cluster.fresh_database().await;
        if round == 0 {
            cluster.kill9()
        } else {
            cluster.freeze()
        }
        let mut server = TestServer::with(Db::Postgres).database_url(url).launch().await;
        waits(&server).await;
        if round == 0 {
            cluster.up()
        } else {
            cluster.thaw()
        }
        let back = Instant::now();
        server.instance_mut(0).wait_ready().await.expect("it serves without a restart");
        assert!(back.elapsed() < s(3) + SLACK, "only after {:?}", back.elapsed());
        let (ann, _, room) = server.api().pair().await;
        ann.says(room, "said as if nothing had been").await;
        let log = server.log();
        assert_eq!(log.matches("waiting for the database").count(), 1, "said once");
    }
}

#[tokio::test]
async fn a_server_that_waits_for_postgres_can_be_stopped() {
    let cluster = Cluster::start();
    let url = cluster.fresh_database().await;
    cluster.kill9();
    let mut server = TestServer::with(Db::Postgres).database_url(url).launch().await;
    waits(&server).await;
    server.term();
    assert_eq!(server.wait_end(s(5)).await.code(), Some(0));
}

#[tokio::test]
async fn instances_that_share_a_database_without_redis_say_what_is_missing() {
    let url = fresh_database().await;
    let alone = TestServer::with(Db::Postgres).database_url(&url).start().await;
    let second = TestServer::with(Db::Postgres).database_url(&url).start().await;
    let says = |server: &TestServer| server.log().matches("REDIS_URL is not set").count();
    assert_eq!((says(&alone), says(&second)), (0, 1));
    let together = TestServer::spawn(Db::Cluster).await;
    assert_eq!(says(&together), 0);
}

#[tokio::test]
async fn errors_that_waiting_cannot_fix_end_the_start_with_a_clear_text() {
    let cluster = Cluster::start();
    let url = cluster.fresh_database().await;
    let refusal = async |url: &str, code: i32| {
        let (status, _, log) = TestServer::with(Db::Postgres).database_url(url).run(&["serve"]).await;
        assert_eq!(status.code(), Some(code), "{log}");
        assert!(!log.contains("panicked"), "{log}");
        log
    };
    let log = refusal(&url.replace("postgres@", "nobody:not-the-password-4711@"), 2).await;
    assert!(log.contains("DATABASE_URL") && log.contains("role \"nobody\" does not exist"), "{log}");
    assert!(!log.contains("not-the-password-4711"), "{log}");
    let log = refusal(&url.replace("/test_", "/none_"), 2).await;
    assert!(log.contains("DATABASE_URL") && log.contains("does not exist"), "{log}");
    let log = refusal(&format!("{url}?sslmode=require"), 2).await;
    assert!(log.contains("TLS"), "{log}");
    let dump = Dump::open(&url).await;
    dump.run("ALTER SYSTEM SET full_page_writes = off").await;
    dump.run("SELECT pg_reload_conf()").await;
    // PostgreSQL reloads its settings after a moment; until then the server starts, and that is correct.
    eventually("it is off", s(10), || async { dump.text("SHOW full_page_writes").await.contains("off").then_some(()) })
        .await;
    let log = refusal(&url, 1).await;
    assert!(log.contains("full_page_writes is off") && log.contains("UNSAFE_DURABILITY"), "{log}");
}

#[tokio::test]
async fn e12_an_address_that_cannot_be_bound_is_refused_with_a_hint_by_its_cause() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = taken.local_addr().expect("bound").port();
    let cases =
        [("127.0.0.1", port, "another program listens there"), ("192.0.2.1", 1, "this machine has no such address")];
    for (host, port, hint) in cases {
        let server = TestServer::with(Db::Sqlite).env("PORT", port).set("SERVER__HOST", host);
        let (status, _, log) = server.run(&["serve"]).await;
        assert_eq!(status.code(), Some(1), "{log}");
        assert!(log.contains(hint) && log.contains(&format!("{host}:{port}")), "{log}");
    }
}
