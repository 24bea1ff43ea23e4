//! The presence directory, in memory and over Redis: which chatters are connected to other instances.

use std::collections::HashSet;
use std::time::Duration;

use hyper_chat::broker::{Broker, Orphans};
use hyper_chat::domain::ChatterId;

use super::{Instance, Place, on_both_brokers};
use crate::support::wait::s;
use crate::support::{eventually, until};

on_both_brokers![
    chatters_of_other_instances_are_listed_and_own_ones_are_not,
    joins_and_leaves_are_counted,
    of_two_instances_that_a_chatter_joins_at_once_one_is_the_first,
    thousands_of_chatters_are_read_with_one_request,
    the_orphans_of_a_dead_instance_go_to_one_instance_until_they_are_released,
];

/// How soon after a fault the directory is correct again, on a busy machine.
pub const SOON: Duration = s(15);

/// Waits until this instance lists exactly these of 1 to 9 as connected elsewhere.
pub async fn expect_connected_elsewhere(broker: &dyn Broker, expected: &[i64]) {
    let (all, expected): (Vec<ChatterId>, HashSet<ChatterId>) =
        ((1..=9).map(ChatterId::new).collect(), expected.iter().copied().map(ChatterId::new).collect());
    let known = || async { (broker.connected_elsewhere(&all).await.as_ref() == Some(&expected)).then_some(()) };
    eventually(&format!("{expected:?} are elsewhere"), SOON, known).await;
}

/// The next chatters of a dead instance.
pub async fn orphans(broker: &dyn Broker) -> Orphans {
    // A dead heir's claim runs out 10 s after it was made, which comes on top of its lease.
    eventually("an instance is dead", SOON * 2, || broker.claim_orphans()).await
}

async fn chatters_of_other_instances_are_listed_and_own_ones_are_not(place: Place) {
    let (one, two, three) = (place.instance().await, place.instance().await, place.instance().await);
    one.broker.join(ChatterId::new(1));
    two.broker.join(ChatterId::new(2));
    two.broker.join(ChatterId::new(3));
    three.broker.join(ChatterId::new(3));
    expect_connected_elsewhere(&*one.broker, &[2, 3]).await;
    expect_connected_elsewhere(&*two.broker, &[1, 3]).await;
    expect_connected_elsewhere(&*three.broker, &[1, 2, 3]).await;
    two.broker.leave(ChatterId::new(3));
    two.broker.leave(ChatterId::new(2));
    expect_connected_elsewhere(&*one.broker, &[3]).await;
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
    expect_connected_elsewhere(&*two.broker, &[1, 3]).await;
    one.broker.leave(ChatterId::new(1));
    expect_connected_elsewhere(&*two.broker, &[3]).await;
}

async fn of_two_instances_that_a_chatter_joins_at_once_one_is_the_first(place: Place) {
    let (one, two) = (place.instance().await, place.instance().await);
    one.broker.join(ChatterId::new(9));
    expect_connected_elsewhere(&*two.broker, &[9]).await;
    for chatter in (1..=8).map(ChatterId::new) {
        let (first, second) = if chatter.get() % 2 == 0 { (&one, &two) } else { (&two, &one) };
        first.broker.join(chatter);
        second.broker.join(chatter);
    }
    expect_connected_elsewhere(&*one.broker, &[1, 2, 3, 4, 5, 6, 7, 8]).await;
    expect_connected_elsewhere(&*two.broker, &[1, 2, 3, 4, 5, 6, 7, 8, 9]).await;
    let was_second = |at: &Instance, chatter: i64| at.broker.was_connected_elsewhere(chatter.into());
    let decided = || (1..=8).all(|chatter| was_second(&one, chatter) != was_second(&two, chatter));
    until("one is the first for each", SOON, decided).await;
    assert!(!one.broker.was_connected_elsewhere(ChatterId::new(9)), "no other instance had 9");
    one.broker.leave(ChatterId::new(9));
    two.broker.join(ChatterId::new(9));
    expect_connected_elsewhere(&*one.broker, &[1, 2, 3, 4, 5, 6, 7, 8, 9]).await;
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
    assert!(one.broker.claim_orphans().await.is_none(), "no instance is dead");
    drop(dies);
    let first = orphans(&*one.broker).await;
    assert!(two.broker.claim_orphans().await.is_none(), "no other instance gets any meanwhile");
    expect_connected_elsewhere(&*two.broker, &[8]).await;
    let mut taken: HashSet<ChatterId> = first.chatters.iter().copied().collect();
    assert!(one.broker.release_orphans(&first).await);
    while let Some(more) = one.broker.claim_orphans().await {
        assert!(more.chatters.iter().all(|chatter| taken.insert(*chatter)), "settled once is settled");
        assert!(one.broker.release_orphans(&more).await);
    }
    assert_eq!(taken, all);
    assert!(two.broker.claim_orphans().await.is_none(), "nothing is left");
}
