//! Who is there, across instances: whoever is connected to any is online on all, and a dead instance's chatters are not.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::Value;

use crate::support::cluster::{Cluster, SLACK};
use crate::support::wait::s;
use crate::support::{DeviceSocket, Person, eventually};

/// Until all is as before once Redis, or an instance, is back.
pub const BACK: Duration = s(15);
/// Behind the last socket's end it is told.
pub const GONE: Duration = s(4);

/// Somebody as the other one sees them by REST.
pub async fn shown(viewer: &Person, other: &Person) -> Value {
    viewer.get(&format!("/api/chatters/{}", other.id)).await.expect(200)
}

pub async fn is_shown(viewer: &Person, other: &Person, online: bool, within: Duration) {
    let what = format!("{} is shown online={online} on instance {}", other.name, viewer.api.ports.pick());
    let right = || async { (shown(viewer, other).await["online"] == online).then_some(()) };
    eventually(&what, within, right).await;
}

/// Reads on to the next that is told of this chatter.
pub async fn told_of(socket: &mut DeviceSocket, who: &Person, online: bool, within: Duration) -> Value {
    let start = Instant::now();
    loop {
        let rest = within.saturating_sub(start.elapsed()).max(Duration::from_millis(1));
        let frame = socket.next(rest).await.expect("open");
        if frame["type"] == "presence" && frame["chatter_id"] == who.id {
            assert_eq!(frame["online"], online, "{frame}");
            return frame;
        }
    }
}

/// What was told of these by now.
pub fn told_by_now(socket: &mut DeviceSocket, of: &[&Person]) -> Vec<Value> {
    let is_of = |frame: &Value| frame["type"] == "presence" && of.iter().any(|who| frame["chatter_id"] == who.id);
    socket.drain().into_iter().filter(is_of).collect()
}

/// New people, who all share a room with the first.
pub async fn friends<const N: usize>(cluster: &Cluster, names: [&str; N]) -> [Person; N] {
    let people = join_all(names.map(async |name| cluster.server.api().person(name).await)).await;
    for other in &people[1..] {
        people[0].room_with(other).await;
    }
    people.try_into().unwrap_or_else(|_| panic!("as many as names"))
}

/// Waits until each instance knows who is connected to the others.
pub async fn know_each_other(cluster: &Cluster) {
    let [ann, bob] = friends(cluster, ["knows", "known"]).await;
    for there in 0..cluster.wires.len() {
        let device = cluster.at(there, &bob).device().await;
        for here in 0..cluster.wires.len() {
            is_shown(&cluster.at(here, &ann), &bob, true, BACK).await;
        }
        device.close();
    }
}

/// Row D6.
#[tokio::test]
async fn who_has_sockets_on_two_instances_is_there_until_the_last_one_closes() {
    let cluster = Cluster::start(2).await;
    know_each_other(&cluster).await;
    let [ann, bob] = friends(&cluster, ["ann", "bob"]).await;
    let mut watching = [cluster.at(0, &ann).device().await, cluster.at(1, &ann).device().await];
    for (stays_at, closes_at) in [(1, 0), (0, 1)] {
        let first = cluster.at(closes_at, &bob).device().await;
        let second = cluster.at(stays_at, &bob).device().await;
        for watcher in &mut watching {
            told_of(watcher, &bob, true, s(10)).await;
        }
        first.close();
        // Whom Redis does not tell of in time is not shown until it answers again: each look may wait for that.
        let start = Instant::now();
        while start.elapsed() < GONE + s(1) {
            for here in 0..2 {
                is_shown(&cluster.at(here, &ann), &bob, true, SLACK).await;
            }
            tokio::time::sleep(s(1)).await;
        }
        for watcher in &mut watching {
            // An instance that Redis does not answer in time tells once more who came.
            let told = told_by_now(watcher, &[&bob]);
            assert!(told.iter().all(|frame| frame["online"] == true), "nobody went: {told:?}");
        }
        second.close();
        for watcher in &mut watching {
            told_of(watcher, &bob, false, GONE + SLACK).await;
        }
        for here in 0..2 {
            is_shown(&cluster.at(here, &ann), &bob, false, SLACK).await;
        }
    }
}
