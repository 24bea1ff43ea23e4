//! How Redis is reached, and how long each step may take.

use std::sync::Arc;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use sha2::digest::InvalidLength;

use crate::store::epoch::Epochs;

/// The end of a cluster's scheme, behind `redis` or `rediss`.
pub(super) const CLUSTER: &str = "+cluster";

/// The Redis section of the configuration.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `redis://…`, `redis+sentinel://…` or `redis+cluster://…`; each with `rediss` for TLS.
    pub url: SecretString,
    /// Accepts any certificate of a `rediss://` server, as self-signed ones of hosted Redis need.
    pub insecure_tls: bool,
    /// The beginning of all keys and channels; separates services that share one Redis.
    pub prefix: String,
    /// Connecting, with TLS and authentication.
    pub connect_timeout: Duration,
    /// One pipeline of messages, or one read of the presence directory.
    pub publish_timeout: Duration,
    /// A ping or a subscription: after that the connection counts as broken.
    pub answer_timeout: Duration,
    /// How long [`Broker::subscribe`](crate::broker::Broker::subscribe) waits for the confirmation.
    pub subscribe_timeout: Duration,
    /// How long an instance counts as alive after its last heartbeat.
    pub lease: Duration,
    /// The database's epoch: messages of another one are dropped.
    pub epochs: Arc<Epochs>,
    /// How often each connection is pinged.
    pub ping_interval: Duration,
    /// The shortest and the longest wait between two attempts to connect.
    pub backoff: (Duration, Duration),
}

impl Settings {
    /// The defaults for this URL.
    #[must_use]
    pub fn new(url: SecretString) -> Self {
        Self {
            url,
            insecure_tls: false,
            prefix: "hyper".to_owned(),
            connect_timeout: Duration::from_millis(1_500),
            publish_timeout: Duration::from_millis(300),
            answer_timeout: Duration::from_secs(1),
            subscribe_timeout: Duration::from_millis(500),
            lease: Duration::from_secs(15),
            epochs: Arc::default(),
            ping_interval: Duration::from_secs(1),
            backoff: (Duration::from_millis(50), Duration::from_secs(1)),
        }
    }
}

impl Settings {
    /// Whether the URL is that of a cluster, which carries a channel's messages on one node alone.
    pub(super) fn is_cluster(&self) -> bool {
        self.url.expose_secret().split_once("://").is_some_and(|(scheme, _)| scheme.ends_with(CLUSTER))
    }

    /// The beginning of all keys and channels. In a cluster it is their hash tag, so that all are on one node: a script
    /// may only touch keys of one slot.
    pub(super) fn key_prefix(&self) -> String {
        let has_tag = self.prefix.contains('{');
        if self.is_cluster() && !has_tag { format!("{{{}}}", self.prefix) } else { self.prefix.clone() }
    }
}

/// Settings that can never work. The texts leave out what the URL holds.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The URL cannot be used; holds the client library's category of the error.
    #[error("REDIS_URL is not a valid URL ({0}); percent-encode @ / # in its password, and write IPv6 as [::1]")]
    Url(String),
    /// The key that authenticates messages cannot be derived from the secret.
    #[error("auth.jwt_secret is too short to sign with")]
    Secret(#[from] InvalidLength),
}
