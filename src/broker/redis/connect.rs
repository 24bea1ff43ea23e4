//! Connecting, again and again, and why a connection is given up.

use std::future::Future;
use std::pin::pin;
use std::time::{Duration, Instant};

use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, ProtocolVersion, PushInfo,
    RedisError, RedisResult,
};
use secrecy::ExposeSecret;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::health::Side;
use super::{Refused, Settings, Shared};

/// Why a connection ended or was not made.
#[derive(Debug)]
pub(super) enum Failure {
    Redis(RedisError),
    /// No answer in time.
    Silent,
    /// The connection broke.
    Ended,
    /// Redis no longer holds what this instance wrote.
    Forgotten,
}

/// Knows the way to Redis.
pub(super) struct Connector {
    client: Client,
    within: Duration,
}

/// One connection; closed when dropped.
pub(super) struct Connection {
    pub redis: MultiplexedConnection,
    /// Ends with the connection.
    gone: oneshot::Receiver<()>,
}

/// How soon after one attempt the next one follows.
pub(super) struct Pace {
    next: Duration,
    least: Duration,
    most: Duration,
    attempted: Option<Instant>,
    made: bool,
}

impl Connector {
    pub fn new(settings: &Settings) -> Result<Self, Refused> {
        let refused = |error: RedisError| Refused::Url(error.category().to_owned());
        let info = settings.url.expose_secret().into_connection_info().map_err(refused)?;
        let client = Client::open(prepared(info, settings.insecure_tls)).map_err(refused)?;
        Ok(Self { client, within: settings.connect_timeout })
    }

    /// Each push of the server goes to `pushed`, which must not wait: the connection is not read meanwhile.
    pub async fn connect(&self, pushed: impl Fn(PushInfo) + Send + Sync + 'static) -> Result<Connection, Failure> {
        let (alive, gone) = oneshot::channel::<()>();
        let sender = move |push| {
            // The crate lets go of this closure when the connection ends, however it does.
            let _ = &alive;
            pushed(push);
            Ok::<_, ()>(())
        };
        let config = AsyncConnectionConfig::new()
            .set_push_sender(sender)
            .set_connection_timeout(Some(self.within))
            // Each question has a timeout of its own.
            .set_response_timeout(None);
        let connecting = self.client.get_multiplexed_async_connection_with_config(&config);
        let redis = timeout(self.within, connecting).await.map_err(|_| Failure::Silent)??;
        Ok(Connection { redis, gone })
    }
}

/// RESP3, so that pushes and answers share a connection, and no delay for small packets.
fn prepared(info: ConnectionInfo, insecure_tls: bool) -> ConnectionInfo {
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
    /// Returns when the connection has ended.
    pub async fn ended(&mut self) -> Failure {
        // Nobody sends: it only ends. A second call would not wait.
        let _ = (&mut self.gone).await;
        Failure::Ended
    }

    /// A sign of life.
    pub async fn ping(&mut self, within: Duration) -> Result<(), Failure> {
        in_time(within, redis::cmd("PING").exec_async(&mut self.redis)).await
    }
}

/// The answer, or that there was none in time.
pub(super) async fn in_time<T>(within: Duration, asked: impl Future<Output = RedisResult<T>>) -> Result<T, Failure> {
    // This thread may have been busy for so long that the answer is here and only has not been read: a last look.
    const LAST_LOOK: Duration = Duration::from_millis(10);
    let mut asked = pin!(asked);
    let answer = match timeout(within, &mut asked).await {
        Ok(answer) => answer,
        Err(_) => timeout(LAST_LOOK, asked).await.map_err(|_| Failure::Silent)?,
    };
    answer.map_err(Failure::Redis)
}

impl Pace {
    pub fn new((least, most): (Duration, Duration)) -> Self {
        Self { next: least, least, most, attempted: None, made: false }
    }

    /// The next connection, however long that takes; each attempt has an ear of its own.
    pub async fn connection<P>(&mut self, shared: &Shared, side: Side, ear: impl Fn() -> P) -> Connection
    where
        P: Fn(PushInfo) + Send + Sync + 'static,
    {
        loop {
            if let Some(last) = self.attempted {
                tokio::time::sleep(self.pause(last.elapsed())).await;
            }
            self.attempted = Some(Instant::now());
            match shared.connector.connect(ear()).await {
                Ok(connection) => {
                    shared.tally.reconnects.add(usize::from(self.made));
                    self.made = true;
                    return connection;
                }
                Err(failure) => shared.health.down(side, &failure),
            }
        }
    }

    /// Twice the last one up to the longest, and up to half less, so that not all instances come at once. It begins anew
    /// behind an attempt that lasted; a connection that ends as soon as it is made is no reason to hurry.
    fn pause(&mut self, lasted: Duration) -> Duration {
        if lasted > self.most {
            self.next = self.least;
        }
        let pause = self.next.mul_f64(1.0 - rand::random::<f64>() / 2.0);
        self.next = (self.next * 2).min(self.most);
        pause
    }
}

impl From<RedisError> for Failure {
    fn from(error: RedisError) -> Self {
        Self::Redis(error)
    }
}

impl std::fmt::Display for Failure {
    /// For the log: of what Redis said only its code, for the rest may be contents.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Redis(error) if error.is_io_error() => error.fmt(f),
            Self::Redis(error) => match error.code() {
                Some(code) => write!(f, "{} ({code})", error.category()),
                None => f.write_str(error.category()),
            },
            Self::Silent => f.write_str("no answer in time"),
            Self::Ended => f.write_str("the connection ended"),
            Self::Forgotten => f.write_str("Redis has forgotten what was written"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_grows_to_the_longest_and_is_never_shorter_than_half() {
        let (least, most) = (Duration::from_millis(50), Duration::from_secs(1));
        let mut pace = Pace::new((least, most));
        for full in [50, 100, 200, 400, 800, 1_000, 1_000] {
            let (pause, full) = (pace.pause(least), Duration::from_millis(full));
            assert!(full / 2 <= pause && pause <= full, "{pause:?} of {full:?}");
        }
        assert!(pace.pause(most * 2) <= least, "anew behind one that lasted");
    }

    #[test]
    fn a_malformed_url_is_refused_without_being_repeated() {
        for url in ["", "hunter2", "http://:hunter2@h", "redis://:hunter2@", "redis://:hunter2@h:port"] {
            let message = Connector::new(&Settings::new(url.into())).err().expect(url).to_string();
            assert!(!message.contains("hunter2"), "{message}");
        }
    }

    #[test]
    fn insecure_tls_is_asked_for_by_the_setting_or_by_the_url() {
        let insecure = |url: &str, set| {
            let info = url.into_connection_info().expect(url);
            matches!(prepared(info, set).addr(), ConnectionAddr::TcpTls { insecure: true, .. })
        };
        assert!(!insecure("rediss://h", false));
        assert!(insecure("rediss://h", true));
        assert!(insecure("rediss://h/#insecure", false));
        assert!(!insecure("redis://h", true));
    }
}
