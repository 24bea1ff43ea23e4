//! The keys of `config.default.toml`, and each key by name in a loaded configuration.

use hyper_chat::config::{Config, DEFAULTS, Deletion, Issuer, LogFormat, SignUp};
use secrecy::ExposeSecret;

use crate::SECRET;

/// One key as `config.default.toml` has it.
pub struct Key {
    pub key: String,
    pub default: String,
    pub meaning: String,
}

impl Key {
    pub fn variable(&self) -> String {
        format!("HYPER_CHAT__{}", self.key.to_uppercase().replace('.', "__"))
    }
}

pub fn keys() -> Vec<Key> {
    let (mut keys, mut section, mut comment) = (Vec::new(), String::new(), Vec::new());
    for line in DEFAULTS.lines().map(str::trim) {
        if let Some(text) = line.strip_prefix('#') {
            comment.push(text.trim().to_owned());
        } else if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = name.to_owned();
        } else if let Some((name, default)) = line.split_once('=') {
            let (key, default) = (format!("{section}.{}", name.trim()), default.trim().to_owned());
            keys.push(Key { key, default, meaning: comment.join(" ") });
            comment.clear();
        } else {
            comment.clear();
        }
    }
    keys
}

/// A key's value as text; every key of the defaults must be here.
pub fn shown(config: &Config, key: &str) -> String {
    let Config { server, database, redis, auth, accounts, limits, fcm, push, log, cleanup, .. } = config;
    match key {
        "server.host" => server.host.clone(),
        "server.socket_mode" => server.socket_mode.clone(),
        "server.base_path" => server.base_path.clone(),
        "server.port" => server.port.to_string(),
        "server.allowed_origins" => server.allowed_origins.join(","),
        "server.workers" => server.workers.to_string(),
        "server.proxy_hops" => server.proxy_hops.to_string(),
        "server.drain_ms" => server.drain_ms.to_string(),
        "database.url" => database.url.expose_secret().to_owned(),
        "database.migrate_on_start" => database.migrate_on_start.to_string(),
        "database.migration_wait_s" => database.migration_wait_s.to_string(),
        "database.connections_max" => database.connections_max.to_string(),
        "database.unsafe_durability" => database.unsafe_durability.to_string(),
        "redis.url" => redis.url.as_ref().map(|url| url.expose_secret().to_owned()).unwrap_or_default(),
        "redis.insecure_tls" => redis.insecure_tls.to_string(),
        "redis.prefix" => redis.prefix.clone(),
        "redis.look_ms" => redis.look_ms.to_string(),
        "auth.jwt_secret" => auth.jwt_secret.as_ref().map(|s| s.expose_secret().to_owned()).unwrap_or_default(),
        "auth.jwt_secrets_old" => {
            auth.jwt_secrets_old.iter().map(ExposeSecret::expose_secret).collect::<Vec<_>>().join(",")
        }
        "auth.jwt_issuer" => auth.jwt_issuer.clone(),
        "auth.jwt_audience" => auth.jwt_audience.clone(),
        "auth.issuers" => {
            let shown = |one: &Issuer| format!("[{{issuer = {:?}, audience = {:?}}}]", one.issuer, one.audience[0]);
            auth.issuers.iter().map(shown).collect::<String>()
        }
        "auth.token_ttl_s" => auth.token_ttl_s.to_string(),
        "auth.refresh_days" => auth.refresh_days.to_string(),
        "auth.argon2_memory_kib" => auth.argon2_memory_kib.to_string(),
        "auth.argon2_iterations" => auth.argon2_iterations.to_string(),
        "auth.argon2_parallelism" => auth.argon2_parallelism.to_string(),
        "auth.hashes_at_once" => auth.hashes_at_once.to_string(),
        "auth.hashes_queued_max" => auth.hashes_queued_max.to_string(),
        "accounts.sign_up" => if accounts.sign_up == SignUp::Open { "open" } else { "closed" }.to_owned(),
        "accounts.public_directory" => accounts.public_directory.to_string(),
        "accounts.deletion" => if accounts.deletion == Deletion::Cascade { "cascade" } else { "anonymise" }.to_owned(),
        "limits.send_per_s" => limits.send_per_s.to_string(),
        "limits.sign_in_per_min" => limits.sign_in_per_min.to_string(),
        "limits.sign_up_per_min" => limits.sign_up_per_min.to_string(),
        "limits.searches_per_min" => limits.searches_per_min.to_string(),
        "limits.rooms_per_hour" => limits.rooms_per_hour.to_string(),
        "limits.token_moves_per_day" => limits.token_moves_per_day.to_string(),
        "limits.open_pages_per_min" => limits.open_pages_per_min.to_string(),
        "limits.refresh_per_min" => limits.refresh_per_min.to_string(),
        "limits.sessions_per_chatter" => limits.sessions_per_chatter.to_string(),
        "limits.sockets_per_chatter" => limits.sockets_per_chatter.to_string(),
        "limits.socket_queue_bytes" => limits.socket_queue_bytes.to_string(),
        "limits.frame_bytes" => limits.frame_bytes.to_string(),
        "limits.body_bytes" => limits.body_bytes.to_string(),
        "fcm.service_account" => fcm.service_account.as_ref().map(|p| p.display().to_string()).unwrap_or_default(),
        "fcm.base_url" => fcm.base_url.clone(),
        "push.grace_ms" => push.grace_ms.to_string(),
        "push.lease_ms" => push.lease_ms.to_string(),
        "push.expiry_h" => push.expiry_h.to_string(),
        "log.filter" => log.filter.clone(),
        "log.format" => if log.format == LogFormat::Json { "json" } else { "text" }.to_owned(),
        "cleanup.interval_s" => cleanup.interval_s.to_string(),
        other => panic!("{other} stands in config.default.toml: add it to `shown` in tests/config/keys.rs"),
    }
}

/// Another valid value of the key.
pub fn another(key: &Key) -> String {
    match key.key.as_str() {
        "server.host" => "127.0.0.9".to_owned(),
        "server.socket_mode" => "0600".to_owned(),
        "server.base_path" => "/team/chat".to_owned(),
        "server.allowed_origins" => "https://a.example,http://b.example:81".to_owned(),
        "database.url" => "sqlite://other.db".to_owned(),
        "auth.jwt_secret" => SECRET.to_owned(),
        "accounts.sign_up" => "closed".to_owned(),
        "auth.jwt_secrets_old" => format!("{SECRET},another-{SECRET}"),
        "auth.issuers" => "[{issuer = \"https://id.example.com\", audience = \"chat\"}]".to_owned(),
        "accounts.deletion" => "cascade".to_owned(),
        "fcm.base_url" => "http://127.0.0.1:9".to_owned(),
        "log.format" => "json".to_owned(),
        _ => match key.default.as_str() {
            "true" => "false".to_owned(),
            "false" => "true".to_owned(),
            text if text.starts_with('"') => "other".to_owned(),
            number => (number.parse::<i64>().expect("a number") + 1).to_string(),
        },
    }
}

pub fn in_file(key: &Key, value: &str) -> String {
    let (section, name) = key.key.split_once('.').expect("a key has a section");
    let value = match key.default.as_bytes()[0] {
        b'[' if value.starts_with('[') => value.to_owned(),
        b'[' => format!("[\"{}\"]", value.replace(',', "\",\"")),
        b'"' => format!("\"{value}\""),
        _ => value.to_owned(),
    };
    format!("[{section}]\n{name} = {value}\n")
}
