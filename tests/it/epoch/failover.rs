//! A promoted standby of PostgreSQL is a new epoch by itself, under a running cluster.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::breakable::Breakable;
use crate::support::database::Dump;
use crate::support::device_checker::{settle, verify};
use crate::support::postgres::Cluster;
use crate::support::proxy::Proxy;
use crate::support::wait::{SLACK, s};
use crate::support::{Device, Person, eventually, heavy, until};

/// How long a promoted server may wait for its first chat.
const WRITES_WITHIN: Duration = Duration::from_secs(5);

/// Two instances, two people in two rooms, and a device of each that keeps sending.
struct Scene {
    breakable: Breakable,
    /// The database on whatever server is the primary.
    database: String,
    people: [Person; 2],
    rooms: Vec<i64>,
    devices: Vec<Device>,
    sent: usize,
}

impl Scene {
    async fn on(primary: &Cluster, seed: u64) -> Self {
        let breakable = Breakable::start(primary, 2, seed, |builder| builder).await;
        let database = breakable.cluster.server.database_url.clone();
        let (ann, bob, room) = breakable.api().pair().await;
        let notes = ann.room_with(&ann).await;
        for n in 0..3 {
            ann.says(room, &format!("first {n}")).await;
            ann.says(notes, &format!("note {n}")).await;
        }
        let mut devices = Vec::new();
        for (n, person) in [&ann, &bob].into_iter().enumerate() {
            let mut device = Device::new(person, breakable.ports(), &format!("device-{n}"));
            (device.outages, device.signs_in_again) = (true, true);
            devices.push(device);
        }
        Self { breakable, database, people: [ann, bob], rooms: vec![room, notes], devices, sent: 0 }
    }

    /// All devices receive for this long, and send a chat each time that they have sent the one before.
    async fn talk(&mut self, time: Duration) {
        let until = Instant::now() + time;
        while Instant::now() < until {
            for (n, device) in self.devices.iter_mut().enumerate() {
                if !device.is_connected() {
                    device.connect().await;
                } else if device.is_settled() {
                    self.sent += 1;
                    device.send(self.rooms[if n == 0 { self.sent % 2 } else { 0 }], &format!("chat {}", self.sent));
                }
                device.turn(Duration::from_millis(5)).await;
            }
        }
    }

    /// The primary dies, and its address moves to this standby, which is promoted.
    async fn fail_over(&mut self, primary: &Cluster, standby: &Cluster) {
        primary.kill9();
        self.breakable.lines.iter().for_each(|line| line.lead_to(standby.port));
        standby.promote();
        self.database = standby.url_of(&self.database);
        let begun = Instant::now();
        for instance in 0..2 {
            self.stores_again(instance, begun + WRITES_WITHIN + SLACK).await;
        }
    }

    async fn stores_again(&mut self, instance: usize, limit: Instant) {
        loop {
            let api = self.breakable.api_of(instance);
            let person = Person { api, ..self.people[1].clone() };
            if let Some(person) = person.try_sign_in_again().await {
                self.sent += 1;
                let body =
                    json!({"content": format!("chat {}", self.sent), "client_id": format!("again-{}", self.sent)});
                if person.post_chat(self.rooms[0], &body).await.status == 201 {
                    return;
                }
            }
            assert!(Instant::now() < limit, "instance {instance} stores nothing {WRITES_WITHIN:?} after the promotion");
            self.talk(Duration::from_millis(20)).await;
        }
    }

    /// All devices have learnt of so many new epochs.
    async fn talk_until_epoch(&mut self, round: usize) {
        let begun = Instant::now();
        while self.devices.iter().any(|device| device.stats.epochs < round) {
            assert!(begun.elapsed() < s(20), "not all devices learn of epoch {round}");
            self.talk(Duration::from_millis(50)).await;
        }
    }

    /// All devices end up with exactly what the primary has.
    async fn converges(&mut self) {
        let dump = Dump::open(&self.database).await;
        settle(&mut self.devices, &dump, &self.rooms, s(30)).await;
        verify(&self.devices, &dump, &self.rooms).await;
    }
}

#[tokio::test]
async fn b4_failovers_to_a_synchronous_standby_lose_no_acknowledged_chat() {
    let _turn = heavy().await;
    let mut primary = Cluster::dedicated().await;
    let mut scene = Scene::on(&primary, 41).await;
    let rounds = if crate::support::long() { 10 } else { 2 };
    for round in 1..=rounds {
        let standby = primary.standby().await;
        primary.wait_for_standby().await;
        scene.talk(Duration::from_millis(700)).await;
        scene.fail_over(&primary, &standby).await;
        scene.talk(Duration::from_millis(700)).await;
        scene.converges().await;
        let noticed = scene.devices.iter().all(|device| device.stats.epochs == round);
        assert!(
            noticed,
            "each promotion is one epoch: {:?}",
            scene.devices.iter().map(|d| &d.stats).collect::<Vec<_>>()
        );
        primary = standby;
    }
    let acked: usize = scene.devices.iter().map(|device| device.acked.len()).sum();
    assert!(acked > 20 * rounds, "there was traffic: {acked}");
}

#[tokio::test]
async fn b4_devices_converge_to_what_a_standby_has_that_lost_a_second() {
    let _turn = heavy().await;
    let mut primary = Cluster::dedicated().await;
    let mut scene = Scene::on(&primary, 42).await;
    for round in 1..=if crate::support::long() { 10 } else { 1 } {
        let stream = Proxy::before(primary.port).await;
        let standby = primary.standby_through(stream.port).await;
        scene.talk(Duration::from_millis(500)).await;
        scene.converges().await;
        let kept: Vec<usize> = scene.devices.iter().map(|device| device.acked.len()).collect();
        let stored = Dump::open(&scene.database).await.chats_count().await;
        let follower = Dump::open(&standby.url_of(&scene.database)).await;
        let has_all = || async { (follower.chats_count().await == stored).then_some(()) };
        eventually("the standby has what all devices have", s(10), has_all).await;
        stream.cut();
        scene.talk(s(1)).await;
        let before = Dump::open(&scene.database).await.chats_count().await;
        assert!(before > stored + 10, "there was traffic: {stored} chats, then {before}");
        scene.fail_over(&primary, &standby).await;
        let after = Dump::open(&scene.database).await.chats_count().await;
        assert!(after < before, "a second was lost: {before} chats, then {after}");
        scene.talk_until_epoch(round).await;
        // The chats of the lost second were acknowledged, too; those of before are stored.
        scene.devices.iter_mut().zip(kept).for_each(|(device, kept)| device.acked.truncate(kept));
        scene.talk(s(1)).await;
        scene.converges().await;
        assert!(scene.devices.iter().all(|device| device.stats.epochs == round && device.stats.ended >= round));
        primary = standby;
    }
    until("the log says so", s(5), || scene.breakable.cluster.server.log().contains("has begun a new epoch")).await;
}
