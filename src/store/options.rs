//! The settings with which `app` opens the store.

use std::time::Duration;

/// How to open the database.
#[derive(Clone, Debug)]
pub struct Options {
    /// `sqlite:…` or `postgres://…`.
    pub url: String,
    /// Bring the schema up to date; otherwise an outdated schema is refused.
    pub migrate: bool,
    /// How long to wait for another instance that is bringing the schema up to date.
    pub migration_wait: Duration,
    /// The most connections to PostgreSQL.
    pub connections_max: u32,
    /// Whether this instance exchanges messages with others, that is, whether REDIS_URL is set.
    pub has_broker: bool,
    /// Start although a crash of the database's machine could lose acknowledged chats.
    pub unsafe_durability: bool,
    /// How long a push waits for the receiver's socket to confirm the chat.
    pub push_grace: Duration,
}
