//! Use cases that REST and the cluster share: each changes the database, then brings the change to rooms and sockets.

pub mod accounts;
pub mod chatrooms;

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
    pub store: Arc<Store>,
    pub registry: Arc<Registry>,
    pub connections: Arc<ConnectionRegistry>,
    pub broadcaster: Broadcaster,
    pub broker: Arc<dyn Broker>,
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
