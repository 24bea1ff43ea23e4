//! Redis on several servers: instances follow the primary, and leave a server that was demoted.

use serde_json::json;

use crate::support::account::Person;
use crate::support::cluster::{Cluster, Crossing};
use crate::support::redis_groups::{RedisCluster, SentinelGroup};
use crate::support::wait::{SLACK, s};
use crate::support::{Db, Redis, TestServer, eventually, heavy, long};

/// Two instances at this URL, which reach each other.
async fn instances_at(url: &str) -> TestServer {
    let server = TestServer::with(Db::Cluster).redis_urls([url.to_owned(), url.to_owned()]).start().await;
    both_are(&server, "ready").await;
    server
}

async fn both_are(server: &TestServer, status: &str) {
    for number in 0..2 {
        let api = server.instance(number).api();
        let is = || async { (api.get("/readyz").await.json["status"] == status).then_some(()) };
        eventually(&format!("instance {number} is {status}"), s(30), is).await;
    }
}

/// What goes through Redis alone reaches the other instance: typing, and who is online.
async fn reach_each_other(server: &TestServer, name: &str) {
    let api = server.instance(0).api();
    let (ann, bob) = (api.person(&format!("{name}-ann")).await, api.person(&format!("{name}-bob")).await);
    let room = ann.room_with(&bob).await;
    let bob = Person { api: server.instance(1).api(), ..bob };
    let (near, mut far) = (ann.device().await, bob.device().await);
    near.send_json(&json!({"type": "typing", "chatroom_id": room, "typing": true}));
    far.expect("typing").await;
    ann.says(room, "across").await;
    far.expect_chat("across").await;
}

#[tokio::test]
async fn d4_instances_leave_a_demoted_redis_and_say_so() {
    let _turn = heavy().await;
    let (redis, other) = (Redis::start(), Redis::start());
    let cluster = Cluster::on(redis, 2).await;
    cluster.all_ready_within(s(20)).await;
    let mut crossing = Crossing::open(&cluster, "demoted", 0, 1).await;
    let _: String = cluster.redis.ask(&["REPLICAOF", "127.0.0.1", &other.port.to_string()]).await;
    for number in 0..2 {
        cluster.becomes_within(number, "degraded", s(3) + SLACK).await;
        let answer = cluster.readyz(number).await;
        assert!(answer["reasons"][0].as_str().is_some_and(|reason| reason.contains("replica")), "{answer}");
    }
    crossing.crosses_within(s(2)).await;
    let _: String = cluster.redis.ask(&["REPLICAOF", "NO", "ONE"]).await;
    cluster.all_ready_within(s(3) + SLACK).await;
    crossing.crosses_within(s(1)).await;
}

#[tokio::test]
async fn d4_instances_follow_the_primary_that_sentinels_name() {
    let _turn = heavy().await;
    let group = SentinelGroup::start().await;
    let server = instances_at(&group.url()).await;
    reach_each_other(&server, "before").await;
    for round in 0..if long() { 10 } else { 1 } {
        group.is_complete().await;
        group.fail_over().await;
        both_are(&server, "ready").await;
        reach_each_other(&server, &format!("after-{round}")).await;
    }
}

#[tokio::test]
async fn d4_instances_meet_on_one_node_of_a_redis_cluster() {
    let _turn = heavy().await;
    let redis = RedisCluster::start().await;
    let server = instances_at(&redis.url()).await;
    reach_each_other(&server, "cluster").await;
    let keys = redis.keys().await;
    assert_eq!(keys.iter().filter(|keys| **keys > 0).count(), 1, "all keys are in one slot: {keys:?}");
}

#[tokio::test]
async fn e4_a_password_that_redis_refuses_is_named_at_error_level_and_in_readiness() {
    let redis = Redis::absent(&["--requirepass", "right"]);
    redis.up();
    let url = format!("redis://:hunter2@127.0.0.1:{}", redis.port);
    let server = TestServer::with(Db::Cluster).redis_urls([url.clone(), url]).start().await;
    let api = server.instance(0).api();
    let refused = || async {
        let answer = api.get("/readyz").await.json;
        answer["reasons"][0]
            .as_str()
            .is_some_and(|reason| reason.contains("refuses the name or the password"))
            .then_some(())
    };
    eventually("readiness names it", s(10), refused).await;
    let log = server.log();
    assert!(log.lines().any(|line| line.contains("ERROR") && line.contains("redis.url")), "{log}");
    assert!(!log.contains("hunter2"), "{log}");
}
