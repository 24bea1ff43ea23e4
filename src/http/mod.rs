//! REST and the upgrades to WebSocket: reads requests, calls `service`, the store or a room, and writes answers. It
//! decides nothing about chats.

mod access_log;
mod accounts;
mod chatrooms;
mod chats;
mod demo;
pub mod documents;
mod extract;
mod health;
mod history;
mod metrics;
#[cfg(test)]
mod openapi;
mod origin;
mod paging;
mod refusal;
pub mod routes;
mod sign_in;
mod socket;
mod static_text;

use std::sync::Arc;
use std::time::Duration;

use crate::auth::password::Passwords;
use crate::auth::token::Tokens;
use crate::broker::Broker;
use crate::connections::broadcaster::Broadcaster;
use crate::connections::drain_flag::DrainFlag;
use crate::connections::presence_changes::PresenceChanges;
use crate::connections::registry::ConnectionRegistry;
use crate::limits::Limits;
use crate::metrics::{Counts, DeliveryMetrics};
use crate::push::notifier::supervisor::NotifierSupervisor;
use crate::rooms::registry::Registry;
use crate::service::Service;
use crate::service::accounts::Deletion;
use crate::sessions;
use crate::store::Store;

/// The configured rules of the handlers.
#[derive(Clone, Debug)]
pub struct Rules {
    pub allowed_origins: Vec<String>,
    /// The number of reverse proxies in front that add to `X-Forwarded-For`.
    pub proxy_hops: usize,
    pub token_ttl: Duration,
    pub public_directory: bool,
    pub deletion: Deletion,
    pub socket_queue_bytes: usize,
    pub frame_bytes: usize,
    pub body_bytes: usize,
}

/// The parts that the handlers share.
pub struct State {
    pub store: Arc<Store>,
    pub registry: Arc<Registry>,
    pub connections: Arc<ConnectionRegistry>,
    pub service: Arc<Service>,
    pub limits: Arc<Limits>,
    pub passwords: Passwords,
    pub tokens: Arc<Tokens>,
    pub rules: Rules,
    pub broadcaster: Broadcaster,
    pub broker: Arc<dyn Broker>,
    pub presence_changes: Arc<PresenceChanges>,
    pub drain: Arc<DrainFlag>,
    /// The parts that sockets use.
    pub sessions: Arc<sessions::Parts>,
    /// The counts of rooms and sockets.
    pub delivery_metrics: Arc<DeliveryMetrics>,
    /// Requests that were refused.
    pub refused: Counts,
    /// Counts the outcomes of pushes.
    pub notifier: Arc<NotifierSupervisor>,
}
