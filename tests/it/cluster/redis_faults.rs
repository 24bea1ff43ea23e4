//! Redis dies, hangs, is flushed or is cut off (promise 5; rows N1, E7 to E10, E12): no chat is lost, and all heals.

use std::time::{Duration, Instant};

use super::traffic::{AWAY, HEALED, NEAR, Traffic};
use crate::support::cluster::{Cluster, Crossing, SLACK};
use crate::support::wait::s;
use crate::support::{Redis, eventually, heavy, long};

/// Traffic, and a fault in the middle of it, during which chats cross both ways in time. Afterwards all is as before.
async fn under_traffic(cluster: &Cluster, fault: impl AsyncFnOnce(&Cluster, &mut [Crossing; 2])) {
    let mut crossings = [Crossing::open(cluster, "there", 0, 1).await, Crossing::open(cluster, "back", 1, 0).await];
    let traffic = Traffic::start(cluster).await;
    arrive(&mut crossings, NEAR).await;
    fault(cluster, &mut crossings).await;
    cluster.is_whole_within(HEALED + SLACK).await;
    arrive(&mut crossings, NEAR).await;
    traffic.goes_on().await;
    assert_eq!(traffic.burst.refused(), 0, "no request fails because of Redis");
    traffic.ends(cluster, 0).await;
}

async fn arrive(crossings: &mut [Crossing; 2], within: Duration) {
    for crossing in crossings {
        crossing.arrives_within(within).await;
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
            arrive(crossings, AWAY).await;
            for instance in 0..2 {
                cluster.says_within(instance, "degraded", s(2) + SLACK).await;
            }
            arrive(crossings, AWAY).await;
            cluster.redis.up();
            cluster.is_whole_within(HEALED + SLACK).await;
            arrive(crossings, NEAR).await;
        }
    })
    .await;
}

/// Row E8.
#[tokio::test]
async fn redis_hangs_and_goes_on() {
    let _turn = heavy().await;
    let cluster = Cluster::start(2).await;
    under_traffic(&cluster, async |cluster, crossings| {
        cluster.redis.freeze();
        let start = Instant::now();
        // At first nobody knows that it hangs: the safety net of 5 s may be what delivers.
        for crossing in crossings.iter_mut() {
            let took = crossing.takes().await;
            assert!(took.near < SLACK && took.far < s(5) + SLACK, "{took:?}");
        }
        while start.elapsed() < s(5) {
            arrive(crossings, AWAY).await;
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
            arrive(crossings, AWAY).await;
            cluster.is_whole_within(HEALED + SLACK).await;
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
            arrive(crossings, NEAR).await;
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
        cluster.says_within(0, "degraded", s(2) + SLACK).await;
        // The other one is not, but for a moment in which Redis answers it late.
        cluster.says_within(1, "ready", SLACK).await;
        // The other one does not know that somebody is cut off: it looks at the database all the same.
        for _ in 0..3 {
            arrive(crossings, AWAY).await;
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
            cluster.says_within(instance, "degraded", s(3) + SLACK).await;
        }
        arrive(crossings, AWAY).await;
        cluster.wires.iter().for_each(crate::support::proxy::Proxy::heal);
    })
    .await;
}

/// Whatever is no chat: what the database knows comes from there, and the rest is told late.
#[tokio::test]
async fn rooms_and_receipts_of_an_outage_of_redis_reach_the_other_instance() {
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
        cluster.says_within(instance, "degraded", s(2) + SLACK).await;
    }
    let start = Instant::now();
    let made = cid.room_with(&bob).await;
    assert_eq!(far.expect("chatroom_created").await["chatroom"]["id"], made);
    assert!(start.elapsed() < AWAY + SLACK, "{:?}", start.elapsed());
    cid.says(made, "and the first chat in it").await;
    far.expect_chat("and the first chat in it").await;
    far.send_json(&serde_json::json!({"type": "receipt", "chatroom_id": room, "read_seq": said["seq"]}));
    let dump = cluster.server.dump().await;
    let stored =
        || async { dump.members(room).await.iter().any(|m| m.read_seq == 1 && m.chatter_id == bob.id).then_some(()) };
    eventually("the receipt is stored", s(5), stored).await;
    cluster.redis.up();
    cluster.is_whole_within(HEALED + SLACK).await;
    while near.expect("receipt").await["read_seq"] != 1 {}
    let start = Instant::now();
    cid.delete(&format!("/api/chatrooms/{made}")).await.expect(200);
    while far.expect("chatroom_deleted").await["chatroom_id"] != made {}
    assert!(start.elapsed() < NEAR + SLACK, "{:?}", start.elapsed());
    far.expect_nothing_else().await;
}

/// Row E12.
#[tokio::test]
async fn redis_is_absent_at_the_start_and_comes_later() {
    let _turn = heavy().await;
    let cluster = Cluster::on(Redis::absent(&[]), 2).await;
    for instance in 0..2 {
        assert_eq!(cluster.readyz(instance).await["status"], "degraded");
    }
    let mut crossings = [Crossing::open(&cluster, "there", 0, 1).await, Crossing::open(&cluster, "back", 1, 0).await];
    arrive(&mut crossings, AWAY).await;
    cluster.redis.up();
    cluster.is_whole_within(HEALED + SLACK).await;
    arrive(&mut crossings, NEAR).await;
}

/// What is told before an instance has asked the database for the first time is found by the next question.
#[tokio::test]
async fn an_instance_that_starts_without_redis_misses_nothing_from_its_first_moment_on() {
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
        assert!(start.elapsed() < AWAY + SLACK, "round {round}: {:?}", start.elapsed());
    }
}
