//! The sections of the configuration, one struct each; the keys are those of `config.default.toml`.

use std::path::PathBuf;

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer};

use super::issuers::Issuer;

/// The HTTP server.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Server {
    /// An address, a name, or `unix:PATH`. Never empty once loaded.
    pub host: String,
    /// The permissions of the file of `unix:PATH`, in octal.
    pub socket_mode: String,
    /// 0 takes a free port.
    pub port: u16,
    /// The public path of the server, as `/chat`; empty where it has a host for itself.
    pub base_path: String,
    /// `scheme://host[:port]`, lower case; empty = same origin only.
    pub allowed_origins: Vec<String>,
    /// 0 = half of the cores.
    pub workers: usize,
    /// Trusted proxies in front; the client is this many entries from the right of `X-Forwarded-For`.
    pub proxy_hops: usize,
    /// Milliseconds that a shutdown takes at most: 0 to 600,000.
    pub drain_ms: u64,
}

/// A socket file to listen on.
pub struct SocketPath {
    /// Absolute.
    pub path: PathBuf,
    /// Its permissions.
    pub mode: u32,
}

impl Server {
    /// The socket file of a host `unix:PATH`.
    #[must_use]
    pub fn socket(&self) -> Option<SocketPath> {
        let path = PathBuf::from(self.host.strip_prefix("unix:")?);
        // The rules have refused another mode.
        Some(SocketPath { path, mode: u32::from_str_radix(&self.socket_mode, 8).unwrap_or(0o600) })
    }
}

/// The database.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Database {
    /// May hold a password.
    pub url: SecretString,
    /// Whether `serve` brings the schema up to date; otherwise it refuses an outdated one.
    pub migrate_on_start: bool,
    /// Seconds that a start waits for the migration of another instance: 0 to 86,400.
    pub migration_wait_s: u64,
    /// Connections to PostgreSQL for reading and writing, 5 to 1,000; one more stores chats.
    pub connections_max: u32,
    /// Starts even if the database may lose what it acknowledged, as PostgreSQL does without `fsync`.
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
    /// The beginning of all channels and keys; services that share a Redis need one each. Never empty.
    pub prefix: String,
    /// Milliseconds between two polls of the database for changes that Redis did not carry: 100 to 60,000.
    pub look_ms: u64,
}

/// Tokens and passwords.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Auth {
    /// As given; `Config::jwt_secret` is the one to sign with.
    #[serde(deserialize_with = "none_if_empty")]
    pub jwt_secret: Option<SecretString>,
    /// Secrets that verify and sign nothing, at least 32 bytes each.
    pub jwt_secrets_old: Vec<SecretString>,
    /// The claim `iss` (RFC 7519) that tokens carry and must carry. Never empty.
    pub jwt_issuer: String,
    /// The claim `aud` (RFC 7519) that tokens carry and must carry. Never empty.
    pub jwt_audience: String,
    /// The identity providers whose tokens are accepted, too.
    pub issuers: Vec<Issuer>,
    /// Seconds from a sign-in until its token expires: 1 to 31,536,000.
    pub token_ttl_s: u64,
    /// Days from the last refresh of a session until it ends: 1 to 3,650.
    pub refresh_days: u64,
    /// KiB of memory for one hash, `m` of RFC 9106: 8 to 4,194,304, and at least 8 for each lane.
    pub argon2_memory_kib: u32,
    /// Passes of one hash, `t` of RFC 9106: 1 to 64.
    pub argon2_iterations: u32,
    /// Lanes of one hash, `p` of RFC 9106: 1 to 64.
    pub argon2_parallelism: u32,
    /// 0 = one per core.
    pub hashes_at_once: usize,
    /// Hashes that may wait, 0 to 100,000; one more is refused as `busy`.
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

/// Who may sign up.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum SignUp {
    /// Anyone who reaches the server.
    Open,
    /// Only requests with a token of the scope `sign_up`, as a team's own backend signs them.
    Closed,
}

/// Accounts.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Accounts {
    /// Who may create an account at `POST /api/chatters`.
    pub sign_up: SignUp,
    /// Whether `GET /api/chatters` answers without a token. Only a server that no other machine can reach has a default.
    pub public_directory: bool,
    /// What `DELETE /api/chatters` does to the conversations of the account.
    pub deletion: Deletion,
}

/// Bounds for clients; 0 = none for a rate or the number of sockets.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Chats, edits and deletions per second and chatter, on all transports together.
    pub send_per_s: u32,
    /// Password checks per minute and address; a username has a quarter of it there, and five times as many in all.
    pub sign_in_per_min: u32,
    /// New accounts per minute and address.
    pub sign_up_per_min: u32,
    /// Searches per minute and chatter.
    pub searches_per_min: u32,
    /// New rooms per hour and chatter, all at once or one after the other.
    pub rooms_per_hour: u32,
    /// Push tokens of other accounts that a chatter may take over in a day.
    pub token_moves_per_day: u32,
    /// Pages of the directory per minute and address, for requests without a token.
    pub open_pages_per_min: u32,
    /// Refreshes of tokens per minute and address; a session has a tenth of it.
    pub refresh_per_min: u32,
    /// Sessions per chatter; one more ends the one that was not refreshed for the longest time.
    pub sessions_per_chatter: u32,
    /// Open sockets per chatter on this instance; one more closes the oldest.
    pub sockets_per_chatter: usize,
    /// Bytes that may wait for a slow socket, 262,144 to 67,108,864; a burst may be more for two seconds.
    pub socket_queue_bytes: usize,
    /// The largest WebSocket message that is accepted, in bytes: 1,024 to 16,777,216.
    pub frame_bytes: usize,
    /// The largest request body that is accepted, in bytes: 1,024 to 16,777,216.
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
    /// Milliseconds in which a connected receiver can confirm a chat before a push is sent: 0 to 600,000.
    pub grace_ms: u64,
    /// Milliseconds for which an instance claims a push, 100 to 3,600,000; after that another may send it.
    pub lease_ms: u64,
    /// Hours after which the server gives up on a push: 1 to 672, for FCM keeps one for four weeks at most.
    pub expiry_h: u64,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people; coloured where stderr is a terminal.
    Text,
    /// For machines: one object a line.
    Json,
}

/// Logs.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    /// Tracing directives.
    pub filter: String,
    /// The form of all lines; they go to stderr.
    pub format: LogFormat,
}

/// Removal of expired rows.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cleanup {
    /// Seconds between two removals: 1 to 86,400.
    pub interval_s: u64,
}

fn none_if_empty<'de, D: Deserializer<'de>>(source: D) -> Result<Option<SecretString>, D::Error> {
    let secret = SecretString::deserialize(source)?;
    Ok(if secret.expose_secret().is_empty() { None } else { Some(secret) })
}

fn no_path_if_empty<'de, D: Deserializer<'de>>(source: D) -> Result<Option<PathBuf>, D::Error> {
    let path = PathBuf::deserialize(source)?;
    Ok(if path.as_os_str().is_empty() { None } else { Some(path) })
}
