//! The parts of an instance that keep it in step with others: the broker, the cluster, the change feed.

use std::sync::Arc;
use std::time::Duration;

use actix_web::rt::time::sleep;
use actix_web::web;
use secrecy::ExposeSecret;

use super::RunError;
use crate::broker;
use crate::broker::Broker;
use crate::broker::redis::{RedisBroker, RedisWorker, Settings};
use crate::cluster;
use crate::cluster::Cluster;
use crate::cluster::access::AccessCheck;
use crate::cluster::presence::Presence;
use crate::cluster::receipts::Receipts;
use crate::config::{Config, SigningSecrets};
use crate::http::State;
use crate::store::Store;
use crate::store::change_feed::FeedPosition;

/// The pause between two attempts to read the position of the change feed.
const RETRY_AFTER: Duration = Duration::from_millis(500);

/// The part that handles the messages of the other instances and polls the database.
pub(super) fn cluster(
    config: &Config,
    state: &web::Data<State>,
    receipts: &Arc<Receipts>,
    presence: &Arc<Presence>,
    access: &Arc<AccessCheck>,
) -> Arc<Cluster> {
    let cluster = Cluster::new(cluster::Parts {
        store: state.store.clone(),
        registry: state.registry.clone(),
        connections: state.connections.clone(),
        broker: state.broker.clone(),
        presence_changes: state.presence_changes.clone(),
        receipts: receipts.clone(),
        presence: presence.clone(),
        access: access.clone(),
        service: state.service.clone(),
        poll_every: Duration::from_millis(config.redis.look_ms),
    });
    state.store.epochs().observe(cluster.clone());
    cluster
}

/// Opens the broker to the other instances, with the worker that receives; a single instance has no worker.
pub(super) fn open_broker(
    config: &Config,
    secrets: &SigningSecrets,
    store: &Store,
) -> Result<(Arc<dyn Broker>, Option<RedisWorker>), RunError> {
    let Some(settings) = redis_settings(config) else { return Ok((broker::single(), None)) };
    let settings = Settings { epochs: store.epochs().clone(), ..settings };
    let keys: Vec<&[u8]> = secrets.all().map(|secret| secret.expose_secret().as_bytes()).collect();
    let (broker, worker) = RedisBroker::open(&settings, &keys)?;
    Ok((broker, Some(worker)))
}

/// Refuses a URL of Redis that can never work, before the start waits for the database.
pub(super) fn check_broker(config: &Config) -> Result<(), RunError> {
    Ok(redis_settings(config).map_or(Ok(()), |settings| RedisBroker::check(&settings))?)
}

fn redis_settings(config: &Config) -> Option<Settings> {
    let url = config.redis.url.clone()?;
    let (insecure_tls, prefix) = (config.redis.insecure_tls, config.redis.prefix.clone());
    Some(Settings { insecure_tls, prefix, ..Settings::new(url) })
}

/// The position of the change feed at the start; tries again while the database does not answer.
pub(super) async fn feed_position(state: &State) -> FeedPosition {
    loop {
        match state.store.feed_position().await {
            Ok(position) => return position,
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "the start waits for the database");
                sleep(RETRY_AFTER).await;
            }
        }
    }
}
