//! Settings of the database that can never work end the start with exit code 2, one line, and nothing left behind.

use std::process::ExitStatus;

use crate::support::database::Dump;
use crate::support::postgres::{Cluster, fresh_database};
use crate::support::wait::s;
use crate::support::{Db, TestServer, eventually, heavy};

const PASSWORD: &str = "not-the-password-4711";

/// Starts a server that must end by itself.
async fn start(url: &str) -> (ExitStatus, String) {
    let (status, _, log) = TestServer::with(Db::Postgres).database_url(url).run(&["serve"]).await;
    (status, log)
}

/// The start ends with 2; its last line has all these parts.
async fn refused(url: &str, parts: &[&str]) {
    let (status, log) = start(url).await;
    assert_eq!(status.code(), Some(2), "{url}: {log}");
    let line = log.lines().last().unwrap_or_default().to_owned();
    assert!(line.contains("DATABASE_URL"), "{url}: {log}");
    for part in parts {
        assert!(line.contains(part), "{url} without {part:?}: {log}");
    }
    assert!(!log.contains(PASSWORD) && !log.contains("panicked"), "{log}");
}

#[tokio::test]
async fn e1_a_url_that_can_never_work_ends_the_start_with_its_part_and_without_its_password() {
    let url = fresh_database().await;
    let port = url.split(':').next_back().and_then(|rest| rest.split('/').next()).expect("a port").to_owned();
    // As long as no label of DNS may be, so that no name service is asked.
    let nowhere = "s".repeat(70);
    refused(&format!("postgres://u:{PASSWORD}/@127.0.0.1:{port}/x"), &["percent-encode @ as %40"]).await;
    refused(&format!("postgres://u:{PASSWORD}#@127.0.0.1:{port}/x"), &["percent-encode @ as %40"]).await;
    refused(&format!("postgres://u:{PASSWORD}%@127.0.0.1:{port}/x"), &["password", "%25"]).await;
    refused(&format!("postgres://u:p@{nowhere}/{PASSWORD}"), &["host '", "does not resolve; percent-encode @ / #"])
        .await;
    let nobody = url.replace("postgres@", &format!("nobody:{PASSWORD}@"));
    refused(&nobody, &["refuses: role \"nobody\" does not exist"]).await;
    refused(&url.replace("/test_", "/none_"), &["does not exist"]).await;
    // An @ that is not encoded belongs to the password as long as that has no other such character.
    let (status, log) = start(&url.replace("postgres@", "nobody:p@ss@")).await;
    assert!(status.code() == Some(2) && log.contains("role \"nobody\" does not exist"), "{log}");
}

#[tokio::test]
async fn e1_a_server_that_may_come_later_is_waited_for_and_named() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port").port();
    let url = format!("postgres://u:{PASSWORD}@127.0.0.1:{closed}/x");
    let server = TestServer::with(Db::Postgres).database_url(url).launch().await;
    eventually("the log names it", s(10), || async {
        let log = server.log();
        (log.contains(&format!("connection to 127.0.0.1:{closed} refused")) && log.contains("trying again"))
            .then_some(())
    })
    .await;
    assert!(!server.log().contains(PASSWORD));
}

#[tokio::test]
async fn d7_tls_and_the_parameters_of_other_drivers_are_refused_in_one_line() {
    let url = fresh_database().await;
    refused(&format!("{url}?sslmode=require"), &["no TLS with 127.0.0.1", "sslmode"]).await;
    refused(&format!("{url}?sslmode=verify-ca&sslrootcert=/nope/ca.pem"), &["sslrootcert", "/nope/ca.pem"]).await;
    refused(&format!("{url}?channel_binding=require"), &["channel_binding"]).await;
    refused(&format!("{url}?pgbouncer=true"), &["pgbouncer", "session mode"]).await;
    let taken = "sslmode=prefer&connect_timeout=5&application_name=mine&channel_binding=prefer";
    let server = TestServer::with(Db::Postgres).database_url(format!("{url}?{taken}")).start().await;
    let dump = Dump::open(&url).await;
    let named = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'mine'";
    assert!(dump.number(named).await >= 1, "it has the name of the URL");
    drop(server);
}

/// A database that cannot store an emoji.
#[tokio::test]
async fn d2_a_database_of_another_encoding_is_refused_before_it_has_tables() {
    let url = fresh_database().await;
    let dump = Dump::open(&url).await;
    let name = url.rsplit('/').next().expect("a name").to_owned();
    for encoding in ["LATIN1", "SQL_ASCII"] {
        let other = format!("{name}_{}", encoding.to_lowercase());
        dump.run(&format!("CREATE DATABASE {other} ENCODING '{encoding}' LOCALE 'C' TEMPLATE template0")).await;
        let there = url.replace(&name, &other);
        refused(&there, &[encoding, "UTF8"]).await;
        let tables = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'";
        assert_eq!(Dump::open(&there).await.number(tables).await, 0, "nothing was made");
    }
}

#[tokio::test]
async fn d1_ipv6_works_for_the_database_and_for_the_server_itself() {
    let _turn = heavy().await;
    let cluster = Cluster::with(&["listen_addresses=127.0.0.1,::1"]).await;
    let url = cluster.fresh_database().await.replace("127.0.0.1", "[::1]");
    for host in ["::1", "[::1]"] {
        let server = TestServer::with(Db::Postgres).database_url(&url).set("SERVER__HOST", host).launch().await;
        let address = format!("[::1]:{}", server.port);
        let ready = || async {
            let answer = reqwest::get(format!("http://{address}/readyz")).await.ok()?;
            (answer.status() == 200).then_some(())
        };
        eventually("ready at [::1]", s(20), ready).await;
    }
    let nowhere = "redis://[::1]:1/";
    let server = TestServer::with(Db::Postgres).database_url(&url).env("REDIS_URL", nowhere).start().await;
    eventually("Redis at [::1] is tried", s(10), || async { server.log().contains("Redis is away").then_some(()) })
        .await;
}

#[tokio::test]
async fn e2_a_sqlite_url_that_cannot_work_blames_itself_and_leaves_nothing_behind() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name).display().to_string();
    let start = async |url: &str| {
        let server = TestServer::with(Db::Sqlite).database_url(url).unset("AUTH__JWT_SECRET");
        let (status, _, log) = server.run(&["serve"]).await;
        assert_eq!(status.code(), Some(2), "{url}: {log}");
        assert!(log.contains("DATABASE_URL") && !log.contains("JWT_SECRET"), "{url}: {log}");
        assert_eq!(log.matches("DATABASE_URL").count(), 1, "one error: {log}");
        log
    };
    assert!(start(&format!("sqlite://{}?mode=rwc", at("nope/x.db"))).await.contains("no folder"));
    let log = start(&format!("sqlite://{}", at("new.db"))).await;
    assert!(log.contains("?mode=rwc") && !log.contains("server running"), "{log}");
    assert!(start(&format!("sqlite://{}?mode=rwc", folder.path().display())).await.contains("is a folder"));
    assert!(start(&format!("sqlite://{}?mode=ro", at("new.db"))).await.contains("mode=rw"));
    assert!(start("mysql://u:p@127.0.0.1/x").await.contains("must begin with sqlite: or postgres://"));
    assert!(start("sqlite::memory:").await.contains("database.unsafe_durability"));
    let left: Vec<_> = std::fs::read_dir(folder.path()).expect("own folder").collect();
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test]
async fn e1_a_redis_url_that_cannot_be_read_ends_the_start_before_it_waits() {
    let closed = "postgres://u:p@127.0.0.1:1/x";
    let redis = format!("redis://:{PASSWORD}/x@127.0.0.1:6379");
    let server = TestServer::with(Db::Postgres).database_url(closed).env("REDIS_URL", redis);
    let (status, _, log) = server.run(&["serve"]).await;
    assert_eq!(status.code(), Some(2), "{log}");
    assert!(log.contains("REDIS_URL") && log.contains("percent-encode") && !log.contains(PASSWORD), "{log}");
}
