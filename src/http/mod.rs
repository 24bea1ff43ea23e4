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
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::auth::password::Passwords;
use crate::auth::token::Tokens;
use crate::connections::registry::ConnectionRegistry;
use crate::limits::Limits;
use crate::metrics::Counts;
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
    /// Limits the sockets that read the database at once to sign in or catch up, so that other readers get connections.
    pub turns: Arc<Semaphore>,
    /// Set on SIGTERM: the instance is not ready and admits no new sockets. It takes chats until the sockets are
    /// closed.
    pub draining: Arc<AtomicBool>,
    /// Counts refused requests by code.
    pub refused: Counts,
    /// Counts the outcomes of pushes.
    pub notifier: Arc<NotifierSupervisor>,
}

impl State {
    fn session_parts(&self) -> sessions::Parts {
        sessions::Parts {
            store: self.store.clone(),
            registry: self.registry.clone(),
            connections: self.connections.clone(),
            limits: self.limits.clone(),
            tokens: self.tokens.clone(),
            turns: self.turns.clone(),
        }
    }
}
