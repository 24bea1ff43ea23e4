//! Typed settings: compiled-in defaults < file < environment < the short names (`PORT`, `DATABASE_URL`, `REDIS_URL`).
//!
//! Everything is checked before anything starts, and every refusal names the key as the operator wrote it.
//! `main` loads it and `app` gives each part its own section or settings made of it. Secrets are redacted in `Debug`.

mod database;
mod document;
mod issuers;
mod kinds;
mod layers;
mod names;
mod postgres_url;
mod rules;
mod secret_file;
mod secrets;
mod sections;
mod typed;

use std::path::PathBuf;

pub use database::DatabaseKind;
pub use issuers::{Issuer, SignatureAlgorithm};
pub use postgres_url::{Host, PostgresUrl};
use secrecy::SecretString;
pub use sections::{
    Accounts, Auth, Cleanup, Database, Deletion, Fcm, Limits, Log, LogFormat, Push, Redis, Server, SignUp, SocketPath,
};
use serde::Deserialize;

/// Every key with its default, explained.
pub const DEFAULTS: &str = include_str!("../config.default.toml");

/// The variables that platforms set, and the keys they stand for. All but the last beat every other layer;
/// the last one only fills an empty key.
pub const SHORT_NAMES: [(&str, &str); 4] = [
    ("PORT", "server.port"),
    ("DATABASE_URL", "database.url"),
    ("REDIS_URL", "redis.url"),
    (GOOGLE, "fcm.service_account"),
];

/// Only fills an empty key, and names a file.
const GOOGLE: &str = "GOOGLE_APPLICATION_CREDENTIALS";

/// Names another file than `hyper_chat.toml`; it must exist.
const FILE_VARIABLE: &str = "HYPER_CHAT_CONFIG";
const FILE_DEFAULT: &str = "hyper_chat.toml";

/// All settings, checked.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// `[server]`: the address to listen on, proxies, and the shutdown.
    pub server: Server,
    /// `[database]`: which database, and how it is opened.
    pub database: Database,
    /// `[redis]`: how several instances reach each other.
    pub redis: Redis,
    /// `[auth]`: how tokens are signed and passwords are hashed.
    pub auth: Auth,
    /// `[accounts]`: the directory, and the deletion of accounts.
    pub accounts: Accounts,
    /// `[limits]`: the rates and sizes that clients keep to.
    pub limits: Limits,
    /// `[fcm]`: where pushes are sent to.
    pub fcm: Fcm,
    /// `[push]`: when pushes are sent, and for how long they are tried.
    pub push: Push,
    /// `[log]`: which lines the log has, and in which form.
    pub log: Log,
    /// `[cleanup]`: how often expired rows are removed.
    pub cleanup: Cleanup,
    /// The file that was read, if it has a secret in it.
    #[serde(skip)]
    file_with_secret: Option<PathBuf>,
    #[serde(skip)]
    warnings: Vec<String>,
}

/// The secrets behind all signatures of the server: tokens, refresh tokens, messages between instances.
#[derive(Clone, Debug)]
pub struct SigningSecrets {
    /// Signs, and verifies.
    pub current: SecretString,
    /// These only verify.
    pub old: Vec<SecretString>,
}

impl SigningSecrets {
    /// Every secret, the one that signs first.
    pub fn all(&self) -> impl Iterator<Item = &SecretString> {
        std::iter::once(&self.current).chain(&self.old)
    }
}

impl From<SecretString> for SigningSecrets {
    fn from(current: SecretString) -> Self {
        Self { current, old: Vec::new() }
    }
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
    /// Its path, as `HYPER_CHAT_CONFIG` has it or the default.
    pub name: &'a str,
    /// The content, in TOML.
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

    /// Like [`Config::load`], from a given environment and file; reads nothing else but what `…_FILE` names.
    pub fn from_parts(
        env: impl IntoIterator<Item = (String, String)>,
        file: Option<File<'_>>,
    ) -> Result<Self, ConfigError> {
        let mut layers = layers::Layers::read(env, file)?;
        rules::check_values(&mut layers);
        layers.refuse()?;
        let mut config: Self = layers.merge()?;
        config.fill(&layers);
        config.file_with_secret = file.filter(|_| layers.has_secret_in_file()).map(|file| PathBuf::from(file.name));
        rules::check_together(&config, &mut layers);
        layers.refuse()?;
        config.warnings = layers.warnings().to_vec();
        Ok(config)
    }

    /// Variables that nearly name a setting and are not read, each with the one that was probably meant.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Fills in the values that depend on more than one layer.
    fn fill(&mut self, layers: &layers::Layers) {
        if self.server.host.is_empty() {
            self.server.host = if layers.short("PORT").is_some() { "0.0.0.0" } else { "127.0.0.1" }.to_owned();
        }
        if self.fcm.service_account.is_none() {
            self.fcm.service_account = layers.short(GOOGLE).map(PathBuf::from);
        }
        self.fcm.base_url.truncate(self.fcm.base_url.trim_end_matches('/').len());
    }

    /// The files that hold secrets or chats, some of which need not exist: nobody but the server's user should read
    /// them.
    #[must_use]
    pub fn private_files(&self) -> Vec<PathBuf> {
        let mut files: Vec<PathBuf> =
            [&self.file_with_secret, &self.fcm.service_account].into_iter().flatten().cloned().collect();
        if let DatabaseKind::Sqlite(database) = self.database.kind() {
            let real = database::real_path(&database);
            files.extend(["", "-wal", "-shm"].map(|suffix| database::beside(&real, suffix)));
            files.extend(self.auth.jwt_secret.is_none().then(|| secret_file::path(&database)));
        }
        files
    }

    /// The secret that signs, and those that only verify; the first as [`Config::jwt_secret`] has it.
    pub fn signing_secrets(&self) -> Result<SigningSecrets, ConfigError> {
        Ok(SigningSecrets { current: self.jwt_secret()?, old: self.auth.jwt_secrets_old.clone() })
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
