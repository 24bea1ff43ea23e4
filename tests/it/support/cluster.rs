//! Several instances on one database and one Redis, each behind a wire of its own; and somebody who is heard across.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::account::Person;
use super::database::Db;
use super::device_socket::DeviceSocket;
use super::proxy::Proxy;
use super::redis::Redis;
use super::server::TestServer;
use super::server_builder::ServerBuilder;
use super::wait::eventually;

/// What a loaded machine may add to any promised time.
pub const SLACK: Duration = Duration::from_millis(1_500);

pub struct Cluster {
    pub server: TestServer,
    /// Between each instance and Redis.
    pub wires: Vec<Proxy>,
    pub redis: Redis,
}

impl Cluster {
    /// So many instances that hear each other.
    pub async fn start(instances: usize) -> Self {
        let cluster = Self::on(Redis::start(), instances).await;
        cluster.is_whole_within(Duration::from_secs(20)).await;
        cluster
    }

    /// The same without the net below: what arrives was heard, or read because something that was heard was no longer the next.
    ///
    /// Redis must not be late then, so whoever uses it takes its turn `alone`.
    pub async fn without_net(instances: usize) -> Self {
        let cluster = Self::with(Redis::start(), instances, &[("REDIS__LOOK_MS", 60_000)]).await;
        cluster.is_whole_within(Duration::from_secs(20)).await;
        cluster
    }

    /// So many instances on this Redis, which may be away.
    pub async fn on(redis: Redis, instances: usize) -> Self {
        Self::with(redis, instances, &[]).await
    }

    /// The same with these settings.
    pub async fn with(redis: Redis, instances: usize, settings: &[(&str, u64)]) -> Self {
        let builder = TestServer::with(Db::Cluster);
        Self::built(settings.iter().fold(builder, |builder, (key, value)| builder.set(key, value)), redis, instances)
            .await
    }

    /// The same with whatever the builder was told.
    pub async fn built(builder: ServerBuilder, redis: Redis, instances: usize) -> Self {
        let mut wires = Vec::new();
        for _ in 0..instances {
            wires.push(Proxy::before(redis.port).await);
        }
        let urls = wires.iter().map(|wire| format!("redis://127.0.0.1:{}", wire.port));
        let server = builder.redis_urls(urls).start().await;
        Self { server, wires, redis }
    }

    /// The same person, who asks this instance only.
    pub fn at(&self, instance: usize, person: &Person) -> Person {
        Person { api: self.server.instance(instance).api(), ..person.clone() }
    }

    /// What `/readyz` of an instance says.
    pub async fn readyz(&self, instance: usize) -> Value {
        self.server.instance(instance).api().get("/readyz").await.expect(200)
    }

    /// Waits until an instance says so of itself.
    pub async fn says_within(&self, instance: usize, status: &str, within: Duration) {
        let what = format!("instance {instance} is {status}");
        eventually(&what, within, || async { (self.readyz(instance).await["status"] == status).then_some(()) }).await;
    }

    /// Waits until every instance reaches Redis.
    pub async fn is_whole_within(&self, within: Duration) {
        for instance in 0..self.wires.len() {
            self.says_within(instance, "ready", within).await;
        }
    }
}

/// How long a chat took.
#[derive(Clone, Copy, Debug, Default)]
pub struct Took {
    pub acknowledged: Duration,
    /// To a device on the instance that it was sent to.
    pub near: Duration,
    /// To a device on the other instance.
    pub far: Duration,
}

/// Somebody who speaks on one instance, and two devices of who listens: one there, one elsewhere.
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

    /// The first of these two speaks, the other one listens.
    pub async fn between(cluster: &Cluster, people: [&Person; 2], room: i64, from: usize, to: usize) -> Self {
        let [speaker, other] = people;
        let (near, far) = (cluster.at(from, other).device().await, cluster.at(to, other).device().await);
        Self { room, speaker: cluster.at(from, speaker), near, far, said: 0 }
    }

    /// Says the next thing; both devices get it as the next.
    pub async fn takes(&mut self) -> Took {
        self.said += 1;
        let content = format!("crossing number {}", self.said);
        let start = Instant::now();
        let chat = self.speaker.says(self.room, &content).await;
        let acknowledged = start.elapsed();
        assert_eq!(self.near.expect_chat(&content).await, chat);
        let near = start.elapsed();
        assert_eq!(self.far.expect_chat(&content).await, chat);
        Took { acknowledged, near, far: start.elapsed() }
    }

    /// The same, and it must not take longer than this to the other instance, nor anything to the own one.
    pub async fn arrives_within(&mut self, within: Duration) {
        let took = self.takes().await;
        assert!(took.acknowledged < SLACK && took.near < SLACK, "on the same instance at once: {took:?}");
        assert!(took.far < within + SLACK, "within {within:?}: {took:?}");
    }
}
