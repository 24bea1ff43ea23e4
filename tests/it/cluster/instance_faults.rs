//! Instances that start at once, are killed in a burst, or freeze: no chat is lost, and the others do not stall.

use std::time::{Duration, Instant};

use super::traffic::{HEALED_WITHIN, Traffic, WITH_REDIS};
use crate::support::burst::Burst;
use crate::support::cluster::{Cluster, Crossing};
use crate::support::device_checker::{settle, verify};
use crate::support::dice::Dice;
use crate::support::secrets::MARKER;
use crate::support::wait::{SLACK, s};
use crate::support::{Checker, Db, Device, Person, Redis, TestServer, heavy, long};

/// Row E20.
#[tokio::test]
async fn instances_that_start_at_once_on_an_empty_database_all_become_ready() {
    for _ in 0..3 {
        let redis = Redis::start();
        let urls = std::iter::repeat_n(redis.url(), 3);
        let mut server = TestServer::with(Db::Cluster).redis_urls(urls).launch().await;
        for instance in 0..3 {
            let ready = server.instance_mut(instance).wait_ready().await;
            assert!(ready.is_ok(), "instance {instance}: {}", ready.unwrap_err());
        }
        let (ann, bob, room) = server.api().pair().await;
        ann.says(room, "and they are one service").await;
        assert_eq!(bob.history(room).await.len(), 1);
    }
}

/// Promise 1, rows E1 and E4 on several instances.
#[tokio::test]
async fn an_instance_killed_in_a_burst_loses_no_chat_and_its_clients_continue_elsewhere() {
    let _turn = heavy().await;
    let seed: u64 = rand::random();
    eprintln!("seed of the kills: {seed}");
    let mut dice = Dice::new(seed, 0);
    let mut cluster = Cluster::start(2).await;
    let burst = Burst::start(&cluster.server.api(), 3, 2).await;
    let mut devices = Vec::new();
    for (n, (left, right)) in burst.people.iter().enumerate() {
        devices.push(Device::new(left, cluster.server.ports(), &format!("left-{n}")));
        devices.push(Device::new(right, cluster.server.ports(), &format!("right-{n}")));
    }
    let mut sent = 0;
    for _ in 0..if long() { 20 } else { 4 } {
        let (blow, victim) = (20 + dice.below(150) as usize, dice.below(2) as usize);
        sent += live(&mut devices, &burst, blow).await;
        cluster.server.instance_mut(victim).kill9();
        sent += live(&mut devices, &burst, 60).await;
        cluster.server.instance_mut(victim).restart().await;
    }
    let rooms = burst.rooms.clone();
    let pairs: Vec<_> = rooms.iter().copied().zip(burst.people.clone()).collect();
    let acked = burst.finish().await;
    let dump = cluster.server.dump().await;
    settle(&mut devices, &dump, &rooms, s(30)).await;
    verify(&devices, &dump, &rooms).await;
    let with_views =
        |checker: Checker, (room, (left, right)): &(i64, (Person, Person))| checker.compare_views(*room, left, right);
    let count = acked.len();
    let checker = pairs.iter().fold(Checker::default(), with_views).acked(acked);
    assert_eq!(checker.verify(&cluster.server).await, count + sent, "each was tried until it was acknowledged");
}

/// The devices send and receive, at whatever instance they reach, until the burst has acknowledged so many more chats.
async fn live(devices: &mut [Device], burst: &Burst, more: usize) -> usize {
    let (goal, start, mut sent) = (burst.acked() + more, Instant::now(), 0);
    while burst.acked() < goal {
        assert!(start.elapsed() < s(60), "the burst makes no progress: {} of {goal}", burst.acked());
        for (device, room) in devices.iter_mut().zip(burst.rooms.iter().flat_map(|room| [*room; 2])) {
            if !device.is_connected() {
                device.connect().await;
            }
            if device.pending() < 4 {
                device.send(room, &format!("{MARKER} on a device {sent}"));
                sent += 1;
            }
            device.turn(Duration::from_millis(3)).await;
            while device.turn(Duration::ZERO).await {}
        }
    }
    sent
}

/// Row E5.
#[tokio::test]
async fn an_instance_frozen_in_a_burst_stalls_the_other_for_two_seconds_at_most() {
    let _turn = heavy().await;
    let cluster = Cluster::start(2).await;
    let traffic = Traffic::start(&cluster).await;
    let (room, (left, _)) = (traffic.burst.rooms[0], traffic.burst.people[0].clone());
    let prober = cluster.at(1, &left);
    let (mut worst, mut said) = (Duration::ZERO, 0);
    for _ in 0..if long() { 20 } else { 4 } {
        traffic.goes_on().await;
        cluster.server.instance(0).stop();
        let start = Instant::now();
        while start.elapsed() < s(4) {
            let begin = Instant::now();
            said += 1;
            prober.says(room, &format!("{MARKER} beside a frozen one {said}")).await;
            worst = worst.max(begin.elapsed());
        }
        cluster.server.instance(0).cont();
    }
    eprintln!("the worst of {said} on the other instance: {worst:?}");
    assert!(worst < s(2) + SLACK, "{worst:?}");
    cluster.all_ready_within(HEALED_WITHIN + SLACK).await;
    Crossing::open(&cluster, "after", 0, 1).await.crosses_within(WITH_REDIS).await;
    traffic.ends(&cluster, said).await;
}
