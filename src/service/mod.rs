//! Use cases that REST and the cluster share: each changes the database, then brings the change to rooms and sockets.

pub mod accounts;
pub mod bearers;
pub mod chatrooms;
mod deletions;
pub mod sign_ins;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::broker::Broker;
use crate::connections::broadcaster::Broadcaster;
use crate::connections::presence_changes::PresenceChanges;
use crate::connections::registry::ConnectionRegistry;
use crate::problem::Problem;
use crate::rooms::registry::Registry;
use crate::store::Store;

/// How long a request waits for a room before it is answered `unavailable`; the store's own deadline is shorter.
const ROOM_DEADLINE: Duration = Duration::from_millis(2_900);

/// The parts that the use cases work with.
pub struct Service {
    /// The database, which each use case changes first.
    pub store: Arc<Store>,
    /// Brings commands to the room actors of this instance.
    pub registry: Arc<Registry>,
    /// The sockets that are open on this instance.
    pub connections: Arc<ConnectionRegistry>,
    /// Reaches the sockets of a chatter on all instances.
    pub broadcaster: Broadcaster,
    /// Announces new rooms to the other instances.
    pub broker: Arc<dyn Broker>,
    /// Takes the chatters whose presence has to be sent anew.
    pub presence_changes: Arc<PresenceChanges>,
}

/// Waits for a room's answer. Without one the outcome is unknown: the room failed, or the database is slower than the
/// deadline.
pub async fn answered<T>(answer: oneshot::Receiver<Result<T, Problem>>) -> Result<T, Problem> {
    match tokio::time::timeout(ROOM_DEADLINE, answer).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(_)) | Err(_) => Err(Problem::unavailable()),
    }
}
