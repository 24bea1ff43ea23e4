//! Redis dies, hangs, is flushed or is cut off (promise 5; rows N1, E7 to E10, E12): no chat is lost, and all heals.

use std::time::{Duration, Instant};

use super::traffic::{HEALED_WITHIN, Traffic, WITH_REDIS, WITHOUT_REDIS};
use crate::support::cluster::{Cluster, Crossing};
use crate::support::wait::{SLACK, s};
use crate::support::{Redis, eventually, heavy, long};

/// Runs a fault under traffic, during which chats cross both ways in time. Afterwards all is as before.
async fn under_traffic(cluster: &Cluster, fault: impl AsyncFnOnce(&Cluster, &mut [Crossing; 2])) {
    let mut crossings = [Crossing::open(cluster, "there", 0, 1).await, Crossing::open(cluster, "back", 1, 0).await];
    let traffic = Traffic::start(cluster).await;
    arrive(&mut crossings, WITH_REDIS).await;
    fault(cluster, &mut crossings).await;
    cluster.all_ready_within(HEALED_WITHIN + SLACK).await;
    arrive(&mut crossings, WITH_REDIS).await;
    traffic.goes_on().await;
    assert_eq!(traffic.burst.refused(), 0, "no request fails because of Redis");
    traffic.ends(cluster, 0).await;
}

async fn arrive(crossings: &mut [Crossing; 2], within: Duration) {
    for crossing in crossings {
        crossing.crosses_within(within).await;
    }
}

/// Row E7.
#[tokio::test]
async fn redis_is_killed_and_comes_back_empty_again_and_again() {
    let _turn = heavy().await;
    let cluster = Cluster::start(2).await;
    under_traffic(&cluster, async |cluster, crossings| {
        for _ in 0..if long() { 10 } else { 3 } {
            cluster.redis.kill9();
            arrive(crossings, WITHOUT_REDIS).await;
            for instance in 0..2 {
                cluster.becomes_within(instance, "degraded", s(2) + SLACK).await;
            }
            arrive(crossings, WITHOUT_REDIS).await;
            cluster.redis.up();
            cluster.all_ready_within(HEALED_WITHIN + SLACK).await;
            arrive(crossings, WITH_REDIS).await;
        }
    })
    .await;
}

/// Row E8.
#[tokio::test]
async fn redis_hangs_and_recovers() {
    let _turn = heavy().await;
    let cluster = Cluster::start(2).await;
    under_traffic(&cluster, async |cluster, crossings| {
        cluster.redis.freeze();
        let start = Instant::now();
        // At first no instance knows that Redis hangs: the poll every 5 s may deliver the chat.
        for crossing in crossings.iter_mut() {
            let took = crossing.takes().await;
            assert!(took.near < SLACK && took.far < s(5) + SLACK, "{took:?}");
        }
        while start.elapsed() < s(5) {
            arrive(crossings, WITHOUT_REDIS).await;
        }
        cluster.redis.thaw();
    })
    .await;
}

/// Row N1.
#[tokio::test]
async fn subscriptions_are_cut_again_and_again() {
    let _turn = heavy().await;
    let cluster = Cluster::start(2).await;
    under_traffic(&cluster, async |cluster, crossings| {
        for _ in 0..10 {
            cluster.redis.kill_subscribers().await;
            arrive(crossings, WITHOUT_REDIS).await;
            cluster.all_ready_within(HEALED_WITHIN + SLACK).await;
        }
    })
    .await;
}

/// Row E10.
#[tokio::test]
async fn redis_is_flushed_in_the_middle() {
    let _turn = heavy().await;
    let cluster = Cluster::start(2).await;
    under_traffic(&cluster, async |cluster, crossings| {
        for _ in 0..5 {
            cluster.redis.ask::<()>(&["FLUSHALL"]).await;
            arrive(crossings, WITH_REDIS).await;
        }
    })
    .await;
}

/// Row E9.
#[tokio::test]
async fn one_instance_is_cut_off_from_redis() {
    let _turn = heavy().await;
    let cluster = Cluster::start(2).await;
    under_traffic(&cluster, async |cluster, crossings| {
        cluster.wires[0].cut();
        cluster.becomes_within(0, "degraded", s(2) + SLACK).await;
        // The other instance is ready, except for a moment in which Redis answers it late.
        cluster.becomes_within(1, "ready", SLACK).await;
        // The other instance does not know that this one is cut off: it polls the database all the same.
        for _ in 0..3 {
            arrive(crossings, WITHOUT_REDIS).await;
        }
        cluster.wires[0].heal();
    })
    .await;
}

#[tokio::test]
async fn the_line_to_redis_turns_into_a_black_hole() {
    let _turn = heavy().await;
    let cluster = Cluster::start(2).await;
    under_traffic(&cluster, async |cluster, crossings| {
        cluster.wires.iter().for_each(crate::support::proxy::Proxy::hole);
        for crossing in crossings.iter_mut() {
            let took = crossing.takes().await;
            assert!(took.near < SLACK && took.far < s(5) + SLACK, "{took:?}");
        }
        for instance in 0..2 {
            cluster.becomes_within(instance, "degraded", s(3) + SLACK).await;
        }
        arrive(crossings, WITHOUT_REDIS).await;
        cluster.wires.iter().for_each(crate::support::proxy::Proxy::heal);
    })
    .await;
}

/// Events other than chats: those that the database holds are read from there, and the rest is sent late.
#[tokio::test]
async fn rooms_and_receipts_of_a_redis_outage_reach_the_other_instance() {
    let _turn = heavy().await;
    let cluster = Cluster::start(2).await;
    let (ann, bob, room) = cluster.server.api().pair().await;
    let cid = cluster.at(0, &cluster.server.api().person("cid").await);
    let (here, there) = (cluster.at(0, &ann), cluster.at(1, &bob));
    let (mut near, mut far) = (here.device().await, there.device().await);
    let said = here.says(room, "read while Redis is away").await;
    near.expect_chat("read while Redis is away").await;
    far.expect_chat("read while Redis is away").await;
    cluster.redis.kill9();
    for instance in 0..2 {
        cluster.becomes_within(instance, "degraded", s(2) + SLACK).await;
    }
    let start = Instant::now();
    let made = cid.room_with(&bob).await;
    assert_eq!(far.expect("chatroom_created").await["chatroom"]["id"], made);
    assert!(start.elapsed() < WITHOUT_REDIS + SLACK, "{:?}", start.elapsed());
    cid.says(made, "and the first chat in it").await;
    far.expect_chat("and the first chat in it").await;
    far.send_json(&serde_json::json!({"type": "receipt", "chatroom_id": room, "read_seq": said["seq"]}));
    let dump = cluster.server.dump().await;
    let stored =
        || async { dump.members(room).await.iter().any(|m| m.read_seq == 1 && m.chatter_id == bob.id).then_some(()) };
    eventually("the receipt is stored", s(5), stored).await;
    cluster.redis.up();
    cluster.all_ready_within(HEALED_WITHIN + SLACK).await;
    while near.expect("receipt").await["read_seq"] != 1 {}
    let start = Instant::now();
    cid.delete(&format!("/api/chatrooms/{made}")).await.expect(200);
    while far.expect("chatroom_deleted").await["chatroom_id"] != made {}
    assert!(start.elapsed() < WITH_REDIS + SLACK, "{:?}", start.elapsed());
    far.expect_nothing_else().await;
}

/// Row E12.
#[tokio::test]
async fn redis_starts_after_the_instances() {
    let _turn = heavy().await;
    let cluster = Cluster::on(Redis::absent(&[]), 2).await;
    for instance in 0..2 {
        assert_eq!(cluster.readyz(instance).await["status"], "degraded");
    }
    let mut crossings = [Crossing::open(&cluster, "there", 0, 1).await, Crossing::open(&cluster, "back", 1, 0).await];
    arrive(&mut crossings, WITHOUT_REDIS).await;
    cluster.redis.up();
    cluster.all_ready_within(HEALED_WITHIN + SLACK).await;
    arrive(&mut crossings, WITH_REDIS).await;
}

/// Events before the first poll of an instance are found by the next poll.
#[tokio::test]
async fn an_instance_that_starts_without_redis_misses_no_chat() {
    let _turn = heavy().await;
    let mut cluster = Cluster::on(Redis::absent(&[]), 2).await;
    let (ann, bob, room) = cluster.server.api().pair().await;
    let (ann, bob) = (cluster.at(0, &ann), cluster.at(1, &bob));
    for round in 0..5 {
        cluster.server.instance_mut(1).restart().await;
        let mut device = bob.device().await;
        let start = Instant::now();
        let content = format!("just after the start in round {round}");
        ann.says(room, &content).await;
        device.expect_chat(&content).await;
        assert!(start.elapsed() < WITHOUT_REDIS + SLACK, "round {round}: {:?}", start.elapsed());
    }
}
