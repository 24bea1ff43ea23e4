//! Presence when an instance is killed, frozen or drained, or Redis forgets: chatters of a dead instance go offline.

use std::collections::HashSet;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures_util::future::join_all;
use serde_json::{Value, json};

use super::presence::{
    OFFLINE_WITHIN, RECOVERED_WITHIN, expect_presence, friends, presence_so_far, shown, shows_online,
    wait_for_shared_presence,
};
use crate::support::account::list;
use crate::support::cluster::Cluster;
use crate::support::wait::{SLACK, s};
use crate::support::{DeviceSocket, Person, alone, eventually};

/// Promised: until then the chatters of a dead instance are offline.
const DEAD_WITHIN: Duration = s(30);

/// Reads on until each of these was reported online, in any order.
async fn expect_all_online(socket: &mut DeviceSocket, who: &[&Person], within: Duration) {
    let mut missing: HashSet<i64> = who.iter().map(|person| person.id).collect();
    let start = Instant::now();
    while !missing.is_empty() {
        let frame = socket.next(within.saturating_sub(start.elapsed())).await.expect("open");
        if frame["type"] == "presence" && frame["online"] == true {
            missing.remove(&frame["chatter_id"].as_i64().expect("an id"));
        }
    }
}

/// Reads on until each of these was reported like this, in any order.
async fn expect_presence_in_any_order(socket: &mut DeviceSocket, of: &[(&Person, bool)]) {
    let mut missing = of.to_vec();
    let start = Instant::now();
    while !missing.is_empty() {
        let frame = socket.next(RECOVERED_WITHIN.saturating_sub(start.elapsed())).await.expect("open");
        missing.retain(|(who, online)| frame["chatter_id"] != who.id || frame["online"] != *online);
    }
}

#[tokio::test]
async fn the_chatters_of_a_killed_instance_go_offline_in_time() {
    let mut cluster = Cluster::start(3).await;
    let [ann, gone, elsewhere, back, hidden] = friends(&cluster, ["ann", "gone", "elsewhere", "back", "hidden"]).await;
    hidden.put("/api/chatters", &json!({"show_last_seen": false})).await.expect(200);
    wait_for_shared_presence(&cluster).await;
    let mut watching = [cluster.at(0, &ann).device().await, cluster.at(2, &ann).device().await];
    let mut open = vec![cluster.at(2, &elsewhere).device().await];
    for person in [&gone, &elsewhere, &back, &hidden] {
        open.push(cluster.at(1, person).device().await);
    }
    for person in [&gone, &back] {
        shows_online(&cluster.at(2, &ann), person, true, s(10)).await;
    }
    for watcher in &mut watching {
        expect_all_online(watcher, &[&gone, &elsewhere, &back], s(10)).await;
    }
    cluster.server.instance_mut(1).kill9();
    let start = Instant::now();
    let _back = cluster.at(0, &back).device().await;
    for watcher in &mut watching {
        let received = expect_presence(watcher, &gone, false, DEAD_WITHIN).await;
        assert!(received["last_seen"].is_string(), "{received}");
    }
    for here in [0, 2] {
        shows_online(&cluster.at(here, &ann), &gone, false, DEAD_WITHIN.saturating_sub(start.elapsed())).await;
        for person in [&elsewhere, &back] {
            shows_online(&cluster.at(here, &ann), person, true, SLACK).await;
        }
        assert!(shown(&cluster.at(here, &ann), &hidden).await.get("online").is_none(), "hidden stays hidden");
    }
    let dump = cluster.server.dump().await;
    let seen = dump.chatter(gone.id).await.and_then(|row| row.last_seen).expect("stored");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_micros() as i64;
    let ago = now - seen;
    let since_kill = i64::try_from(start.elapsed().as_micros()).expect("short");
    // The last heartbeat of the instance: there is one every 5 s, at the next tick of a second.
    let at_most = i64::try_from((s(6) + SLACK).as_micros()).expect("short");
    assert!((ago - since_kill).abs() < at_most, "seen {ago} µs ago, killed {since_kill} µs ago");
    let more = presence_so_far(&mut watching[0], &[&elsewhere, &back, &hidden]);
    // `online` may be sent once more where Redis answered late.
    let came_again = |frame: &Value| frame["online"] == true && frame["chatter_id"] != hidden.id;
    assert!(more.iter().all(came_again), "no other chatter went offline, and the hidden one has no events: {more:?}");
}

#[tokio::test]
async fn the_chatters_of_a_frozen_instance_go_offline_and_return_when_it_continues() {
    let cluster = Cluster::start(2).await;
    let [ann, bob] = friends(&cluster, ["ann", "bob"]).await;
    wait_for_shared_presence(&cluster).await;
    let mut watching = cluster.at(0, &ann).device().await;
    let mut device = cluster.at(1, &bob).device().await;
    expect_presence(&mut watching, &bob, true, s(10)).await;
    cluster.server.instance(1).stop();
    let start = Instant::now();
    expect_presence(&mut watching, &bob, false, DEAD_WITHIN).await;
    shows_online(&cluster.at(0, &ann), &bob, false, SLACK).await;
    tokio::time::sleep(s(40).saturating_sub(start.elapsed())).await;
    cluster.server.instance(1).cont();
    expect_presence(&mut watching, &bob, true, RECOVERED_WITHIN).await;
    shows_online(&cluster.at(0, &ann), &bob, true, RECOVERED_WITHIN).await;
    device.until_pong().await;
}

#[tokio::test]
async fn presence_recovers_after_redis_lost_its_data() {
    let cluster = Cluster::start(2).await;
    let [ann, both, stays_there, comes, goes] =
        friends(&cluster, ["ann", "both", "stays-there", "comes", "goes"]).await;
    wait_for_shared_presence(&cluster).await;
    let mut watching = cluster.at(0, &ann).device().await;
    let first = cluster.at(0, &both).device().await;
    let _second = cluster.at(1, &both).device().await;
    let _there = cluster.at(1, &stays_there).device().await;
    expect_presence(&mut watching, &stays_there, true, s(10)).await;
    let _: () = cluster.redis.ask(&["FLUSHALL"]).await;
    first.close();
    for person in [&both, &stays_there] {
        shows_online(&cluster.at(0, &ann), person, true, RECOVERED_WITHIN).await;
    }
    let received = presence_so_far(&mut watching, &[&both, &stays_there]);
    assert!(received.iter().all(|frame| frame["online"] == true), "no chatter was reported offline: {received:?}");
    let leaving = cluster.at(1, &goes).device().await;
    expect_presence(&mut watching, &goes, true, s(10)).await;
    cluster.redis.kill9();
    for instance in 0..2 {
        cluster.becomes_within(instance, "degraded", s(10)).await;
    }
    let _coming = one_joins_and_one_leaves_unnoticed(&cluster, &mut watching, &ann, &comes, (&goes, leaving)).await;
    cluster.redis.up();
    expect_presence_in_any_order(&mut watching, &[(&goes, false), (&comes, true)]).await;
    for (person, online) in [(&both, true), (&stays_there, true), (&comes, true), (&goes, false)] {
        for here in 0..2 {
            shows_online(&cluster.at(here, &ann), person, online, RECOVERED_WITHIN).await;
        }
    }
    let received = presence_so_far(&mut watching, &[&both, &stays_there]);
    assert!(received.iter().all(|frame| frame["online"] == true), "no chatter was reported offline: {received:?}");
}

/// Both on the second instance; the device on the first instance receives no event of it.
async fn one_joins_and_one_leaves_unnoticed(
    cluster: &Cluster,
    watching: &mut DeviceSocket,
    watcher: &Person,
    comes: &Person,
    (goes, leaving): (&Person, DeviceSocket),
) -> DeviceSocket {
    // Some events may have been sent again.
    presence_so_far(watching, &[]);
    leaving.close();
    let coming = cluster.at(1, comes).device().await;
    // Visible on their own instance, and on no other.
    shows_online(&cluster.at(1, watcher), goes, false, OFFLINE_WITHIN + SLACK).await;
    shows_online(&cluster.at(1, watcher), comes, true, SLACK).await;
    tokio::time::sleep(OFFLINE_WITHIN).await;
    assert_eq!(presence_so_far(watching, &[goes, comes]), Vec::<Value>::new(), "no event");
    coming
}

/// Row E9, for presence.
#[tokio::test]
async fn presence_changes_that_an_instance_missed_are_sent_when_it_reaches_redis_again() {
    let cluster = Cluster::start(2).await;
    let [ann, comes, goes] = friends(&cluster, ["ann", "comes", "goes"]).await;
    wait_for_shared_presence(&cluster).await;
    let mut watching = cluster.at(0, &ann).device().await;
    let leaving = cluster.at(1, &goes).device().await;
    expect_presence(&mut watching, &goes, true, s(10)).await;
    cluster.wires[0].cut();
    cluster.becomes_within(0, "degraded", s(10)).await;
    let _coming = one_joins_and_one_leaves_unnoticed(&cluster, &mut watching, &ann, &comes, (&goes, leaving)).await;
    cluster.wires[0].heal();
    expect_presence_in_any_order(&mut watching, &[(&goes, false), (&comes, true)]).await;
}

#[tokio::test]
async fn a_chatter_who_moves_away_from_a_draining_instance_never_goes_offline() {
    let mut cluster = Cluster::start(2).await;
    let [ann, back, gone] = friends(&cluster, ["ann", "back", "gone"]).await;
    wait_for_shared_presence(&cluster).await;
    let mut watching = cluster.at(0, &ann).device().await;
    let (mut sent_away, _gone) = (cluster.at(1, &back).device().await, cluster.at(1, &gone).device().await);
    for person in [&back, &gone] {
        shows_online(&cluster.at(0, &ann), person, true, s(10)).await;
    }
    expect_presence(&mut watching, &gone, true, s(10)).await;
    presence_so_far(&mut watching, &[]);
    cluster.server.instance(1).term();
    assert_eq!(sent_away.expect_close(s(10)).await, 1001);
    let _back = cluster.at(0, &back).device().await;
    expect_presence(&mut watching, &gone, false, DEAD_WITHIN).await;
    shows_online(&cluster.at(0, &ann), &back, true, SLACK).await;
    let received = presence_so_far(&mut watching, &[&back]);
    assert!(received.iter().all(|frame| frame["online"] == true), "never offline: {received:?}");
    eventually("the instance has ended", s(20), || {
        let ended = cluster.server.instance_mut(1).has_ended();
        async move { ended }
    })
    .await;
}

#[tokio::test]
async fn a_thousand_chatters_of_a_killed_instance_go_offline_in_time() {
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
    eventually("all are shown online", RECOVERED_WITHIN, || async { (shown_as(true).await == MANY).then_some(()) })
        .await;
    let start = Instant::now();
    let mut missing: HashSet<i64> = open.iter().map(|(id, _)| *id).collect();
    cluster.server.instance_mut(1).kill9();
    while !missing.is_empty() {
        let frame = watching.next(DEAD_WITHIN.saturating_sub(start.elapsed())).await.expect("open");
        if frame["type"] == "presence" && frame["online"] == false {
            missing.remove(&frame["chatter_id"].as_i64().expect("an id"));
        }
    }
    assert_eq!(shown_as(false).await, MANY, "by REST as well");
    assert!(start.elapsed() < DEAD_WITHIN, "{:?}", start.elapsed());
}
