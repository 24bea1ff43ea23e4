//! One connection to Redis: opening it, noticing its end, waiting for its answers.

use std::collections::HashMap;
use std::future::Future;
use std::pin::pin;
use std::time::{Duration, Instant};

use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, FromRedisValue, Pipeline, ProtocolVersion, PushInfo,
    RedisResult, Value,
};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::failure::Failure;
use super::settings::{Settings, SettingsError};
use super::topology::Topology;

/// How often the sentinels are asked whether a connection's server is still the primary.
const ASK_SENTINELS_EVERY: Duration = Duration::from_secs(3);

/// Makes connections.
pub(super) struct Connector {
    topology: Topology,
    insecure_tls: bool,
    within: Duration,
}

/// One connection; closed when dropped.
pub(super) struct Connection {
    pub redis: MultiplexedConnection,
    server: ConnectionAddr,
    /// When the sentinels last named this server.
    named: Instant,
    /// Resolves when the connection has ended.
    end: oneshot::Receiver<()>,
}

impl Connector {
    pub(crate) fn new(settings: &Settings) -> Result<Self, SettingsError> {
        let (topology, insecure_tls) = (Topology::of(settings)?, settings.insecure_tls);
        Ok(Self { topology, insecure_tls, within: settings.connect_timeout })
    }

    async fn primary(&self) -> Result<ConnectionInfo, Failure> {
        self.topology.primary(|server| configured(server, self.insecure_tls), self.within).await
    }

    /// Each push of the server goes to `on_push`, which must not wait: the connection is not read meanwhile.
    pub(crate) async fn connect(
        &self,
        on_push: impl Fn(PushInfo) + Send + Sync + 'static,
    ) -> Result<Connection, Failure> {
        let (alive, end) = oneshot::channel::<()>();
        let sender = move |push| {
            // The crate drops this closure, and `alive` with it, when the connection ends, however it ends.
            let _ = &alive;
            on_push(push);
            Ok::<_, ()>(())
        };
        let config = AsyncConnectionConfig::new()
            .set_push_sender(sender)
            .set_connection_timeout(Some(self.within))
            // Each request has a timeout of its own.
            .set_response_timeout(None);
        let primary = self.primary().await?;
        let (server, client) = (primary.addr().clone(), Client::open(primary)?);
        let connecting = client.get_multiplexed_async_connection_with_config(&config);
        let redis = timeout(self.within, connecting).await.map_err(|_| Failure::Silent)??;
        let connection = Connection { redis, server, named: Instant::now(), end };
        in_time(self.within, connection.role(self)).await?.check()?;
        Ok(connection)
    }
}

/// RESP3, so that pushes and answers share a connection, and no delay for small packets.
fn configured(info: ConnectionInfo, insecure_tls: bool) -> ConnectionInfo {
    let redis = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
    let addr = match info.addr().clone() {
        ConnectionAddr::TcpTls { host, port, insecure, tls_params } => {
            ConnectionAddr::TcpTls { host, port, insecure: insecure || insecure_tls, tls_params }
        }
        other => other,
    };
    info.set_addr(addr).set_redis_settings(redis).set_tcp_settings(TcpSettings::default().set_nodelay(true))
}

impl Connection {
    /// Returns when the connection has ended. Must not be called again after that.
    pub(crate) async fn ended(&mut self) -> Failure {
        // Nothing is ever sent: the channel only closes.
        let _ = (&mut self.end).await;
        Failure::Ended
    }

    /// Checks that the server answers and is still the one to talk to.
    pub(crate) async fn ping(&mut self, connector: &Connector, within: Duration) -> Result<(), Failure> {
        in_time(within, self.role(connector)).await?.check()?;
        self.check_sentinels(connector).await
    }

    /// Asks the server for its role. `HELLO` (Redis 6) tells it to every client, unlike `ROLE`, which needs a permission.
    /// A node of a cluster answers with an error where it does not own the slot.
    pub(crate) fn role(&self, connector: &Connector) -> impl Future<Output = RedisResult<Replication>> + use<> {
        let mut redis = self.redis.clone();
        let mut query = Pipeline::new();
        query.cmd("HELLO");
        if let Some(key) = connector.topology.key() {
            query.cmd("EXISTS").arg(key).ignore();
        }
        async move {
            let (mut hello,): (HashMap<String, Value>,) = query.query_async(&mut redis).await?;
            let role = hello.remove("role").map(String::from_redis_value).transpose()?;
            Ok(if role.is_some_and(|role| role != "master") { Replication::Replica } else { Replication::Primary })
        }
    }

    /// An old primary that is cut off from the sentinels still counts itself as one.
    pub(crate) async fn check_sentinels(&mut self, connector: &Connector) -> Result<(), Failure> {
        if !connector.topology.is_named_by_sentinels() || self.named.elapsed() < ASK_SENTINELS_EVERY {
            return Ok(());
        }
        self.named = Instant::now();
        match connector.primary().await {
            Ok(primary) if primary.addr() != &self.server => Err(Failure::Demoted),
            // The server itself has answered; the sentinels may be away.
            _ => Ok(()),
        }
    }
}

/// Whether a server takes writes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Replication {
    Primary,
    Replica,
}

impl Replication {
    pub(crate) fn check(self) -> Result<(), Failure> {
        if self == Self::Primary { Ok(()) } else { Err(Failure::Replica) }
    }
}

/// The answer to a request, or [`Failure::Silent`].
pub(super) async fn in_time<T>(within: Duration, request: impl Future<Output = RedisResult<T>>) -> Result<T, Failure> {
    // This thread may have been busy for so long that the answer has arrived unread: a last chance to read it.
    const LAST_CHANCE: Duration = Duration::from_millis(10);
    let mut request = pin!(request);
    let answer = match timeout(within, &mut request).await {
        Ok(answer) => answer,
        Err(_) => timeout(LAST_CHANCE, request).await.map_err(|_| Failure::Silent)?,
    };
    answer.map_err(Failure::Redis)
}

#[cfg(test)]
mod tests {
    use redis::IntoConnectionInfo;

    use super::*;

    #[test]
    fn a_malformed_url_is_refused_without_being_repeated() {
        for url in ["", "hunter2", "http://:hunter2@h", "redis://:hunter2@", "redis://:hunter2@h:port"] {
            let message = Connector::new(&Settings::new(url.into())).err().expect(url).to_string();
            assert!(!message.contains("hunter2"), "{message}");
        }
    }

    #[test]
    fn insecure_tls_follows_the_setting_or_the_url() {
        let insecure = |url: &str, set| {
            let info = url.into_connection_info().expect(url);
            matches!(configured(info, set).addr(), ConnectionAddr::TcpTls { insecure: true, .. })
        };
        assert!(!insecure("rediss://h", false));
        assert!(insecure("rediss://h", true));
        assert!(insecure("rediss://h/#insecure", false));
        assert!(!insecure("redis://h", true));
    }
}
