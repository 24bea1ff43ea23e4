//! How instances reach each other: the contract of a broker, the messages that it carries, and its implementations.
//!
//! Messages are addressed to chatters. They are hints, never the truth: what a message says is in the database already,
//! and each message may get lost on the way.

mod envelope;
mod message;
pub mod redis;
mod single_instance;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;

pub use message::{Changes, ClusterMessage, Durability, EVERY_INSTANCE};

use crate::domain::ChatterId;
use crate::metrics::BrokerMetrics;

/// The way to the other instances, and the directory of the chatters who are connected to them.
///
/// Two things are counted per chatter, each on its own: subscriptions, which decide what this instance receives, and
/// joins, which the other instances see in the presence directory.
pub trait Broker: Send + Sync {
    /// Publishes a message to the other instances. Never waits: the message is dropped and counted where the queue is
    /// full or Redis is away.
    fn publish(&self, message: ClusterMessage);

    /// Subscribes to the messages for a chatter, from the call on, whether or not the answer is awaited. The answer is
    /// true once the subscription is confirmed.
    ///
    /// It is false after 500 ms or when Redis is away. The chatter is then subscribed as soon as Redis is back, before
    /// [`BrokerEventHandler::on_reconnected`]. Each call, whatever it answered, takes one [`Broker::unsubscribe`] to
    /// undo.
    fn subscribe(&self, chatter: ChatterId) -> BoxFuture<'static, bool>;

    /// Undoes one [`Broker::subscribe`].
    fn unsubscribe(&self, chatter: ChatterId);

    /// Adds a connection of this chatter to the presence directory, where the other instances see it a moment later.
    /// Never waits.
    fn join(&self, chatter: ChatterId);

    /// Undoes one [`Broker::join`].
    fn leave(&self, chatter: ChatterId);

    /// Whether the chatter was connected to another instance already when they joined here, as far as is known. Where a
    /// chatter joins two instances at once, exactly one of these is the first.
    #[must_use]
    fn was_connected_elsewhere(&self, chatter: ChatterId) -> bool;

    /// Those of these chatters who are connected to another instance: one request for all, 300 ms at most. `None` where
    /// the directory cannot be read.
    fn connected_elsewhere<'a>(&'a self, chatters: &'a [ChatterId]) -> BoxFuture<'a, Option<HashSet<ChatterId>>>;

    /// Claims some chatters of an instance that died. No other instance can claim from it meanwhile. The caller handles
    /// them and then calls [`Broker::release_orphans`].
    fn claim_orphans(&self) -> BoxFuture<'_, Option<Orphans>>;

    /// Removes claimed chatters from the directory. The answer is false if that failed: they will be claimed again.
    fn release_orphans<'a>(&'a self, orphans: &'a Orphans) -> BoxFuture<'a, bool>;

    /// Announces that this instance ends soon. Chatters who do not reconnect elsewhere by then are left as orphans.
    fn leave_all(&self);

    /// Whether the other instances can be reached, as far as is known.
    #[must_use]
    fn state(&self) -> State;

    /// Whether the presence directory can be read, if there are other instances.
    #[must_use]
    fn directory_is_up(&self) -> bool;

    /// Counted so far.
    #[must_use]
    fn metrics(&self) -> &BrokerMetrics;
}

/// Handles messages, and changes of the connection to Redis. The broker's tasks call it, so it must not wait.
pub trait BrokerEventHandler: Send + Sync {
    /// A message for a subscribed chatter; called once, also when the message is for two of them. Messages of one
    /// instance come in the order in which it published them.
    fn on_message(&self, message: ClusterMessage);
    /// The subscriptions were established, at first or again: messages may have been missed.
    fn on_reconnected(&self);
    /// The subscriptions broke: messages will be missed.
    fn on_disconnected(&self);
    /// The other instances presumed this one dead: they may show its chatters as offline.
    fn on_presumed_dead(&self);
}

/// Whether the other instances can be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// There are no others.
    Single,
    /// Redis answers.
    Up,
    /// Redis does not answer; also before the first connection.
    Away {
        /// When it was lost.
        since: Instant,
        /// Why, as far as an operator can do something about it.
        why: Why,
    },
}

/// Why Redis cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// It does not answer, or cannot be reached.
    Unreachable,
    /// It refuses the name or the password of its URL.
    Refused,
    /// The server is a replica, such as an old primary after a failover.
    Replica,
}

/// Chatters of an instance that died, claimed by this one.
#[derive(Debug)]
pub struct Orphans {
    /// The chatters. Some may be connected to another instance by now.
    pub chatters: Vec<ChatterId>,
    /// How long ago their instance gave its last sign of life.
    pub silent: Duration,
    /// The directory's name of the dead instance.
    pub instance: String,
    /// The directory's entries, including those that are no chatter ids.
    pub entries: Vec<Vec<u8>>,
}

/// The broker of an instance without others.
#[must_use]
pub fn single() -> Arc<dyn Broker> {
    Arc::new(single_instance::SingleInstance::default())
}
