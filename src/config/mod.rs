//! Typed settings: compiled-in defaults < file < environment < the short names (`PORT`, `DATABASE_URL`, `REDIS_URL`).
//!
//! Everything is checked before anything starts, and every refusal names the key as the operator wrote it.
//! `main` loads it and `app` gives each part its own section or settings made of it. Secrets are redacted in `Debug`.

mod database;
mod layers;
mod rules;
mod secret_file;

use std::path::PathBuf;

pub use database::DatabaseKind;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer};

/// Every key with its default, explained.
pub const DEFAULTS: &str = include_str!("../config.default.toml");

/// The variables that platforms set, and the keys they stand for. All but the last beat every other layer;
/// the last one only fills an empty key.
pub const SHORT_NAMES: [(&str, &str); 4] = [
    ("PORT", "server.port"),
    ("DATABASE_URL", "database.url"),
    ("REDIS_URL", "redis.url"),
    ("GOOGLE_APPLICATION_CREDENTIALS", "fcm.service_account"),
];

/// Names another file than `hyper_chat.toml`; it must exist.
const FILE_VARIABLE: &str = "HYPER_CHAT_CONFIG";
const FILE_DEFAULT: &str = "hyper_chat.toml";

/// All settings, checked.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub server: Server,
    pub database: Database,
    pub redis: Redis,
    pub auth: Auth,
    pub accounts: Accounts,
    pub limits: Limits,
    pub fcm: Fcm,
    pub push: Push,
    pub log: Log,
    pub cleanup: Cleanup,
}

/// The HTTP server.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Server {
    /// Never empty once loaded.
    pub host: String,
    pub port: u16,
    /// `scheme://host[:port]`, lower case; empty = same origin only.
    pub allowed_origins: Vec<String>,
    /// 0 = half of the cores.
    pub workers: usize,
    /// Trusted proxies in front; the client is this many entries from the right of `X-Forwarded-For`.
    pub proxy_hops: usize,
    pub drain_ms: u64,
}

/// The database.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Database {
    /// May hold a password.
    pub url: SecretString,
    pub migrate_on_start: bool,
    pub migration_wait_s: u64,
    pub connections_max: u32,
    pub unsafe_durability: bool,
}

/// The broker between instances.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Redis {
    /// May hold a password; none = one instance.
    #[serde(deserialize_with = "none_if_empty")]
    pub url: Option<SecretString>,
    /// Takes any certificate, for hosted Redis with a self-signed one.
    pub insecure_tls: bool,
    pub prefix: String,
    pub look_ms: u64,
}

/// Tokens and passwords.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Auth {
    /// As given; [`Config::jwt_secret`] is the one to sign with.
    #[serde(deserialize_with = "none_if_empty")]
    pub jwt_secret: Option<SecretString>,
    pub jwt_issuer: String,
    pub jwt_audience: String,
    pub token_ttl_s: u64,
    pub argon2_memory_kib: u32,
    pub argon2_iterations: u32,
    pub argon2_parallelism: u32,
    /// 0 = one per core.
    pub hashes_at_once: usize,
    pub hashes_queued_max: usize,
}

/// What happens to an account's rows when it is deleted.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Deletion {
    /// The row stays as `deleted-N`, the other side keeps the conversation.
    Anonymise,
    /// Its rooms and their chats are deleted too.
    Cascade,
}

/// Accounts.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Accounts {
    pub public_directory: bool,
    pub deletion: Deletion,
}

/// Bounds for clients; 0 = none for a rate or the number of sockets.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    pub send_per_s: u32,
    pub sign_in_per_min: u32,
    pub sign_up_per_min: u32,
    pub sockets_per_chatter: usize,
    pub socket_queue_bytes: usize,
    pub frame_bytes: usize,
    pub body_bytes: usize,
}

impl Limits {
    /// How many chats may come at once: three times the rate, at least 128 where the rate is above 1,000 a second.
    #[must_use]
    pub fn send_burst(&self) -> u32 {
        let burst = self.send_per_s.saturating_mul(3);
        if self.send_per_s > 1_000 { burst.max(128) } else { burst }
    }
}

/// Pushes: where to.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fcm {
    /// The service account's JSON; none = pushes are logged, not sent.
    #[serde(deserialize_with = "no_path_if_empty")]
    pub service_account: Option<PathBuf>,
    /// Without a slash at the end.
    pub base_url: String,
}

/// Pushes: when.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Push {
    pub grace_ms: u64,
    pub lease_ms: u64,
    pub expiry_h: u64,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    Text,
    Json,
}

/// Logs.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    /// Tracing directives.
    pub filter: String,
    pub format: LogFormat,
}

/// Removal of expired rows.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cleanup {
    pub interval_s: u64,
}

/// Why the configuration cannot be used: every problem found, each naming its key and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the configuration cannot be used:\n  {}", .problems.join("\n  "))]
pub struct ConfigError {
    problems: Vec<String>,
}

impl ConfigError {
    fn one(problem: String) -> Self {
        Self { problems: vec![problem] }
    }
}

/// A configuration file that was read: its name for messages, and its text.
#[derive(Clone, Copy)]
pub struct File<'a> {
    pub name: &'a str,
    pub text: &'a str,
}

impl Config {
    /// Reads the file and the environment of this process. `main` calls it once.
    pub fn load() -> Result<Self, ConfigError> {
        let env = layers::environment()?;
        let named = env.iter().find(|(name, value)| name == FILE_VARIABLE && !value.is_empty());
        let name = named.map_or(FILE_DEFAULT, |(_, name)| name);
        match std::fs::read_to_string(name) {
            Ok(text) => Self::from_parts(env.clone(), Some(File { name, text: &text })),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound && named.is_none() => Self::from_parts(env, None),
            Err(e) => {
                let key = if named.is_some() { FILE_VARIABLE } else { "configuration file" };
                Err(ConfigError::one(format!("{key}: cannot read {name}: {e}")))
            }
        }
    }

    /// Like [`Config::load`], from a given environment and file; reads nothing else.
    pub fn from_parts(
        env: impl IntoIterator<Item = (String, String)>,
        file: Option<File<'_>>,
    ) -> Result<Self, ConfigError> {
        let mut layers = layers::Layers::read(env, file)?;
        rules::check_values(&mut layers);
        layers.refuse()?;
        let mut config: Self = layers.merge(file)?;
        config.fill(&layers);
        rules::check_together(&config, &mut layers);
        layers.refuse()?;
        Ok(config)
    }

    /// Fills in the values that depend on more than one layer.
    fn fill(&mut self, layers: &layers::Layers) {
        if self.server.host.is_empty() {
            self.server.host = if layers.short("PORT").is_some() { "0.0.0.0" } else { "127.0.0.1" }.to_owned();
        }
        if self.fcm.service_account.is_none() {
            self.fcm.service_account = layers.short("GOOGLE_APPLICATION_CREDENTIALS").map(PathBuf::from);
        }
        self.fcm.base_url.truncate(self.fcm.base_url.trim_end_matches('/').len());
    }

    /// The secret that signs tokens: the configured one, else the one kept beside the SQLite file (made now if
    /// there is none), else, in memory, a new one. `app` calls it when it starts to serve.
    pub fn jwt_secret(&self) -> Result<SecretString, ConfigError> {
        if let Some(secret) = &self.auth.jwt_secret {
            return Ok(secret.clone());
        }
        match self.database.kind() {
            DatabaseKind::Sqlite(file) => secret_file::read_or_create(&file).map_err(ConfigError::one),
            DatabaseKind::SqliteInMemory => Ok(secret_file::random()),
            DatabaseKind::Postgres => Err(ConfigError::one(rules::secret_required("PostgreSQL"))),
        }
    }
}

fn none_if_empty<'de, D: Deserializer<'de>>(source: D) -> Result<Option<SecretString>, D::Error> {
    let secret = SecretString::deserialize(source)?;
    Ok(if secret.expose_secret().is_empty() { None } else { Some(secret) })
}

fn no_path_if_empty<'de, D: Deserializer<'de>>(source: D) -> Result<Option<PathBuf>, D::Error> {
    let path = PathBuf::deserialize(source)?;
    Ok(if path.as_os_str().is_empty() { None } else { Some(path) })
}
