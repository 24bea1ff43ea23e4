//! A cluster in which a test can break everything: the connections of each instance to its clients, to Redis and to
//! PostgreSQL, and the instances, Redis and PostgreSQL themselves.

use std::sync::{Arc, Mutex};

use super::cluster::Cluster;
use super::database::Db;
use super::dice::Dice;
use super::instance_ports::InstancePorts;
use super::postgres;
use super::proxy::Proxy;
use super::redis::Redis;
use super::rest::Api;
use super::server::TestServer;
use super::server_builder::ServerBuilder;

pub struct Breakable {
    /// Its `wires` lead to Redis.
    pub cluster: Cluster,
    /// One before each instance; clients connect through them.
    pub fronts: Vec<Proxy>,
    /// Between each instance and PostgreSQL.
    pub lines: Vec<Proxy>,
    ports: InstancePorts,
}

impl Breakable {
    /// So many instances on a new database of this PostgreSQL and a Redis of their own, with further settings.
    pub async fn start(
        postgres: &postgres::Cluster,
        instances: usize,
        seed: u64,
        settings: impl FnOnce(ServerBuilder) -> ServerBuilder,
    ) -> Self {
        let url = postgres.fresh_database().await;
        let mut builder = settings(TestServer::with(Db::Cluster).database_url(&url).seed(seed));
        let mut lines = Vec::new();
        for instance in 0..instances {
            let line = Proxy::before(postgres.port).await;
            let through = url.replace(&format!(":{}/", postgres.port), &format!(":{}/", line.port));
            builder = builder.env_of(instance, "DATABASE_URL", through);
            lines.push(line);
        }
        let cluster = Cluster::built(builder, Redis::start(), instances).await;
        let mut fronts = Vec::new();
        for instance in 0..instances {
            fronts.push(Proxy::before(cluster.server.instance(instance).port).await);
        }
        let ports =
            InstancePorts::new(fronts.iter().map(|front| front.port), Arc::new(Mutex::new(Dice::new(seed, 77))));
        Self { cluster, fronts, lines, ports }
    }

    /// The ports of the proxies before the instances.
    pub fn ports(&self) -> InstancePorts {
        self.ports.clone()
    }

    /// A client of any instance each time.
    pub fn api(&self) -> Api {
        Api::new(self.ports(), self.cluster.server.api().secrets)
    }

    /// A client of one instance.
    pub fn api_of(&self, instance: usize) -> Api {
        Api::new(self.fronts[instance].port, self.cluster.server.api().secrets)
    }
}
