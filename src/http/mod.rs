//! REST and the upgrade to WebSocket: reads requests, asks the store or a room, writes answers. Decides nothing about chats.

mod access_log;
mod accounts;
mod asyncapi;
pub mod chatrooms;
mod chats;
mod demo;
pub mod documents;
mod extract;
mod health;
mod history;
mod metrics;
mod openapi;
mod origin;
mod paging;
mod problem_response;
pub mod routes;
mod schemas;
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
use crate::sessions;
use crate::store::Store;

/// How long a REST request waits for a room before it answers `unavailable`; the store's own deadline is shorter.
const ROOM_DEADLINE: Duration = Duration::from_millis(2_900);

/// What deleting an account means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deletion {
    /// The row stays as `deleted-N` and the other side keeps the conversation.
    Anonymise,
    /// Everything goes, rooms included.
    Cascade,
}

/// The rules that handlers need.
#[derive(Clone, Debug)]
pub struct Rules {
    pub allowed_origins: Vec<String>,
    /// Reverse proxies in front that add to `X-Forwarded-For`.
    pub proxy_hops: usize,
    pub token_ttl: Duration,
    pub public_directory: bool,
    pub deletion: Deletion,
    pub socket_queue_bytes: usize,
    pub frame_bytes: usize,
    pub body_bytes: usize,
}

/// What the handlers share.
pub struct State {
    pub store: Arc<Store>,
    pub registry: Arc<Registry>,
    pub connections: Arc<ConnectionRegistry>,
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
    /// What became of the pushes.
    pub notifier: Arc<NotifierSupervisor>,
}
