//! Where Redis is: one server, the primary that the sentinels name, or the node of a cluster that owns this service's
//! slot.

use std::time::Duration;

use redis::{Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, RedisError, RedisResult};
use secrecy::ExposeSecret;
use tokio::time::timeout;

use super::failure::Failure;
use super::settings::{CLUSTER, Settings, SettingsError};

/// The usual port of a sentinel.
const SENTINEL_PORT: u16 = 26_379;
/// The usual port of a server.
const SERVER_PORT: u16 = 6_379;

/// See the module.
pub(super) enum Topology {
    Single(ConnectionInfo),
    /// `redis+sentinel://USER:PASSWORD@HOST,HOST/NAME/DATABASE?sentinel_password=…`
    Sentinel {
        sentinels: Vec<ConnectionInfo>,
        /// The name under which the sentinels know the primary.
        name: String,
        /// How to connect to the primary, whose address the sentinels give.
        server: Box<ConnectionInfo>,
    },
    /// `redis+cluster://USER:PASSWORD@HOST,HOST`
    Cluster {
        nodes: Vec<ConnectionInfo>,
        /// A key in the slot of all keys and channels of this service.
        key: String,
    },
}

impl Topology {
    /// Reads the URL. The texts of errors leave out what it holds.
    pub(crate) fn of(settings: &Settings) -> Result<Self, SettingsError> {
        let url = settings.url.expose_secret();
        let (scheme, rest) = url.split_once("://").unwrap_or((url, ""));
        if let Some(server) = scheme.strip_suffix("+sentinel") {
            return Self::sentinel(server, rest);
        }
        if let Some(server) = scheme.strip_suffix(CLUSTER) {
            let Parts { user, hosts, .. } = Parts::of(rest);
            let urls = hosts.iter().map(|host| format!("{server}://{user}{}", with_port(host, SERVER_PORT)));
            let nodes = urls.map(IntoConnectionInfo::into_connection_info).collect::<RedisResult<_>>();
            let key = format!("{}:slot", settings.key_prefix());
            return Ok(Self::Cluster { nodes: nodes.map_err(refused)?, key });
        }
        Ok(Self::Single(url.into_connection_info().map_err(refused)?))
    }

    fn sentinel(server: &str, rest: &str) -> Result<Self, SettingsError> {
        let Parts { user, hosts, path, query } = Parts::of(rest);
        let (name, database) = path.split_once('/').unwrap_or((path, "0"));
        if name.is_empty() {
            return Err(SettingsError::Url("it names no primary, as in redis+sentinel://host:26379/NAME".to_owned()));
        }
        let parameter = |key: &str| query.split('&').find_map(|pair| pair.strip_prefix(key)?.strip_prefix('='));
        let sentinel_user = match (parameter("sentinel_username"), parameter("sentinel_password")) {
            (None, None) => String::new(),
            (user, password) => format!("{}:{}@", user.unwrap_or_default(), password.unwrap_or_default()),
        };
        let urls = hosts.iter().map(|host| format!("{server}://{sentinel_user}{}", with_port(host, SENTINEL_PORT)));
        let sentinels = urls.map(IntoConnectionInfo::into_connection_info).collect::<RedisResult<_>>();
        // The host is replaced by the one that the sentinels name.
        let server = format!("{server}://{user}primary/{database}").into_connection_info().map_err(refused)?;
        let name = name.to_owned();
        Ok(Self::Sentinel { sentinels: sentinels.map_err(refused)?, name, server: Box::new(server) })
    }

    /// Whether the connection must prove that its node owns the slot: a key in it.
    pub(crate) fn key(&self) -> Option<&str> {
        match self {
            Self::Cluster { key, .. } => Some(key),
            _ => None,
        }
    }

    /// Whether the primary may change without a broken connection.
    pub(crate) fn is_named_by_sentinels(&self) -> bool {
        matches!(self, Self::Sentinel { .. })
    }

    /// The server to connect to; each server that is asked for it has `within`.
    pub(crate) async fn primary(
        &self,
        configured: impl Fn(ConnectionInfo) -> ConnectionInfo,
        within: Duration,
    ) -> Result<ConnectionInfo, Failure> {
        match self {
            Self::Single(server) => Ok(configured(server.clone())),
            Self::Sentinel { sentinels, name, server } => {
                let mut failure = Failure::Silent;
                for sentinel in sentinels {
                    let mut query = redis::cmd("SENTINEL");
                    query.arg("GET-MASTER-ADDR-BY-NAME").arg(name);
                    match ask::<Option<(String, u16)>>(configured(sentinel.clone()), query, within).await {
                        Ok(Some((host, port))) => return Ok(configured(at((**server).clone(), host, port))),
                        Ok(None) => failure = Failure::UnknownPrimary,
                        Err(error) => failure = error,
                    }
                }
                Err(failure)
            }
            Self::Cluster { nodes, key } => {
                let mut failure = Failure::Silent;
                for node in nodes {
                    let mut query = redis::cmd("EXISTS");
                    query.arg(key);
                    let node = configured(node.clone());
                    match ask::<i64>(node.clone(), query, within).await {
                        Ok(_) => return Ok(node),
                        Err(Failure::Redis(error)) => match error.redirect_node().and_then(|(to, _)| address(to)) {
                            // An empty host means the one that answered.
                            Some(("", port)) => return Ok(at(node.clone(), host_of(&node), port)),
                            Some((host, port)) => return Ok(at(node, host.to_owned(), port)),
                            None => failure = Failure::Redis(error),
                        },
                        Err(error) => failure = error,
                    }
                }
                Err(failure)
            }
        }
    }
}

fn refused(error: RedisError) -> SettingsError {
    SettingsError::Url(error.category().to_owned())
}

/// One query on a connection of its own.
async fn ask<T: redis::FromRedisValue>(
    server: ConnectionInfo,
    query: redis::Cmd,
    within: Duration,
) -> Result<T, Failure> {
    let client = Client::open(server)?;
    let asking = async {
        let mut redis = client.get_multiplexed_async_connection().await?;
        query.query_async(&mut redis).await
    };
    Ok(timeout(within, asking).await.map_err(|_| Failure::Silent)??)
}

/// The same server at another address.
fn at(server: ConnectionInfo, host: String, port: u16) -> ConnectionInfo {
    let address = match server.addr().clone() {
        ConnectionAddr::TcpTls { insecure, tls_params, .. } => {
            ConnectionAddr::TcpTls { host, port, insecure, tls_params }
        }
        _ => ConnectionAddr::Tcp(host, port),
    };
    server.set_addr(address)
}

/// The host and the port of a redirection.
fn address(text: &str) -> Option<(&str, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    Some((host.trim_matches(['[', ']']), port.parse().ok()?))
}

fn host_of(server: &ConnectionInfo) -> String {
    match server.addr() {
        ConnectionAddr::Tcp(host, _) | ConnectionAddr::TcpTls { host, .. } => host.clone(),
        _ => String::new(),
    }
}

/// The parts of a URL with several hosts, after its scheme. They are still percent-encoded.
struct Parts<'a> {
    /// `USER:PASSWORD@`, or empty.
    user: &'a str,
    hosts: Vec<&'a str>,
    path: &'a str,
    query: &'a str,
}

impl<'a> Parts<'a> {
    fn of(rest: &'a str) -> Self {
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let user = authority.rfind('@').map_or("", |at| &authority[..=at]);
        let hosts = authority[user.len()..].split(',').map(str::trim).collect();
        Self { user, hosts, path, query }
    }
}

/// `HOST:PORT`, for a host that may name its port.
fn with_port(host: &str, port: u16) -> String {
    let after_address = host.rsplit_once(']').map_or(host, |(_, rest)| rest);
    if after_address.contains(':') { host.to_owned() } else { format!("{host}:{port}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topology(url: &str) -> Topology {
        match Topology::of(&Settings::new(url.into())) {
            Ok(topology) => topology,
            Err(error) => panic!("{error}"),
        }
    }

    fn addresses(servers: &[ConnectionInfo]) -> Vec<String> {
        servers.iter().map(|server| server.addr().to_string()).collect()
    }

    #[test]
    fn d4_sentinels_and_the_name_of_the_primary_are_read_from_the_url() {
        let url = "rediss+sentinel://app:s%40fe@one,two:1234,[::1]/main/3?sentinel_password=s%2Fs";
        let Topology::Sentinel { sentinels, name, server } = topology(url) else { panic!("not Sentinel") };
        assert_eq!(name, "main");
        assert_eq!(addresses(&sentinels), ["one:26379", "two:1234", "::1:26379"]);
        assert_eq!(sentinels[0].redis_settings().password(), Some("s/s"));
        let settings = server.redis_settings();
        assert_eq!((settings.username(), settings.password(), settings.db()), (Some("app"), Some("s@fe"), 3));
        assert!(matches!(at(*server, "new".into(), 7).addr(), ConnectionAddr::TcpTls { port: 7, .. }));
        assert!(Topology::of(&Settings::new("redis+sentinel://one".into())).is_err(), "no name");
    }

    #[test]
    fn d4_nodes_of_a_cluster_are_read_from_the_url() {
        let topology = topology("redis+cluster://:pw@one:7000,two");
        assert_eq!(topology.key(), Some("{hyper}:slot"));
        let Topology::Cluster { nodes, .. } = topology else { panic!("not a cluster") };
        assert_eq!(addresses(&nodes), ["one:7000", "two:6379"]);
        assert_eq!(nodes[1].redis_settings().password(), Some("pw"));
    }

    #[test]
    fn d4_a_redirection_names_host_and_port() {
        assert_eq!(address("10.0.0.1:7000"), Some(("10.0.0.1", 7_000)));
        assert_eq!(address("2001:db8::1:7000"), Some(("2001:db8::1", 7_000)));
        assert_eq!(address(":7000"), Some(("", 7_000)));
        assert_eq!(address("nowhere"), None);
    }

    #[test]
    fn d4_a_malformed_url_is_refused_without_being_repeated() {
        for url in ["redis+sentinel://:hunter2@", "redis+cluster://:hunter2@h:port", "redis+sentinel://:hunter2@h:x/m"]
        {
            let Err(error) = Topology::of(&Settings::new(url.into())) else { panic!("{url} was taken") };
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
    }
}
