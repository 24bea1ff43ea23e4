//! Presence across instances: a chatter who is connected to one of them is online on all.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::Value;

use crate::support::cluster::Cluster;
use crate::support::wait::{SLACK, s};
use crate::support::{DeviceSocket, Person, eventually};

/// How soon all is as before once Redis, or an instance, is back.
pub const RECOVERED_WITHIN: Duration = s(15);
/// How soon after the last socket has closed `offline` is sent.
pub const OFFLINE_WITHIN: Duration = s(4);

/// A chatter as the viewer sees them by REST.
pub async fn shown(viewer: &Person, other: &Person) -> Value {
    viewer.get(&format!("/api/chatters/{}", other.id)).await.expect(200)
}

pub async fn shows_online(viewer: &Person, other: &Person, online: bool, within: Duration) {
    let what = format!("{} is shown online={online} on instance {}", other.name, viewer.api.ports.pick());
    let right = || async { (shown(viewer, other).await["online"] == online).then_some(()) };
    eventually(&what, within, right).await;
}

/// Reads on to the next presence event of this chatter.
pub async fn expect_presence(socket: &mut DeviceSocket, who: &Person, online: bool, within: Duration) -> Value {
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

/// The presence events of these so far.
pub fn presence_so_far(socket: &mut DeviceSocket, of: &[&Person]) -> Vec<Value> {
    let is_of = |frame: &Value| frame["type"] == "presence" && of.iter().any(|who| frame["chatter_id"] == who.id);
    socket.drain().into_iter().filter(is_of).collect()
}

/// New people, each of whom shares a room with the first.
pub async fn friends<const N: usize>(cluster: &Cluster, names: [&str; N]) -> [Person; N] {
    let people = join_all(names.map(async |name| cluster.server.api().person(name).await)).await;
    for other in &people[1..] {
        people[0].room_with(other).await;
    }
    people.try_into().unwrap_or_else(|_| panic!("as many as names"))
}

/// Waits until each instance knows who is connected to the others.
pub async fn wait_for_shared_presence(cluster: &Cluster) {
    let [ann, bob] = friends(cluster, ["knows", "known"]).await;
    for there in 0..cluster.wires.len() {
        let device = cluster.at(there, &bob).device().await;
        for here in 0..cluster.wires.len() {
            shows_online(&cluster.at(here, &ann), &bob, true, RECOVERED_WITHIN).await;
        }
        device.close();
    }
}

/// Row D6.
#[tokio::test]
async fn a_chatter_with_sockets_on_two_instances_is_online_until_the_last_one_closes() {
    let cluster = Cluster::start(2).await;
    wait_for_shared_presence(&cluster).await;
    let [ann, bob] = friends(&cluster, ["ann", "bob"]).await;
    let mut watching = [cluster.at(0, &ann).device().await, cluster.at(1, &ann).device().await];
    for (stays_at, closes_at) in [(1, 0), (0, 1)] {
        let first = cluster.at(closes_at, &bob).device().await;
        let second = cluster.at(stays_at, &bob).device().await;
        for watcher in &mut watching {
            expect_presence(watcher, &bob, true, s(10)).await;
        }
        first.close();
        // A chatter of whom Redis gives no answer in time is not shown until it answers: each request may wait for
        // that.
        let start = Instant::now();
        while start.elapsed() < OFFLINE_WITHIN + s(1) {
            for here in 0..2 {
                shows_online(&cluster.at(here, &ann), &bob, true, SLACK).await;
            }
            tokio::time::sleep(s(1)).await;
        }
        for watcher in &mut watching {
            // An instance that Redis does not answer in time sends `online` once more.
            let received = presence_so_far(watcher, &[&bob]);
            assert!(received.iter().all(|frame| frame["online"] == true), "no chatter went offline: {received:?}");
        }
        second.close();
        for watcher in &mut watching {
            expect_presence(watcher, &bob, false, OFFLINE_WITHIN + SLACK).await;
        }
        for here in 0..2 {
            shows_online(&cluster.at(here, &ann), &bob, false, SLACK).await;
        }
    }
}
