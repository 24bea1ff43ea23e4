//! REST and the upgrades to WebSocket: reads requests, calls `service`, the store or a room, and writes answers. It
//! decides nothing about chats.

mod access_log;
mod account_update;
mod accounts;
mod answer;
mod auth_sessions;
pub mod base_path;
mod body;
mod chatrooms;
mod chats;
mod cors;
mod demo;
pub mod documents;
mod extract;
mod health;
mod history;
mod metrics;
#[cfg(test)]
mod openapi;
pub mod origin;
mod paging;
pub mod places;
mod refusal;
pub mod routes;
mod search;
pub mod search_turns;
mod sign_in;
mod socket;
mod static_text;

use std::sync::Arc;
use std::time::Duration;

use self::origin::Origins;
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
use crate::service::bearers::Bearers;
use crate::sessions;
use crate::store::Store;
use crate::telemetry::audit::Audit;
use search_turns::SearchTurns;

/// The configured rules of the handlers.
#[derive(Clone, Debug)]
pub struct Rules {
    /// The other origins whose pages may connect.
    pub origins: Arc<Origins>,
    /// The number of reverse proxies in front that add to `X-Forwarded-For`.
    pub proxy_hops: usize,
    /// Whether anyone may sign up; otherwise a token of the scope `sign_up` is needed.
    pub open_sign_up: bool,
    /// From a sign-in or a refresh until the sign-in ends by itself.
    pub session_ttl: Duration,
    /// The most sign-ins of a chatter; one more ends the one used longest ago. 0 = no limit.
    pub sessions_per_chatter: u32,
    /// Whether the directory answers without a token.
    pub public_directory: bool,
    /// What the deletion of an account does to its rooms.
    pub deletion: Deletion,
    /// Bytes that may wait for a slow socket before it is closed with 4508.
    pub socket_queue_bytes: usize,
    /// The largest message that a socket accepts, in bytes; a larger one closes it with 1009.
    pub frame_bytes: usize,
    /// The largest body that a request may have, in bytes; a larger one is refused as `too_large`.
    pub body_bytes: usize,
}

/// The parts that the handlers share.
pub struct State {
    /// The database, for reads, sign-ups and sign-ins; changes of rooms go through `service` or `registry`.
    pub store: Arc<Store>,
    /// Brings commands to the room actors of this instance.
    pub registry: Arc<Registry>,
    /// The sockets that are open on this instance, for the metrics, the drain and the cluster.
    pub connections: Arc<ConnectionRegistry>,
    /// The use cases of accounts and rooms that the cluster shares.
    pub service: Arc<Service>,
    /// The rate limits, which count on this instance alone.
    pub limits: Arc<Limits>,
    /// Turns at reading a page and encoding it.
    pub lists: Arc<sessions::turns::Turns>,
    /// The large answers that clients are reading.
    pub places: Arc<places::Places>,
    /// Searches one after the other.
    pub search_turns: Arc<SearchTurns>,
    /// Computes and verifies password hashes on threads of its own.
    pub passwords: Passwords,
    /// Issues tokens at sign-in.
    pub tokens: Arc<Tokens>,
    /// Verifies the tokens of requests, of whoever issued them.
    pub bearers: Arc<Bearers>,
    /// The part of the configuration that handlers read.
    pub rules: Rules,
    /// Reaches the sockets of a chatter on all instances.
    pub broadcaster: Broadcaster,
    /// Carries messages to the other instances; `/readyz` shows its state.
    pub broker: Arc<dyn Broker>,
    /// Chatters whose first socket was opened here or whose last one was closed; the cluster reads it.
    pub presence_changes: Arc<PresenceChanges>,
    /// Whether this instance still takes sockets and chats.
    pub drain: Arc<DrainFlag>,
    /// The parts that sockets use.
    pub sessions: Arc<sessions::Parts>,
    /// The counts of rooms and sockets.
    pub delivery_metrics: Arc<DeliveryMetrics>,
    /// Requests that were refused.
    pub refused: Counts,
    /// Writes the lines for audits.
    pub audit: Arc<Audit>,
    /// Counts the outcomes of pushes.
    pub notifier: Arc<NotifierSupervisor>,
}
