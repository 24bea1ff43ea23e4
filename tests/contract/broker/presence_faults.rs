//! The presence directory over Redis while Redis or an instance dies, hangs, forgets or is cut off.

use std::collections::HashSet;
use std::time::Instant;

use hyper_chat::broker::redis::Settings;
use hyper_chat::domain::ChatterId;

use super::presence_directory::{SOON, expect_connected_elsewhere, orphans};
use super::{Instance, LEASE};
use crate::support::proxy::Proxy;
use crate::support::secrets::JWT_SECRET;
use crate::support::wait::s;
use crate::support::{Redis, eventually, stays, until};

/// An instance with a short lease and production timeouts.
fn with_production_timeouts(port: u16) -> Instance {
    let settings = Settings { lease: LEASE, ..Settings::new(format!("redis://127.0.0.1:{port}").into()) };
    Instance::with(&settings, JWT_SECRET)
}

/// Two instances that list each other's chatter: 1 is connected to the first, 2 to the second.
async fn pair(one: Instance, two: Instance) -> (Instance, Instance) {
    one.broker.join(ChatterId::new(1));
    two.broker.join(ChatterId::new(2));
    wait_for_each_other(&one, &two).await;
    (one, two)
}

async fn wait_for_each_other(one: &Instance, two: &Instance) {
    expect_connected_elsewhere(&*one.broker, &[2]).await;
    expect_connected_elsewhere(&*two.broker, &[1]).await;
}

#[tokio::test]
async fn an_instance_that_has_claimed_orphans_may_die_as_well() {
    let redis = Redis::start();
    let (heir, other) = pair(with_production_timeouts(redis.port), with_production_timeouts(redis.port)).await;
    let dies = with_production_timeouts(redis.port);
    let all: Vec<ChatterId> = (3..=600).map(ChatterId::new).collect();
    all.iter().for_each(|chatter| dies.broker.join(*chatter));
    // They are written in batches: it must not die between two.
    let written = || async { other.broker.connected_elsewhere(&all).await.filter(|known| known.len() == all.len()) };
    eventually("all are written", SOON, written).await;
    drop(dies);
    let some = orphans(&*heir.broker).await;
    assert!(heir.broker.release_orphans(&some).await);
    let settled: HashSet<ChatterId> = some.chatters.into_iter().collect();
    let unsettled = orphans(&*heir.broker).await;
    drop(heir);
    // The heir's claim and its lease run out within a moment of each other: its own chatter may come first.
    let mut taken = HashSet::new();
    let own = ChatterId::new(1);
    while !all.iter().chain([&own]).all(|chatter| settled.contains(chatter) || taken.contains(chatter)) {
        let more = orphans(&*other.broker).await;
        assert!(other.broker.release_orphans(&more).await);
        taken.extend(more.chatters);
    }
    assert!(settled.is_disjoint(&taken), "what is settled is not handed out again");
    assert!(unsettled.chatters.iter().all(|chatter| taken.contains(chatter)), "what is not settled is");
    assert!(taken.contains(&own), "and so is the heir's own");
}

#[tokio::test]
async fn every_chatter_is_written_again_when_redis_forgets() {
    let redis = Redis::start();
    let (one, two) = pair(with_production_timeouts(redis.port), with_production_timeouts(redis.port)).await;
    for _ in 0..2 {
        let _: () = redis.ask(&["FLUSHALL"]).await;
        let right = || async {
            one.broker
                .connected_elsewhere(&[ChatterId::new(2)])
                .await
                .is_none_or(|known| known.contains(&ChatterId::new(2)))
        };
        stays("unknown or right, never wrong", LEASE * 2, right).await;
        wait_for_each_other(&one, &two).await;
    }
    redis.kill9();
    one.broker.leave(ChatterId::new(1));
    one.broker.join(ChatterId::new(3));
    assert_eq!(one.broker.connected_elsewhere(&[ChatterId::new(2)]).await, None, "not known");
    redis.up();
    expect_connected_elsewhere(&*two.broker, &[3]).await;
    expect_connected_elsewhere(&*one.broker, &[2]).await;
    assert_eq!((one.presumptions_of_death(), two.presumptions_of_death()), (0, 0));
    let set: Vec<String> = redis.ask(&["KEYS", "hyper:1:at:*"]).await;
    let _: usize = redis.ask(&["SREM", &set[0], "2", "3"]).await;
    expect_connected_elsewhere(&*two.broker, &[3]).await;
    expect_connected_elsewhere(&*one.broker, &[2]).await;
}

#[tokio::test]
async fn a_pause_of_redis_makes_no_instance_dead() {
    let redis = Redis::start();
    let proxy = Proxy::before(redis.port).await;
    let (one, two) = pair(with_production_timeouts(redis.port), with_production_timeouts(proxy.port)).await;
    redis.freeze();
    let start = Instant::now();
    assert_eq!(one.broker.connected_elsewhere(&[ChatterId::new(2)]).await, None, "no answer in time");
    for chatter in (100..20_100).map(ChatterId::new) {
        one.broker.join(chatter);
        one.broker.leave(chatter);
    }
    assert_eq!(one.broker.connected_elsewhere(&[ChatterId::new(2)]).await, None);
    assert!(start.elapsed() < s(2), "no caller waits: {:?}", start.elapsed());
    until("the pause is long", s(20), || start.elapsed() > LEASE * 2).await;
    // The second instance is back a little later.
    proxy.cut();
    redis.thaw();
    let none_dead =
        || async { one.broker.claim_orphans().await.is_none() && two.broker.claim_orphans().await.is_none() };
    let back = || async { one.broker.connected_elsewhere(&[ChatterId::new(3)]).await };
    eventually("the first one is back", SOON, back).await;
    assert!(none_dead().await, "no instance is dead");
    proxy.heal();
    stays("no instance is dead", LEASE * 2, none_dead).await;
    wait_for_each_other(&one, &two).await;
    assert_eq!((one.presumptions_of_death(), two.presumptions_of_death()), (0, 0));
}

#[tokio::test]
async fn an_instance_that_was_cut_off_and_presumed_dead_learns_it_and_is_back() {
    let redis = Redis::start();
    let proxy = Proxy::before(redis.port).await;
    let (cut_off, other) = pair(with_production_timeouts(proxy.port), with_production_timeouts(redis.port)).await;
    for round in 1..=2 {
        let start = Instant::now();
        proxy.hole();
        let left = orphans(&*other.broker).await;
        assert_eq!(left.chatters, [ChatterId::new(1)]);
        assert!(left.silent >= LEASE && left.silent < start.elapsed() + LEASE, "round {round}: {:?}", left.silent);
        expect_connected_elsewhere(&*other.broker, &[]).await;
        // Released in one round, half released in the other.
        assert!(round == 1 || other.broker.release_orphans(&left).await);
        proxy.heal();
        until("it learns that", SOON, || cut_off.presumptions_of_death() == round).await;
        wait_for_each_other(&cut_off, &other).await;
        if round == 1 {
            // They are claimed again, and must not be mistaken for those of the next round.
            let left = orphans(&*other.broker).await;
            assert!(other.broker.release_orphans(&left).await);
        }
    }
    assert_eq!(other.presumptions_of_death(), 0);
}

#[tokio::test]
async fn an_instance_that_leaves_is_dead_soon_and_not_at_once() {
    let redis = Redis::start();
    let (leaves, other) = pair(with_production_timeouts(redis.port), with_production_timeouts(redis.port)).await;
    leaves.broker.leave_all();
    leaves.broker.leave(ChatterId::new(1));
    let start = Instant::now();
    assert_eq!(
        other.broker.connected_elsewhere(&[ChatterId::new(1)]).await.map(|known| known.len()),
        Some(1),
        "may come back elsewhere"
    );
    assert_eq!(orphans(&*other.broker).await.chatters, [ChatterId::new(1)]);
    assert!(start.elapsed() < LEASE + s(2), "{:?}", start.elapsed());
}

#[tokio::test]
async fn every_key_in_redis_expires() {
    let redis = Redis::start();
    let (one, two) = pair(with_production_timeouts(redis.port), with_production_timeouts(redis.port)).await;
    let dies = with_production_timeouts(redis.port);
    dies.broker.join(ChatterId::new(3));
    expect_connected_elsewhere(&*one.broker, &[2, 3]).await;
    drop(dies);
    let left = orphans(&*two.broker).await;
    // All in one step, because the claim expires soon.
    let ends = "local all = {}
                for _, key in ipairs(redis.call('KEYS', '*')) do
                  all[#all + 1] = key
                  all[#all + 1] = redis.call('PTTL', key)
                end
                return all";
    let keys: Vec<(String, i64)> = redis.ask(&["EVAL", ends, "0"]).await;
    assert_eq!(keys.len(), 6, "leases, since, three sets and a claim: {keys:?}");
    for (key, end) in keys {
        assert!(end > 0 && end <= 3_600_000, "{key} ends in {end} ms");
    }
    assert!(two.broker.release_orphans(&left).await && two.broker.claim_orphans().await.is_none());
    let keys: Vec<String> = redis.ask(&["KEYS", "*"]).await;
    assert_eq!(keys.len(), 4, "of the dead one nothing is left: {keys:?}");
    drop(one);
}

#[tokio::test]
async fn entries_that_are_no_chatters_are_released_as_well() {
    let redis = Redis::start();
    let (one, dies) = pair(with_production_timeouts(redis.port), with_production_timeouts(redis.port)).await;
    drop(dies);
    let first = orphans(&*one.broker).await;
    assert_eq!(first.chatters, [ChatterId::new(2)]);
    for key in redis.ask::<Vec<String>>(&["KEYS", "hyper:1:at:*"]).await {
        if redis.ask(&["SISMEMBER", &key, "2"]).await {
            let _: usize = redis.ask(&["SADD", &key, "nobody", "1e3", "", "-"]).await;
        }
    }
    let again = orphans(&*one.broker).await;
    assert_eq!(again.chatters, [ChatterId::new(2)]);
    assert!(one.broker.release_orphans(&again).await);
    assert!(one.broker.claim_orphans().await.is_none());
}
