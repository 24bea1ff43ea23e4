//! The rules of the values: ranges, choices, forms, and rules between two keys.

use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use super::database::check_sqlite_parameters;
use super::layers::Layers;
use super::names::variable;
use super::{Config, DatabaseKind, PostgresUrl};

/// HMAC-SHA-256 is only as strong as its key: RFC 7518 asks for 256 bits.
const SECRET_BYTES_MIN: usize = 32;

/// Every whole number and the range it may have; the unit is in the name.
const RANGES: [(&str, i64, i64); 31] = [
    ("server.port", 0, 65_535),
    ("server.workers", 0, 1_024),
    ("server.proxy_hops", 0, 16),
    ("server.drain_ms", 0, 600_000),
    ("database.migration_wait_s", 0, 86_400),
    ("database.connections_max", 5, 1_000),
    ("redis.look_ms", 100, 60_000),
    ("auth.token_ttl_s", 1, 31_536_000),
    ("auth.refresh_days", 1, 3_650),
    ("auth.argon2_memory_kib", 8, 4_194_304),
    ("auth.argon2_iterations", 1, 64),
    ("auth.argon2_parallelism", 1, 64),
    ("auth.hashes_at_once", 0, 1_024),
    ("auth.hashes_queued_max", 0, 100_000),
    ("limits.send_per_s", 0, 1_000_000),
    ("limits.sign_in_per_min", 0, 1_000_000),
    ("limits.sign_up_per_min", 0, 1_000_000),
    ("limits.searches_per_min", 0, 1_000_000),
    ("limits.rooms_per_hour", 0, 1_000_000),
    ("limits.token_moves_per_day", 0, 1_000_000),
    ("limits.open_pages_per_min", 0, 1_000_000),
    ("limits.refresh_per_min", 0, 1_000_000),
    ("limits.sessions_per_chatter", 0, 100_000),
    ("limits.sockets_per_chatter", 0, 100_000),
    // A page of changes, a page of rooms and what is held behind them fit into the least.
    ("limits.socket_queue_bytes", 262_144, 67_108_864),
    ("limits.frame_bytes", 1_024, 16_777_216),
    ("limits.body_bytes", 1_024, 16_777_216),
    ("push.grace_ms", 0, 600_000),
    ("push.lease_ms", 100, 3_600_000),
    // FCM keeps a push for four weeks at most.
    ("push.expiry_h", 1, 672),
    ("cleanup.interval_s", 1, 86_400),
];

const CHOICES: [(&str, &[&str]); 3] = [
    ("accounts.sign_up", &["open", "closed"]),
    ("accounts.deletion", &["anonymise", "cascade"]),
    ("log.format", &["text", "json"]),
];

const REDIS_SCHEMES: [&str; 6] =
    ["redis://", "rediss://", "redis+sentinel://", "rediss+sentinel://", "redis+cluster://", "rediss+cluster://"];

/// Ranges and choices of what was given; before the values become typed.
pub(super) fn check_values(layers: &mut Layers) {
    for (key, min, max) in RANGES {
        if let Some(n) = layers.given(key).and_then(Value::as_i64)
            && !(min..=max).contains(&n)
        {
            let rule = format!("must be from {min} to {max}, not {n}");
            layers.problem(key, &rule);
        }
    }
    for (key, choices) in CHOICES {
        if let Some(text) = layers.given(key).and_then(Value::as_str)
            && !choices.contains(&text)
        {
            let rule = format!("must be {}, not {text:?}", choices.join(" or "));
            layers.problem(key, &rule);
        }
    }
}

/// Forms, and what holds between two keys.
pub(super) fn check_together(config: &Config, layers: &mut Layers) {
    check_urls(config, layers);
    check_secret(config, layers);
    check_directory(config, layers);
    check_socket(config, layers);
    check_base_path(config, layers);
    for (path, rule) in super::issuers::broken_rules(&config.auth.issuers, &config.auth.jwt_issuer) {
        layers.problem(&path, rule);
    }
    for (key, text) in [
        ("auth.jwt_issuer", &config.auth.jwt_issuer),
        ("auth.jwt_audience", &config.auth.jwt_audience),
        ("log.filter", &config.log.filter),
        ("redis.prefix", &config.redis.prefix),
    ] {
        if text.trim().is_empty() {
            layers.problem(key, "must not be empty");
        }
    }
    if config.auth.argon2_memory_kib < 8 * config.auth.argon2_parallelism {
        layers.problem("auth.argon2_memory_kib", "must be at least 8 times auth.argon2_parallelism");
    }
}

/// The first parts of the server's own paths; a base path that begins with one would have two meanings.
const OWN_PATHS: [&str; 7] = ["api", "ws", "docs", "demo", "healthz", "readyz", "metrics"];

fn check_base_path(config: &Config, layers: &mut Layers) {
    let path = &config.server.base_path;
    let is_part = |part: &str| {
        !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    let is_path = path.is_empty() || path.strip_prefix('/').is_some_and(|rest| rest.split('/').all(is_part));
    if !is_path {
        let rule = "must be empty or a path as in /chat: letters, digits, - and _ behind each /, and no / at its end";
        layers.problem("server.base_path", rule);
    } else if path.split('/').nth(1).is_some_and(|first| OWN_PATHS.contains(&first)) {
        let rule = format!("must not begin with a path of the server: {}", OWN_PATHS.join(", "));
        layers.problem("server.base_path", &rule);
    }
}

/// The file of a Unix socket.
fn check_socket(config: &Config, layers: &mut Layers) {
    let server = &config.server;
    if server.host.strip_prefix("unix:").is_some_and(|path| !path.starts_with('/') || path.ends_with('/')) {
        layers.problem("server.host", "must have an absolute path, as in unix:/run/hyper-chat.sock");
    }
    let is_octal = server.socket_mode.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
    let mode = u32::from_str_radix(&server.socket_mode, 8);
    if !is_octal || !mode.is_ok_and(|mode| (0o200..=0o777).contains(&mode)) {
        layers.problem("server.socket_mode", "must be permissions in octal, as in 0660");
    }
}

/// Usernames are listed to anyone only where no other machine can reach the server, or where the operator says so.
fn check_directory(config: &Config, layers: &mut Layers) {
    let key = "accounts.public_directory";
    let server = &config.server;
    if layers.given(key).is_some() || (is_loopback(&server.host) && server.proxy_hops == 0) {
        return;
    }
    let why = if server.proxy_hops > 0 {
        "server.proxy_hops says that a proxy is in front".to_owned()
    } else if server.socket().is_some() {
        "a Unix socket is there for a proxy".to_owned()
    } else {
        format!("the server listens on {}", server.host)
    };
    let rule = format!("must be decided, since {why}: true lists all usernames to anyone, false asks for a token");
    layers.problem(key, &rule);
}

/// Whether only this machine can reach the address.
fn is_loopback(host: &str) -> bool {
    let address = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    host == "localhost" || address.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
}

fn check_urls(config: &Config, layers: &mut Layers) {
    if !has_scheme(config.database.url.expose_secret(), &["sqlite:", "postgres://", "postgresql://"]) {
        layers.problem("database.url", "must begin with sqlite: or postgres://");
    } else if config.database.kind() == DatabaseKind::Postgres {
        if let Err(rule) = PostgresUrl::parse(config.database.url.expose_secret()) {
            layers.problem("database.url", &rule);
        }
    } else if config.database.kind() == DatabaseKind::Sqlite("".into()) {
        layers.problem("database.url", "must name a file, as in sqlite://hyper_chat.db?mode=rwc");
    } else if let Err(rule) = check_sqlite_parameters(config.database.url.expose_secret()) {
        layers.problem("database.url", &rule);
    } else if config.database.kind() == DatabaseKind::SqliteInMemory && !config.database.unsafe_durability {
        let rule = "names a database in memory, which ends with the process: name a file, or set \
                    database.unsafe_durability=true to accept that";
        layers.problem("database.url", rule);
    }
    if let Some(url) = &config.redis.url
        && !has_scheme(url.expose_secret(), &REDIS_SCHEMES)
    {
        layers.problem(
            "redis.url",
            "must begin with redis:// or rediss://, or with redis+sentinel:// or redis+cluster://",
        );
    } else if config.redis.url.is_some() && is_sqlite(config) {
        layers.problem(
            "redis.url",
            "is for several instances, which need PostgreSQL: set DATABASE_URL, or leave it unset",
        );
    }
    if !has_scheme(&config.fcm.base_url, &["https://", "http://"]) {
        layers.problem("fcm.base_url", "must begin with https:// (or http:// for a stand-in)");
    }
    for (i, origin) in config.server.allowed_origins.iter().enumerate().filter(|(_, origin)| !is_origin(origin)) {
        let rule = format!(
            "must list origins in lower case without a path, as in https://app.example.com, or null, not {origin:?}"
        );
        layers.problem(&format!("server.allowed_origins[{i}]"), &rule);
    }
}

fn is_sqlite(config: &Config) -> bool {
    config.database.url.expose_secret().starts_with("sqlite:")
}

fn has_scheme(url: &str, schemes: &[&str]) -> bool {
    schemes.iter().any(|scheme| url.starts_with(scheme))
}

/// As a browser writes it: `scheme://host[:port]` in lower case, or `null` and `file://` of pages without a host.
fn is_origin(text: &str) -> bool {
    if matches!(text, "null" | "file://") {
        return true;
    }
    let Some((scheme, host)) = text.split_once("://") else { return false };
    !scheme.is_empty() && !host.is_empty() && !text.chars().any(|c| c.is_ascii_uppercase() || c.is_whitespace()) && {
        !host.contains(['/', '?', '#', '@', '*'])
    }
}

fn check_secret(config: &Config, layers: &mut Layers) {
    let shared = match config.database.kind() {
        // Of a URL that names no database its own rule speaks.
        _ if DatabaseKind::of_url(config.database.url.expose_secret()).is_none() => None,
        DatabaseKind::Postgres => Some("PostgreSQL"),
        _ if config.redis.url.is_some() => Some("Redis"),
        _ => None,
    };
    match (&config.auth.jwt_secret, shared) {
        (Some(secret), _) if !is_long_enough(secret) => {
            let rule = format!("must have at least {SECRET_BYTES_MIN} bytes; `openssl rand -base64 48` makes one");
            layers.problem("auth.jwt_secret", &rule);
        }
        (None, Some(with)) => layers.problem("auth.jwt_secret", &required_with(with)),
        _ => {}
    }
    for (i, _) in config.auth.jwt_secrets_old.iter().enumerate().filter(|(_, secret)| !is_long_enough(secret)) {
        let rule = format!("must list secrets of at least {SECRET_BYTES_MIN} bytes each; number {} is shorter", i + 1);
        layers.problem(&format!("auth.jwt_secrets_old[{i}]"), &rule);
    }
}

/// Whether a secret may sign tokens.
pub(super) fn is_long_enough(secret: &SecretString) -> bool {
    secret.expose_secret().len() >= SECRET_BYTES_MIN
}

fn required_with(what: &str) -> String {
    format!(
        "must be set with {what}, the same on every instance: at least {SECRET_BYTES_MIN} bytes; \
         `openssl rand -base64 48` makes one"
    )
}

/// The refusal for a missing secret, naming its key.
pub(super) fn secret_required(with: &str) -> String {
    format!("{}: {}", variable("auth.jwt_secret"), required_with(with))
}
