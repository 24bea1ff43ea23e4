//! One connection to Redis: opening it, noticing its end, waiting for its answers.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, ProtocolVersion, PushInfo,
    RedisError, RedisResult,
};
use secrecy::ExposeSecret;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::failure::Failure;
use super::settings::{Settings, SettingsError};

/// Makes connections.
pub(super) struct Connector {
    client: Client,
    within: Duration,
}

/// One connection; closed when dropped.
pub(super) struct Connection {
    pub redis: MultiplexedConnection,
    /// Resolves when the connection has ended.
    end: oneshot::Receiver<()>,
}

impl Connector {
    pub(crate) fn new(settings: &Settings) -> Result<Self, SettingsError> {
        let refused = |error: RedisError| SettingsError::Url(error.category().to_owned());
        let info = settings.url.expose_secret().into_connection_info().map_err(refused)?;
        let client = Client::open(configured(info, settings.insecure_tls)).map_err(refused)?;
        Ok(Self { client, within: settings.connect_timeout })
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
        let connecting = self.client.get_multiplexed_async_connection_with_config(&config);
        let redis = timeout(self.within, connecting).await.map_err(|_| Failure::Silent)??;
        Ok(Connection { redis, end })
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

    /// Checks that Redis answers.
    pub(crate) async fn ping(&mut self, within: Duration) -> Result<(), Failure> {
        in_time(within, redis::cmd("PING").exec_async(&mut self.redis)).await
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
