//! Redis on several servers: a primary with a replica under three sentinels, and a cluster of three primaries.

use super::ports::free_port;
use super::redis::Redis;
use super::wait::{eventually, s};

/// Redis of a test server of its own.
pub enum OwnRedis {
    Single(Redis),
    Cluster(RedisCluster),
}

impl OwnRedis {
    /// One server, or a cluster where `HYPER_CHAT_TEST_REDIS` is `cluster`.
    pub async fn start() -> Self {
        match std::env::var("HYPER_CHAT_TEST_REDIS").as_deref() {
            Ok("cluster") => Self::Cluster(RedisCluster::start().await),
            Ok(other) => panic!("HYPER_CHAT_TEST_REDIS must be cluster or unset, not {other}"),
            Err(_) => Self::Single(Redis::start()),
        }
    }

    pub fn url(&self) -> String {
        match self {
            Self::Single(redis) => redis.url(),
            Self::Cluster(cluster) => cluster.url(),
        }
    }
}

/// Two servers, one of which replicates the other, and three sentinels.
pub struct SentinelGroup {
    servers: [Redis; 2],
    sentinels: Vec<Redis>,
}

impl SentinelGroup {
    /// Starts all; returns when every sentinel knows the replica and the other sentinels.
    pub async fn start() -> Self {
        let primary = Redis::start();
        let replica = Redis::absent(&["--replicaof", &format!("127.0.0.1 {}", primary.port)]);
        replica.up();
        let sentinels: Vec<Redis> = (0..3).map(|_| Redis::sentinel(primary.port)).collect();
        sentinels.iter().for_each(Redis::up);
        let group = Self { servers: [primary, replica], sentinels };
        group.is_complete().await;
        group
    }

    /// Waits until every sentinel knows the other two and a replica that it could promote.
    pub async fn is_complete(&self) {
        for sentinel in &self.sentinels {
            let knows = async || {
                let facts: Vec<String> = sentinel.ask(&["SENTINEL", "MASTER", "main"]).await;
                let fact = |name: &str| facts.iter().position(|fact| fact == name).map(|at| facts[at + 1].as_str());
                let replicas: Vec<Vec<String>> = sentinel.ask(&["SENTINEL", "REPLICAS", "main"]).await;
                let healthy = |facts: &Vec<String>| {
                    let at = |name: &str| facts.iter().position(|fact| fact == name).map(|at| facts[at + 1].as_str());
                    at("flags") == Some("slave") && at("master-link-status") == Some("ok")
                };
                let all = fact("num-other-sentinels") == Some("2") && fact("flags") == Some("master");
                (all && replicas.iter().any(healthy)).then_some(())
            };
            eventually("the sentinel knows the group", s(60), knows).await;
        }
    }

    /// The URL that names the sentinels.
    pub fn url(&self) -> String {
        let hosts: Vec<String> = self.sentinels.iter().map(|one| format!("127.0.0.1:{}", one.port)).collect();
        format!("redis+sentinel://{}/main", hosts.join(","))
    }

    /// The server that the sentinels name.
    pub async fn primary(&self) -> &Redis {
        let address: (String, u16) = self.sentinels[0].ask(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", "main"]).await;
        self.servers.iter().find(|server| server.port == address.1).expect("one of the two")
    }

    /// Kills the primary, waits until the sentinels have promoted the other server, and starts the old one again, which
    /// the sentinels then make a replica.
    pub async fn fail_over(&self) {
        let old = self.primary().await;
        old.kill9();
        let promoted = async || (self.primary().await.port != old.port).then_some(());
        eventually("the sentinels promote the replica", s(60), promoted).await;
        old.up();
    }
}

/// Three primaries that share the slots.
pub struct RedisCluster {
    nodes: Vec<Redis>,
}

impl RedisCluster {
    /// Starts it; returns when it serves all slots.
    pub async fn start() -> Self {
        let node = |_| {
            let bus = free_port().to_string();
            Redis::absent(&["--cluster-enabled", "yes", "--cluster-port", &bus, "--cluster-node-timeout", "2000"])
        };
        let nodes: Vec<Redis> = (0..3).map(node).collect();
        nodes.iter().for_each(Redis::up);
        let slots = [("0", "5460"), ("5461", "10922"), ("10923", "16383")];
        for (node, (from, to)) in nodes.iter().zip(slots) {
            let _: String = node.ask(&["CLUSTER", "ADDSLOTSRANGE", from, to]).await;
        }
        for other in &nodes[1..] {
            let (port, bus) = (other.port.to_string(), other.bus_port());
            let _: String = nodes[0].ask(&["CLUSTER", "MEET", "127.0.0.1", &port, &bus]).await;
        }
        for node in &nodes {
            let serves = async || {
                let info: String = node.ask(&["CLUSTER", "INFO"]).await;
                (info.contains("cluster_state:ok") && info.contains("cluster_known_nodes:3")).then_some(())
            };
            eventually("the cluster serves", s(60), serves).await;
        }
        Self { nodes }
    }

    pub fn url(&self) -> String {
        let hosts: Vec<String> = self.nodes.iter().map(|node| format!("127.0.0.1:{}", node.port)).collect();
        format!("redis+cluster://{}", hosts.join(","))
    }

    /// The keys of each node.
    pub async fn keys(&self) -> Vec<usize> {
        let mut keys = Vec::new();
        for node in &self.nodes {
            keys.push(node.ask(&["DBSIZE"]).await);
        }
        keys
    }
}
