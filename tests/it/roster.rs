//! Who is connected where, over both twins of the relay; and over Redis while it, or an instance, dies, hangs or forgets.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use hyper_chat::broker::redis::Settings;
use hyper_chat::broker::{Broker, Orphans};
use hyper_chat::domain::ChatterId;

use crate::relay::{Instance, LEASE, Place, on_both_twins};
use crate::support::proxy::Proxy;
use crate::support::secrets::JWT_SECRET;
use crate::support::wait::s;
use crate::support::{Redis, eventually, stays, until};

/// How long it may take until all is known behind a fault, on a busy machine.
const SOON: Duration = s(15);

on_both_twins![
    who_is_connected_elsewhere_is_known_and_oneself_does_not_count,
    coming_and_going_is_counted,
    of_two_instances_where_somebody_comes_one_is_the_first,
    thousands_are_known_with_one_question,
    the_chatters_of_a_dead_instance_are_handed_to_one_at_a_time_until_settled,
];

/// Waits until exactly these of 1 to 9 are connected elsewhere, as this instance knows it.
async fn knows(relay: &Broker, expected: &[i64]) {
    let (all, expected): (Vec<ChatterId>, HashSet<ChatterId>) =
        ((1..=9).map(ChatterId::new).collect(), expected.iter().copied().map(ChatterId::new).collect());
    let known = || async { (relay.connected_elsewhere(&all).await.as_ref() == Some(&expected)).then_some(()) };
    eventually(&format!("{expected:?} are elsewhere"), SOON, known).await;
}

/// The next chatters of a dead instance.
async fn orphans(relay: &Broker) -> Orphans {
    eventually("somebody is dead", SOON, || relay.orphans()).await
}

async fn who_is_connected_elsewhere_is_known_and_oneself_does_not_count(place: Place) {
    let (one, two, three) = (place.instance().await, place.instance().await, place.instance().await);
    one.relay.join(ChatterId::new(1));
    two.relay.join(ChatterId::new(2));
    two.relay.join(ChatterId::new(3));
    three.relay.join(ChatterId::new(3));
    knows(&one.relay, &[2, 3]).await;
    knows(&two.relay, &[1, 3]).await;
    knows(&three.relay, &[1, 2, 3]).await;
    two.relay.leave(ChatterId::new(3));
    two.relay.leave(ChatterId::new(2));
    knows(&one.relay, &[3]).await;
    assert_eq!(one.relay.connected_elsewhere(&[]).await, Some(HashSet::new()));
}

async fn coming_and_going_is_counted(place: Place) {
    let (one, two) = (place.instance().await, place.instance().await);
    one.relay.join(ChatterId::new(1));
    one.relay.join(ChatterId::new(1));
    one.relay.leave(ChatterId::new(1));
    one.relay.leave(ChatterId::new(2));
    one.relay.join(ChatterId::new(2));
    one.relay.join(ChatterId::new(3));
    knows(&two.relay, &[1, 3]).await;
    one.relay.leave(ChatterId::new(1));
    knows(&two.relay, &[3]).await;
}

async fn of_two_instances_where_somebody_comes_one_is_the_first(place: Place) {
    let (one, two) = (place.instance().await, place.instance().await);
    one.relay.join(ChatterId::new(9));
    knows(&two.relay, &[9]).await;
    for chatter in (1..=8).map(ChatterId::new) {
        let (first, second) = if chatter.get() % 2 == 0 { (&one, &two) } else { (&two, &one) };
        first.relay.join(chatter);
        second.relay.join(chatter);
    }
    knows(&one.relay, &[1, 2, 3, 4, 5, 6, 7, 8]).await;
    knows(&two.relay, &[1, 2, 3, 4, 5, 6, 7, 8, 9]).await;
    let decided = || (1..=8).map(ChatterId::new).all(|chatter| one.relay.joined(chatter) != two.relay.joined(chatter));
    until("one is the first for each", SOON, decided).await;
    assert!(!one.relay.joined(ChatterId::new(9)), "nobody else had 9");
    one.relay.leave(ChatterId::new(9));
    two.relay.join(ChatterId::new(9));
    knows(&one.relay, &[1, 2, 3, 4, 5, 6, 7, 8, 9]).await;
    one.relay.join(ChatterId::new(9));
    until("two was there before", SOON, || one.relay.joined(ChatterId::new(9))).await;
}

async fn thousands_are_known_with_one_question(place: Place) {
    let (one, two) = (place.instance().await, place.instance().await);
    let all: Vec<ChatterId> = (1..=5_000).map(ChatterId::new).collect();
    all.iter().filter(|chatter| chatter.get() % 3 == 0).for_each(|chatter| one.relay.join(*chatter));
    let known = || async { two.relay.connected_elsewhere(&all).await.filter(|known| known.len() == 5_000 / 3) };
    let known = eventually("all are known", SOON, known).await;
    assert!(known.iter().all(|chatter| chatter.get() % 3 == 0));
}

async fn the_chatters_of_a_dead_instance_are_handed_to_one_at_a_time_until_settled(place: Place) {
    let (one, two, dies) = (place.instance().await, place.instance().await, place.instance().await);
    let all: HashSet<ChatterId> = (1..=700).map(ChatterId::new).collect();
    all.iter().for_each(|chatter| dies.relay.join(*chatter));
    one.relay.join(ChatterId::new(8));
    let ids: Vec<ChatterId> = all.iter().copied().collect();
    let known = || async { two.relay.connected_elsewhere(&ids).await.filter(|known| *known == all) };
    eventually("all are known", SOON, known).await;
    assert!(one.relay.orphans().await.is_none(), "nobody is dead");
    drop(dies);
    let first = orphans(&one.relay).await;
    assert!(two.relay.orphans().await.is_none(), "nobody else gets any meanwhile");
    knows(&two.relay, &[8]).await;
    let mut taken: HashSet<ChatterId> = first.chatters.iter().copied().collect();
    assert!(one.relay.settle(&first).await);
    while let Some(more) = one.relay.orphans().await {
        assert!(more.chatters.iter().all(|chatter| taken.insert(*chatter)), "settled once is settled");
        assert!(one.relay.settle(&more).await);
    }
    assert_eq!(taken, all);
    assert!(two.relay.orphans().await.is_none(), "nothing is left");
}

/// One with a short lease and the timeouts that it would have in production.
fn hasty(port: u16) -> Instance {
    let settings = Settings { lease: LEASE, ..Settings::new(format!("redis://127.0.0.1:{port}").into()) };
    Instance::with(&settings, JWT_SECRET)
}

/// Two who know of each other: 1 is connected to the first, 2 to the second.
async fn pair(one: Instance, two: Instance) -> (Instance, Instance) {
    one.relay.join(ChatterId::new(1));
    two.relay.join(ChatterId::new(2));
    know_each_other(&one, &two).await;
    (one, two)
}

async fn know_each_other(one: &Instance, two: &Instance) {
    knows(&one.relay, &[2]).await;
    knows(&two.relay, &[1]).await;
}

#[tokio::test]
async fn whoever_takes_over_from_a_dead_one_may_die_as_well() {
    let redis = Redis::start();
    let (heir, other) = pair(hasty(redis.port), hasty(redis.port)).await;
    let dies = hasty(redis.port);
    (3..=600).map(ChatterId::new).for_each(|chatter| dies.relay.join(chatter));
    knows(&other.relay, &[1, 3, 4, 5, 6, 7, 8, 9]).await;
    drop(dies);
    let some = orphans(&heir.relay).await;
    assert!(heir.relay.settle(&some).await);
    let settled: HashSet<ChatterId> = some.chatters.into_iter().collect();
    let unsettled = orphans(&heir.relay).await;
    drop(heir);
    let mut taken = HashSet::new();
    while !(3..=600).map(ChatterId::new).all(|chatter| settled.contains(&chatter) || taken.contains(&chatter)) {
        let more = orphans(&other.relay).await;
        assert!(other.relay.settle(&more).await);
        taken.extend(more.chatters);
    }
    assert!(settled.is_disjoint(&taken), "what is settled is not handed out again");
    assert!(unsettled.chatters.iter().all(|chatter| taken.contains(chatter)), "what is not settled is");
    assert_eq!(orphans(&other.relay).await.chatters, [ChatterId::new(1)], "then the heir's own");
}

#[tokio::test]
async fn all_is_written_again_when_redis_forgets() {
    let redis = Redis::start();
    let (one, two) = pair(hasty(redis.port), hasty(redis.port)).await;
    for _ in 0..2 {
        let _: () = redis.ask(&["FLUSHALL"]).await;
        let right = || async {
            one.relay
                .connected_elsewhere(&[ChatterId::new(2)])
                .await
                .is_none_or(|known| known.contains(&ChatterId::new(2)))
        };
        stays("unknown or right, never wrong", LEASE * 2, right).await;
        know_each_other(&one, &two).await;
    }
    redis.kill9();
    one.relay.leave(ChatterId::new(1));
    one.relay.join(ChatterId::new(3));
    assert_eq!(one.relay.connected_elsewhere(&[ChatterId::new(2)]).await, None, "not known");
    redis.up();
    knows(&two.relay, &[3]).await;
    knows(&one.relay, &[2]).await;
    assert_eq!((one.presumptions_of_death(), two.presumptions_of_death()), (0, 0));
    let set: Vec<String> = redis.ask(&["KEYS", "hyper:1:at:*"]).await;
    let _: usize = redis.ask(&["SREM", &set[0], "2", "3"]).await;
    knows(&two.relay, &[3]).await;
    knows(&one.relay, &[2]).await;
}

#[tokio::test]
async fn a_pause_of_redis_makes_nobody_dead() {
    let redis = Redis::start();
    let proxy = Proxy::before(redis.port).await;
    let (one, two) = pair(hasty(redis.port), hasty(proxy.port)).await;
    redis.freeze();
    let start = Instant::now();
    assert_eq!(one.relay.connected_elsewhere(&[ChatterId::new(2)]).await, None, "no answer in time");
    for chatter in (100..20_100).map(ChatterId::new) {
        one.relay.join(chatter);
        one.relay.leave(chatter);
    }
    assert_eq!(one.relay.connected_elsewhere(&[ChatterId::new(2)]).await, None);
    assert!(start.elapsed() < s(2), "nobody waits: {:?}", start.elapsed());
    until("the pause is long", s(20), || start.elapsed() > LEASE * 2).await;
    // The second one is back a little later.
    proxy.cut();
    redis.thaw();
    let nobody = || async { one.relay.orphans().await.is_none() && two.relay.orphans().await.is_none() };
    let back = || async { one.relay.connected_elsewhere(&[ChatterId::new(3)]).await };
    eventually("the first one is back", SOON, back).await;
    assert!(nobody().await, "nobody is dead");
    proxy.heal();
    stays("nobody is dead", LEASE * 2, nobody).await;
    know_each_other(&one, &two).await;
    assert_eq!((one.presumptions_of_death(), two.presumptions_of_death()), (0, 0));
}

#[tokio::test]
async fn who_was_cut_off_and_taken_for_dead_learns_it_and_is_back() {
    let redis = Redis::start();
    let proxy = Proxy::before(redis.port).await;
    let (cut_off, other) = pair(hasty(proxy.port), hasty(redis.port)).await;
    for round in 1..=2 {
        let start = Instant::now();
        proxy.hole();
        let left = orphans(&other.relay).await;
        assert_eq!(left.chatters, [ChatterId::new(1)]);
        assert!(left.silent >= LEASE && left.silent < start.elapsed() + LEASE, "round {round}: {:?}", left.silent);
        knows(&other.relay, &[]).await;
        // Settled in one round, in the middle of it in the other one.
        assert!(round == 1 || other.relay.settle(&left).await);
        proxy.heal();
        until("it learns that", SOON, || cut_off.presumptions_of_death() == round).await;
        know_each_other(&cut_off, &other).await;
        if round == 1 {
            // They are handed out again, and must not be taken for those of the next round.
            let left = orphans(&other.relay).await;
            assert!(other.relay.settle(&left).await);
        }
    }
    assert_eq!(other.presumptions_of_death(), 0);
}

#[tokio::test]
async fn who_leaves_is_dead_soon_and_not_at_once() {
    let redis = Redis::start();
    let (leaves, other) = pair(hasty(redis.port), hasty(redis.port)).await;
    leaves.relay.leave_all();
    leaves.relay.leave(ChatterId::new(1));
    let start = Instant::now();
    assert_eq!(
        other.relay.connected_elsewhere(&[ChatterId::new(1)]).await.map(|known| known.len()),
        Some(1),
        "may come back elsewhere"
    );
    assert_eq!(orphans(&other.relay).await.chatters, [ChatterId::new(1)]);
    assert!(start.elapsed() < LEASE + s(2), "{:?}", start.elapsed());
}

#[tokio::test]
async fn nothing_stays_in_redis_for_ever() {
    let redis = Redis::start();
    let (one, two) = pair(hasty(redis.port), hasty(redis.port)).await;
    let dies = hasty(redis.port);
    dies.relay.join(ChatterId::new(3));
    knows(&one.relay, &[2, 3]).await;
    drop(dies);
    let left = orphans(&two.relay).await;
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
    assert!(two.relay.settle(&left).await && two.relay.orphans().await.is_none());
    let keys: Vec<String> = redis.ask(&["KEYS", "*"]).await;
    assert_eq!(keys.len(), 4, "of the dead one nothing is left: {keys:?}");
    drop(one);
}

#[tokio::test]
async fn what_is_no_chatter_is_taken_off_as_well() {
    let redis = Redis::start();
    let (one, dies) = pair(hasty(redis.port), hasty(redis.port)).await;
    drop(dies);
    let first = orphans(&one.relay).await;
    assert_eq!(first.chatters, [ChatterId::new(2)]);
    for key in redis.ask::<Vec<String>>(&["KEYS", "hyper:1:at:*"]).await {
        if redis.ask(&["SISMEMBER", &key, "2"]).await {
            let _: usize = redis.ask(&["SADD", &key, "nobody", "1e3", "", "-"]).await;
        }
    }
    let again = orphans(&one.relay).await;
    assert_eq!(again.chatters, [ChatterId::new(2)]);
    assert!(one.relay.settle(&again).await);
    assert!(one.relay.orphans().await.is_none());
}
