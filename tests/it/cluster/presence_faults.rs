//! Presence when an instance is killed, frozen or drained, or Redis forgets: chatters of a dead instance go offline.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::{Value, json};

use super::presence::{BACK, GONE, friends, is_shown, know_each_other, shown, told_by_now, told_of};
use crate::support::account::list;
use crate::support::cluster::{Cluster, SLACK};
use crate::support::wait::s;
use crate::support::{DeviceSocket, Person, alone, eventually};

/// Promised: until then a dead instance's chatters are gone.
const DEAD: Duration = s(30);

/// Reads on until each of these was told to be online, in whatever order.
async fn all_came(socket: &mut DeviceSocket, who: &[&Person], within: Duration) {
    let mut missing: HashSet<i64> = who.iter().map(|person| person.id).collect();
    let start = Instant::now();
    while !missing.is_empty() {
        let frame = socket.next(within.saturating_sub(start.elapsed())).await.expect("open");
        if frame["type"] == "presence" && frame["online"] == true {
            missing.remove(&frame["chatter_id"].as_i64().expect("an id"));
        }
    }
}

/// Reads on until each of these was told of like this, in whatever order.
async fn told_in_the_end(socket: &mut DeviceSocket, of: &[(&Person, bool)]) {
    let mut missing = of.to_vec();
    let start = Instant::now();
    while !missing.is_empty() {
        let frame = socket.next(BACK.saturating_sub(start.elapsed())).await.expect("open");
        missing.retain(|(who, online)| frame["chatter_id"] != who.id || frame["online"] != *online);
    }
}

#[tokio::test]
async fn the_chatters_of_a_killed_instance_are_gone_for_the_others_in_time() {
    let mut cluster = Cluster::start(3).await;
    let [ann, gone, elsewhere, back, hidden] = friends(&cluster, ["ann", "gone", "elsewhere", "back", "hidden"]).await;
    hidden.put("/api/chatters", &json!({"show_last_seen": false})).await.expect(200);
    know_each_other(&cluster).await;
    let mut watching = [cluster.at(0, &ann).device().await, cluster.at(2, &ann).device().await];
    let mut open = vec![cluster.at(2, &elsewhere).device().await];
    for person in [&gone, &elsewhere, &back, &hidden] {
        open.push(cluster.at(1, person).device().await);
    }
    for person in [&gone, &back] {
        is_shown(&cluster.at(2, &ann), person, true, s(10)).await;
    }
    for watcher in &mut watching {
        all_came(watcher, &[&gone, &elsewhere, &back], s(10)).await;
    }
    cluster.server.instance_mut(1).kill9();
    let start = Instant::now();
    let _back = cluster.at(0, &back).device().await;
    for watcher in &mut watching {
        let told = told_of(watcher, &gone, false, DEAD).await;
        assert!(told["last_seen"].is_string(), "{told}");
    }
    for here in [0, 2] {
        is_shown(&cluster.at(here, &ann), &gone, false, DEAD.saturating_sub(start.elapsed())).await;
        for person in [&elsewhere, &back] {
            is_shown(&cluster.at(here, &ann), person, true, SLACK).await;
        }
        assert!(shown(&cluster.at(here, &ann), &hidden).await.get("online").is_none(), "hidden stays hidden");
    }
    let dump = cluster.server.dump().await;
    let seen = dump.chatter(gone.id).await.and_then(|row| row.last_seen).expect("stored");
    let ago = hyper_chat::domain::clock::Micros::now().0 - seen;
    let since_kill = i64::try_from(start.elapsed().as_micros()).expect("short");
    // Its last sign of life: there is one every 5 s, at the next tick of a second.
    let at_most = i64::try_from((s(6) + SLACK).as_micros()).expect("short");
    assert!((ago - since_kill).abs() < at_most, "seen {ago} µs ago, killed {since_kill} µs ago");
    let more = told_by_now(&mut watching[0], &[&elsewhere, &back, &hidden]);
    // Who came may be told once more where Redis answered late.
    let came_again = |frame: &Value| frame["online"] == true && frame["chatter_id"] != hidden.id;
    assert!(more.iter().all(came_again), "nobody else went, and who hides is not told of: {more:?}");
}

#[tokio::test]
async fn a_frozen_instance_is_taken_for_dead_and_its_chatters_are_back_when_it_goes_on() {
    let cluster = Cluster::start(2).await;
    let [ann, bob] = friends(&cluster, ["ann", "bob"]).await;
    know_each_other(&cluster).await;
    let mut watching = cluster.at(0, &ann).device().await;
    let mut device = cluster.at(1, &bob).device().await;
    told_of(&mut watching, &bob, true, s(10)).await;
    cluster.server.instance(1).stop();
    let start = Instant::now();
    told_of(&mut watching, &bob, false, DEAD).await;
    is_shown(&cluster.at(0, &ann), &bob, false, SLACK).await;
    tokio::time::sleep(s(40).saturating_sub(start.elapsed())).await;
    cluster.server.instance(1).cont();
    told_of(&mut watching, &bob, true, BACK).await;
    is_shown(&cluster.at(0, &ann), &bob, true, BACK).await;
    device.until_pong().await;
}

#[tokio::test]
async fn presence_is_right_again_when_redis_has_forgotten_everything() {
    let cluster = Cluster::start(2).await;
    let [ann, both, stays_there, comes, goes] =
        friends(&cluster, ["ann", "both", "stays-there", "comes", "goes"]).await;
    know_each_other(&cluster).await;
    let mut watching = cluster.at(0, &ann).device().await;
    let first = cluster.at(0, &both).device().await;
    let _second = cluster.at(1, &both).device().await;
    let _there = cluster.at(1, &stays_there).device().await;
    told_of(&mut watching, &stays_there, true, s(10)).await;
    let _: () = cluster.redis.ask(&["FLUSHALL"]).await;
    first.close();
    for person in [&both, &stays_there] {
        is_shown(&cluster.at(0, &ann), person, true, BACK).await;
    }
    let told = told_by_now(&mut watching, &[&both, &stays_there]);
    assert!(told.iter().all(|frame| frame["online"] == true), "nobody was said to be gone: {told:?}");
    let leaving = cluster.at(1, &goes).device().await;
    told_of(&mut watching, &goes, true, s(10)).await;
    cluster.redis.kill9();
    for instance in 0..2 {
        cluster.says_within(instance, "degraded", s(10)).await;
    }
    let _coming = one_comes_and_one_goes_unheard(&cluster, &mut watching, &ann, &comes, (&goes, leaving)).await;
    cluster.redis.up();
    told_in_the_end(&mut watching, &[(&goes, false), (&comes, true)]).await;
    for (person, online) in [(&both, true), (&stays_there, true), (&comes, true), (&goes, false)] {
        for here in 0..2 {
            is_shown(&cluster.at(here, &ann), person, online, BACK).await;
        }
    }
    let told = told_by_now(&mut watching, &[&both, &stays_there]);
    assert!(told.iter().all(|frame| frame["online"] == true), "nobody was said to be gone: {told:?}");
}

/// Both on the second instance; whoever watches on the first one hears nothing of it.
async fn one_comes_and_one_goes_unheard(
    cluster: &Cluster,
    watching: &mut DeviceSocket,
    watcher: &Person,
    comes: &Person,
    (goes, leaving): (&Person, DeviceSocket),
) -> DeviceSocket {
    // Some of what was told may have been told again.
    told_by_now(watching, &[]);
    leaving.close();
    let coming = cluster.at(1, comes).device().await;
    // Told on their own instance, and to nobody elsewhere.
    is_shown(&cluster.at(1, watcher), goes, false, GONE + SLACK).await;
    is_shown(&cluster.at(1, watcher), comes, true, SLACK).await;
    tokio::time::sleep(GONE).await;
    assert_eq!(told_by_now(watching, &[goes, comes]), Vec::<Value>::new(), "not heard");
    coming
}

/// Row E9, for presence.
#[tokio::test]
async fn who_came_and_went_while_one_instance_heard_nothing_is_told_there_when_it_hears_again() {
    let cluster = Cluster::start(2).await;
    let [ann, comes, goes] = friends(&cluster, ["ann", "comes", "goes"]).await;
    know_each_other(&cluster).await;
    let mut watching = cluster.at(0, &ann).device().await;
    let leaving = cluster.at(1, &goes).device().await;
    told_of(&mut watching, &goes, true, s(10)).await;
    cluster.wires[0].cut();
    cluster.says_within(0, "degraded", s(10)).await;
    let _coming = one_comes_and_one_goes_unheard(&cluster, &mut watching, &ann, &comes, (&goes, leaving)).await;
    cluster.wires[0].heal();
    told_in_the_end(&mut watching, &[(&goes, false), (&comes, true)]).await;
}

#[tokio::test]
async fn who_is_sent_away_by_a_draining_instance_and_comes_back_elsewhere_was_never_gone() {
    let mut cluster = Cluster::start(2).await;
    let [ann, back, gone] = friends(&cluster, ["ann", "back", "gone"]).await;
    know_each_other(&cluster).await;
    let mut watching = cluster.at(0, &ann).device().await;
    let (mut sent_away, _gone) = (cluster.at(1, &back).device().await, cluster.at(1, &gone).device().await);
    for person in [&back, &gone] {
        is_shown(&cluster.at(0, &ann), person, true, s(10)).await;
    }
    told_of(&mut watching, &gone, true, s(10)).await;
    told_by_now(&mut watching, &[]);
    cluster.server.instance(1).term();
    assert_eq!(sent_away.expect_close(s(10)).await, 1001);
    let _back = cluster.at(0, &back).device().await;
    told_of(&mut watching, &gone, false, DEAD).await;
    is_shown(&cluster.at(0, &ann), &back, true, SLACK).await;
    let told = told_by_now(&mut watching, &[&back]);
    assert!(told.iter().all(|frame| frame["online"] == true), "never gone: {told:?}");
    eventually("the instance has ended", s(20), || {
        let ended = cluster.server.instance_mut(1).has_ended();
        async move { ended }
    })
    .await;
}

#[tokio::test]
async fn a_thousand_chatters_of_a_killed_instance_are_gone_in_time() {
    const MANY: usize = 1_000;
    let _turn = alone().await;
    let mut cluster = Cluster::start(2).await;
    let [ann] = friends(&cluster, ["ann"]).await;
    let mut open = Vec::new();
    for part in 0..MANY / 20 {
        let come = (0..20).map(|n| {
            let (cluster, ann) = (&cluster, &ann);
            async move {
                let one = cluster.server.api().person(&format!("one-{part}-{n}")).await;
                ann.room_with(&one).await;
                (one.id, cluster.at(1, &one).device().await)
            }
        });
        open.extend(join_all(come).await);
    }
    let mut watching = cluster.at(0, &ann).device().await;
    let viewer = cluster.at(0, &ann);
    let shown_as = async |online: bool| {
        let rooms = list(viewer.get("/api/chatrooms").await);
        rooms.iter().filter(|room| room["opponent"]["online"] == online).count()
    };
    eventually("all are shown online", BACK, || async { (shown_as(true).await == MANY).then_some(()) }).await;
    let start = Instant::now();
    let mut missing: HashSet<i64> = open.iter().map(|(id, _)| *id).collect();
    cluster.server.instance_mut(1).kill9();
    while !missing.is_empty() {
        let frame = watching.next(DEAD.saturating_sub(start.elapsed())).await.expect("open");
        if frame["type"] == "presence" && frame["online"] == false {
            missing.remove(&frame["chatter_id"].as_i64().expect("an id"));
        }
    }
    assert_eq!(shown_as(false).await, MANY, "by REST as well");
    assert!(start.elapsed() < DEAD, "{:?}", start.elapsed());
}
