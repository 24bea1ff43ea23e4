//! Several instances on one database and one Redis, each behind a proxy of its own, and chats that cross between them.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::account::Person;
use super::database::Db;
use super::device_socket::DeviceSocket;
use super::proxy::Proxy;
use super::redis::Redis;
use super::server::TestServer;
use super::server_builder::ServerBuilder;
use super::wait::{SLACK, eventually};

pub struct Cluster {
    pub server: TestServer,
    /// Between each instance and Redis.
    pub wires: Vec<Proxy>,
    pub redis: Redis,
}

impl Cluster {
    /// So many instances that reach each other through Redis.
    pub async fn start(instances: usize) -> Self {
        let cluster = Self::on(Redis::start(), instances).await;
        cluster.all_ready_within(Duration::from_secs(20)).await;
        cluster
    }

    /// The same without polling the database: each chat arrives through Redis, or is read because a later one arrived.
    ///
    /// Redis must not be late then, so a test that uses this runs `alone`.
    pub async fn without_polling(instances: usize) -> Self {
        let cluster = Self::with(Redis::start(), instances, &[("REDIS__LOOK_MS", 60_000)]).await;
        cluster.all_ready_within(Duration::from_secs(20)).await;
        cluster
    }

    /// So many instances on this Redis, which may be down.
    pub async fn on(redis: Redis, instances: usize) -> Self {
        Self::with(redis, instances, &[]).await
    }

    /// The same with these settings.
    pub async fn with(redis: Redis, instances: usize, settings: &[(&str, u64)]) -> Self {
        let builder = TestServer::with(Db::Cluster);
        Self::built(settings.iter().fold(builder, |builder, (key, value)| builder.set(key, value)), redis, instances)
            .await
    }

    /// The same with the settings of this builder.
    pub async fn built(builder: ServerBuilder, redis: Redis, instances: usize) -> Self {
        let mut wires = Vec::new();
        for _ in 0..instances {
            wires.push(Proxy::before(redis.port).await);
        }
        let urls = wires.iter().map(|wire| format!("redis://127.0.0.1:{}", wire.port));
        let server = builder.redis_urls(urls).start().await;
        Self { server, wires, redis }
    }

    /// The same person as a client of this instance only.
    pub fn at(&self, instance: usize, person: &Person) -> Person {
        Person { api: self.server.instance(instance).api(), ..person.clone() }
    }

    /// The answer of an instance's `/readyz`, also where it is 503: after an outage of the database the next proof that
    /// it stores chats may take a second.
    pub async fn readyz(&self, instance: usize) -> Value {
        self.server.instance(instance).api().get("/readyz").await.json
    }

    /// Waits until `/readyz` of an instance has this status.
    pub async fn becomes_within(&self, instance: usize, status: &str, within: Duration) {
        let what = format!("instance {instance} is {status}");
        eventually(&what, within, || async { (self.readyz(instance).await["status"] == status).then_some(()) }).await;
    }

    /// Waits until every instance reaches Redis.
    pub async fn all_ready_within(&self, within: Duration) {
        for instance in 0..self.wires.len() {
            self.becomes_within(instance, "ready", within).await;
        }
    }
}

/// How long a chat takes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Latency {
    pub acknowledged: Duration,
    /// To a device on the instance that it was sent to.
    pub near: Duration,
    /// To a device on the other instance.
    pub far: Duration,
}

/// A sender on one instance, and two devices of the receiver: one on the same instance, one on another.
pub struct Crossing {
    pub room: i64,
    pub speaker: Person,
    pub near: DeviceSocket,
    pub far: DeviceSocket,
    said: usize,
}

impl Crossing {
    /// Two new people, whose names begin with this.
    pub async fn open(cluster: &Cluster, name: &str, from: usize, to: usize) -> Self {
        let api = cluster.server.api();
        let (speaker, other) = (api.person(&format!("{name}-says")).await, api.person(&format!("{name}-hears")).await);
        let room = speaker.room_with(&other).await;
        Self::between(cluster, [&speaker, &other], room, from, to).await
    }

    /// The first of these two sends, the other one receives.
    pub async fn between(cluster: &Cluster, people: [&Person; 2], room: i64, from: usize, to: usize) -> Self {
        let [speaker, other] = people;
        let (near, far) = (cluster.at(from, other).device().await, cluster.at(to, other).device().await);
        Self { room, speaker: cluster.at(from, speaker), near, far, said: 0 }
    }

    /// Sends the next chat; both devices receive it as their next one.
    pub async fn takes(&mut self) -> Latency {
        self.said += 1;
        let content = format!("crossing number {}", self.said);
        let start = Instant::now();
        let chat = self.speaker.says(self.room, &content).await;
        let acknowledged = start.elapsed();
        assert_eq!(self.near.expect_chat(&content).await, chat);
        let near = start.elapsed();
        assert_eq!(self.far.expect_chat(&content).await, chat);
        Latency { acknowledged, near, far: start.elapsed() }
    }

    /// The same, and the chat reaches the other instance within this time, and its own at once.
    pub async fn crosses_within(&mut self, within: Duration) {
        let took = self.takes().await;
        assert!(took.acknowledged < SLACK && took.near < SLACK, "on the same instance at once: {took:?}");
        assert!(took.far < within + SLACK, "within {within:?}: {took:?}");
    }
}
