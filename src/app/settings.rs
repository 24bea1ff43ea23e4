//! The configuration, translated into the settings of each part: no part but `app` knows the whole of it.

use std::sync::Arc;
use std::time::Duration;

use secrecy::ExposeSecret;

use crate::config::{self, Config};
use crate::http::Rules;
use crate::http::origin::Origins;
use crate::push::{fcm, notifier};
use crate::service::accounts::Deletion;
use crate::store::Options;

pub(super) fn store(config: &Config) -> Options {
    Options {
        url: config.database.url.expose_secret().to_owned(),
        migrate: config.database.migrate_on_start,
        migration_wait: Duration::from_secs(config.database.migration_wait_s),
        connections_max: config.database.connections_max,
        has_broker: config.redis.url.is_some(),
        unsafe_durability: config.database.unsafe_durability,
        push_grace: Duration::from_millis(config.push.grace_ms),
    }
}

pub(super) fn notifier(config: &Config) -> notifier::Settings {
    notifier::Settings {
        grace: Duration::from_millis(config.push.grace_ms),
        lease: Duration::from_millis(config.push.lease_ms),
        expiry: Duration::from_secs(config.push.expiry_h * 3_600),
        ..notifier::Settings::default()
    }
}

pub(super) fn fcm(config: &Config) -> fcm::Settings {
    fcm::Settings {
        service_account: config.fcm.service_account.clone(),
        base_url: config.fcm.base_url.clone(),
        ..fcm::Settings::default()
    }
}

pub(super) fn token_ttl(config: &Config) -> Duration {
    Duration::from_secs(config.auth.token_ttl_s)
}

pub(super) fn origins(config: &Config) -> Origins {
    Origins::new(&config.server.allowed_origins, config.server.proxy_hops)
}

pub(super) fn http(config: &Config) -> Rules {
    Rules {
        origins: Arc::new(origins(config)),
        proxy_hops: config.server.proxy_hops,
        token_ttl: token_ttl(config),
        open_sign_up: config.accounts.sign_up == config::SignUp::Open,
        public_directory: config.accounts.public_directory,
        deletion: match config.accounts.deletion {
            config::Deletion::Anonymise => Deletion::Anonymise,
            config::Deletion::Cascade => Deletion::Cascade,
        },
        socket_queue_bytes: config.limits.socket_queue_bytes,
        frame_bytes: config.limits.frame_bytes,
        body_bytes: config.limits.body_bytes,
    }
}
