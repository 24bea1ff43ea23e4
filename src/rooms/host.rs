//! The interface between a room and the registry: what the registry gives a room, and what a room asks of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use crate::broker::Broker;
use crate::connections::broadcaster::Broadcaster;
use crate::connections::registry::ConnectionRegistry;
use crate::delivery::order::Head;
use crate::domain::ChatroomId;
use crate::metrics::DeliveryMetrics;
use crate::push::notifier::supervisor::NotifierSupervisor;
use crate::store::Store;

/// What a room asks of the registry that started it.
pub trait RoomHost: Send + Sync {
    /// Takes an idle room out of the registry, unless a command for it is in flight. The room stops if this is true.
    #[must_use]
    fn retire(&self, id: ChatroomId, delivered: &Delivered) -> bool;

    /// Has the room read the database for changes that were stored but never delivered; starts it if need be.
    fn catch_up(&self, id: ChatroomId);
}

/// The parts of the instance that every room uses.
#[derive(Clone)]
pub struct RoomParts {
    /// Loads the room, stores its chats, and reads the changes that the room missed.
    pub store: Arc<Store>,
    /// The sockets on this instance, to which the room delivers its changes.
    pub connections: Arc<ConnectionRegistry>,
    /// Sends typing and the room's deletion to sockets on all instances.
    pub broadcaster: Broadcaster,
    /// Publishes the room's changes to the other instances.
    pub broker: Arc<dyn Broker>,
    /// Counts what all rooms of the instance delivered, published and received.
    pub metrics: Arc<DeliveryMetrics>,
    /// Gets a hint when a receiver of a new chat has no socket on this instance.
    pub notifier: Arc<NotifierSupervisor>,
    /// A room without any activity for this long retires.
    pub idle: Duration,
}

/// The head that a room has delivered to its connections. The registry keeps it in case the room panics.
#[derive(Clone, Default)]
pub struct Delivered(Arc<Mutex<Option<Head>>>);

impl Delivered {
    /// The head, if the room ever delivered one.
    #[must_use]
    pub fn get(&self) -> Option<Head> {
        *self.0.lock()
    }

    /// Records the head.
    pub fn set(&self, head: Head) {
        *self.0.lock() = Some(head);
    }

    /// Whether both belong to the same start of a room.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

/// How many commands a room has been sent and has not handled yet.
#[derive(Clone, Default)]
pub struct InFlight(Arc<AtomicUsize>);

impl InFlight {
    /// Counts one more command until the guard is dropped.
    #[must_use]
    pub fn enter(&self) -> InFlightGuard {
        self.0.fetch_add(1, Ordering::AcqRel);
        InFlightGuard(self.0.clone())
    }

    /// The commands that are not handled yet.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.load(Ordering::Acquire)
    }
}

/// Counts a command from the moment it is sent until the room has handled it, even if the handler panics.
pub struct InFlightGuard(Arc<AtomicUsize>);

impl Drop for InFlightGuard {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}
