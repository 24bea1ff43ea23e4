//! The presence directory, in memory and over Redis; and over Redis while it, or an instance, dies, hangs or forgets.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use hyper_chat::broker::redis::Settings;
use hyper_chat::broker::{Broker, Orphans};
use hyper_chat::domain::ChatterId;

use crate::broker::{Instance, LEASE, Place, on_both_brokers};
use crate::support::proxy::Proxy;
use crate::support::secrets::JWT_SECRET;
use crate::support::wait::s;
use crate::support::{Redis, eventually, stays, until};

/// How long it may take until all is known behind a fault, on a busy machine.
const SOON: Duration = s(15);

on_both_brokers![
    the_chatters_of_other_instances_are_known_and_ones_own_do_not_count,
    joins_and_leaves_are_counted,
    of_two_instances_that_a_chatter_joins_at_once_one_is_the_first,
    thousands_of_chatters_are_read_with_one_request,
    the_orphans_of_a_dead_instance_go_to_one_instance_until_they_are_released,
];

/// Waits until exactly these of 1 to 9 are connected elsewhere, as this instance knows it.
async fn knows(broker: &dyn Broker, expected: &[i64]) {
    let (all, expected): (Vec<ChatterId>, HashSet<ChatterId>) =
        ((1..=9).map(ChatterId::new).collect(), expected.iter().copied().map(ChatterId::new).collect());
    let known = || async { (broker.connected_elsewhere(&all).await.as_ref() == Some(&expected)).then_some(()) };
    eventually(&format!("{expected:?} are elsewhere"), SOON, known).await;
}

/// The next chatters of a dead instance.
async fn orphans(broker: &dyn Broker) -> Orphans {
    eventually("somebody is dead", SOON, || broker.claim_orphans()).await
}

async fn the_chatters_of_other_instances_are_known_and_ones_own_do_not_count(place: Place) {
    let (one, two, three) = (place.instance().await, place.instance().await, place.instance().await);
    one.broker.join(ChatterId::new(1));
    two.broker.join(ChatterId::new(2));
    two.broker.join(ChatterId::new(3));
    three.broker.join(ChatterId::new(3));
    knows(&*one.broker, &[2, 3]).await;
    knows(&*two.broker, &[1, 3]).await;
    knows(&*three.broker, &[1, 2, 3]).await;
    two.broker.leave(ChatterId::new(3));
    two.broker.leave(ChatterId::new(2));
    knows(&*one.broker, &[3]).await;
    assert_eq!(one.broker.connected_elsewhere(&[]).await, Some(HashSet::new()));
}

async fn joins_and_leaves_are_counted(place: Place) {
    let (one, two) = (place.instance().await, place.instance().await);
    one.broker.join(ChatterId::new(1));
    one.broker.join(ChatterId::new(1));
    one.broker.leave(ChatterId::new(1));
    one.broker.leave(ChatterId::new(2));
    one.broker.join(ChatterId::new(2));
    one.broker.join(ChatterId::new(3));
    knows(&*two.broker, &[1, 3]).await;
    one.broker.leave(ChatterId::new(1));
    knows(&*two.broker, &[3]).await;
}

async fn of_two_instances_that_a_chatter_joins_at_once_one_is_the_first(place: Place) {
    let (one, two) = (place.instance().await, place.instance().await);
    one.broker.join(ChatterId::new(9));
    knows(&*two.broker, &[9]).await;
    for chatter in (1..=8).map(ChatterId::new) {
        let (first, second) = if chatter.get() % 2 == 0 { (&one, &two) } else { (&two, &one) };
        first.broker.join(chatter);
        second.broker.join(chatter);
    }
    knows(&*one.broker, &[1, 2, 3, 4, 5, 6, 7, 8]).await;
    knows(&*two.broker, &[1, 2, 3, 4, 5, 6, 7, 8, 9]).await;
    let was_second = |at: &Instance, chatter: i64| at.broker.was_connected_elsewhere(chatter.into());
    let decided = || (1..=8).all(|chatter| was_second(&one, chatter) != was_second(&two, chatter));
    until("one is the first for each", SOON, decided).await;
    assert!(!one.broker.was_connected_elsewhere(ChatterId::new(9)), "nobody else had 9");
    one.broker.leave(ChatterId::new(9));
    two.broker.join(ChatterId::new(9));
    knows(&*one.broker, &[1, 2, 3, 4, 5, 6, 7, 8, 9]).await;
    one.broker.join(ChatterId::new(9));
    until("two was there before", SOON, || one.broker.was_connected_elsewhere(ChatterId::new(9))).await;
}

async fn thousands_of_chatters_are_read_with_one_request(place: Place) {
    let (one, two) = (place.instance().await, place.instance().await);
    let all: Vec<ChatterId> = (1..=5_000).map(ChatterId::new).collect();
    all.iter().filter(|chatter| chatter.get() % 3 == 0).for_each(|chatter| one.broker.join(*chatter));
    let known = || async { two.broker.connected_elsewhere(&all).await.filter(|known| known.len() == 5_000 / 3) };
    let known = eventually("all are known", SOON, known).await;
    assert!(known.iter().all(|chatter| chatter.get() % 3 == 0));
}

async fn the_orphans_of_a_dead_instance_go_to_one_instance_until_they_are_released(place: Place) {
    let (one, two, dies) = (place.instance().await, place.instance().await, place.instance().await);
    let all: HashSet<ChatterId> = (1..=700).map(ChatterId::new).collect();
    all.iter().for_each(|chatter| dies.broker.join(*chatter));
    one.broker.join(ChatterId::new(8));
    let ids: Vec<ChatterId> = all.iter().copied().collect();
    let known = || async { two.broker.connected_elsewhere(&ids).await.filter(|known| *known == all) };
    eventually("all are known", SOON, known).await;
    assert!(one.broker.claim_orphans().await.is_none(), "nobody is dead");
    drop(dies);
    let first = orphans(&*one.broker).await;
    assert!(two.broker.claim_orphans().await.is_none(), "nobody else gets any meanwhile");
    knows(&*two.broker, &[8]).await;
    let mut taken: HashSet<ChatterId> = first.chatters.iter().copied().collect();
    assert!(one.broker.release_orphans(&first).await);
    while let Some(more) = one.broker.claim_orphans().await {
        assert!(more.chatters.iter().all(|chatter| taken.insert(*chatter)), "settled once is settled");
        assert!(one.broker.release_orphans(&more).await);
    }
    assert_eq!(taken, all);
    assert!(two.broker.claim_orphans().await.is_none(), "nothing is left");
}

/// One with a short lease and the timeouts that it would have in production.
fn hasty(port: u16) -> Instance {
    let settings = Settings { lease: LEASE, ..Settings::new(format!("redis://127.0.0.1:{port}").into()) };
    Instance::with(&settings, JWT_SECRET)
}

/// Two who know of each other: 1 is connected to the first, 2 to the second.
async fn pair(one: Instance, two: Instance) -> (Instance, Instance) {
    one.broker.join(ChatterId::new(1));
    two.broker.join(ChatterId::new(2));
    know_each_other(&one, &two).await;
    (one, two)
}

async fn know_each_other(one: &Instance, two: &Instance) {
    knows(&*one.broker, &[2]).await;
    knows(&*two.broker, &[1]).await;
}

#[tokio::test]
async fn an_instance_that_has_claimed_orphans_may_die_as_well() {
    let redis = Redis::start();
    let (heir, other) = pair(hasty(redis.port), hasty(redis.port)).await;
    let dies = hasty(redis.port);
    (3..=600).map(ChatterId::new).for_each(|chatter| dies.broker.join(chatter));
    knows(&*other.broker, &[1, 3, 4, 5, 6, 7, 8, 9]).await;
    drop(dies);
    let some = orphans(&*heir.broker).await;
    assert!(heir.broker.release_orphans(&some).await);
    let settled: HashSet<ChatterId> = some.chatters.into_iter().collect();
    let unsettled = orphans(&*heir.broker).await;
    drop(heir);
    let mut taken = HashSet::new();
    while !(3..=600).map(ChatterId::new).all(|chatter| settled.contains(&chatter) || taken.contains(&chatter)) {
        let more = orphans(&*other.broker).await;
        assert!(other.broker.release_orphans(&more).await);
        taken.extend(more.chatters);
    }
    assert!(settled.is_disjoint(&taken), "what is settled is not handed out again");
    assert!(unsettled.chatters.iter().all(|chatter| taken.contains(chatter)), "what is not settled is");
    assert_eq!(orphans(&*other.broker).await.chatters, [ChatterId::new(1)], "then the heir's own");
}

#[tokio::test]
async fn every_chatter_is_written_again_when_redis_forgets() {
    let redis = Redis::start();
    let (one, two) = pair(hasty(redis.port), hasty(redis.port)).await;
    for _ in 0..2 {
        let _: () = redis.ask(&["FLUSHALL"]).await;
        let right = || async {
            one.broker
                .connected_elsewhere(&[ChatterId::new(2)])
                .await
                .is_none_or(|known| known.contains(&ChatterId::new(2)))
        };
        stays("unknown or right, never wrong", LEASE * 2, right).await;
        know_each_other(&one, &two).await;
    }
    redis.kill9();
    one.broker.leave(ChatterId::new(1));
    one.broker.join(ChatterId::new(3));
    assert_eq!(one.broker.connected_elsewhere(&[ChatterId::new(2)]).await, None, "not known");
    redis.up();
    knows(&*two.broker, &[3]).await;
    knows(&*one.broker, &[2]).await;
    assert_eq!((one.presumptions_of_death(), two.presumptions_of_death()), (0, 0));
    let set: Vec<String> = redis.ask(&["KEYS", "hyper:1:at:*"]).await;
    let _: usize = redis.ask(&["SREM", &set[0], "2", "3"]).await;
    knows(&*two.broker, &[3]).await;
    knows(&*one.broker, &[2]).await;
}

#[tokio::test]
async fn a_pause_of_redis_makes_no_instance_dead() {
    let redis = Redis::start();
    let proxy = Proxy::before(redis.port).await;
    let (one, two) = pair(hasty(redis.port), hasty(proxy.port)).await;
    redis.freeze();
    let start = Instant::now();
    assert_eq!(one.broker.connected_elsewhere(&[ChatterId::new(2)]).await, None, "no answer in time");
    for chatter in (100..20_100).map(ChatterId::new) {
        one.broker.join(chatter);
        one.broker.leave(chatter);
    }
    assert_eq!(one.broker.connected_elsewhere(&[ChatterId::new(2)]).await, None);
    assert!(start.elapsed() < s(2), "nobody waits: {:?}", start.elapsed());
    until("the pause is long", s(20), || start.elapsed() > LEASE * 2).await;
    // The second one is back a little later.
    proxy.cut();
    redis.thaw();
    let nobody = || async { one.broker.claim_orphans().await.is_none() && two.broker.claim_orphans().await.is_none() };
    let back = || async { one.broker.connected_elsewhere(&[ChatterId::new(3)]).await };
    eventually("the first one is back", SOON, back).await;
    assert!(nobody().await, "nobody is dead");
    proxy.heal();
    stays("nobody is dead", LEASE * 2, nobody).await;
    know_each_other(&one, &two).await;
    assert_eq!((one.presumptions_of_death(), two.presumptions_of_death()), (0, 0));
}

#[tokio::test]
async fn an_instance_that_was_cut_off_and_presumed_dead_learns_it_and_is_back() {
    let redis = Redis::start();
    let proxy = Proxy::before(redis.port).await;
    let (cut_off, other) = pair(hasty(proxy.port), hasty(redis.port)).await;
    for round in 1..=2 {
        let start = Instant::now();
        proxy.hole();
        let left = orphans(&*other.broker).await;
        assert_eq!(left.chatters, [ChatterId::new(1)]);
        assert!(left.silent >= LEASE && left.silent < start.elapsed() + LEASE, "round {round}: {:?}", left.silent);
        knows(&*other.broker, &[]).await;
        // Settled in one round, in the middle of it in the other one.
        assert!(round == 1 || other.broker.release_orphans(&left).await);
        proxy.heal();
        until("it learns that", SOON, || cut_off.presumptions_of_death() == round).await;
        know_each_other(&cut_off, &other).await;
        if round == 1 {
            // They are handed out again, and must not be taken for those of the next round.
            let left = orphans(&*other.broker).await;
            assert!(other.broker.release_orphans(&left).await);
        }
    }
    assert_eq!(other.presumptions_of_death(), 0);
}

#[tokio::test]
async fn an_instance_that_leaves_is_dead_soon_and_not_at_once() {
    let redis = Redis::start();
    let (leaves, other) = pair(hasty(redis.port), hasty(redis.port)).await;
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
    let (one, two) = pair(hasty(redis.port), hasty(redis.port)).await;
    let dies = hasty(redis.port);
    dies.broker.join(ChatterId::new(3));
    knows(&*one.broker, &[2, 3]).await;
    drop(dies);
    let left = orphans(&*two.broker).await;
    // All in one step: the claim has an end of its own soon.
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
    let (one, dies) = pair(hasty(redis.port), hasty(redis.port)).await;
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
