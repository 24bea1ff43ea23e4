//! The parts that find, fill and end sockets, and the share of them that rooms, presence, use cases and sessions get.

use std::sync::Arc;
use std::time::Duration;

use crate::broker::Broker;
use crate::cluster::presence;
use crate::cluster::presence::Presence;
use crate::config::Config;
use crate::connections::admission::Admission;
use crate::connections::broadcaster::Broadcaster;
use crate::connections::drain_flag::DrainFlag;
use crate::connections::presence_changes::PresenceChanges;
use crate::connections::registry::ConnectionRegistry;
use crate::limits::Limits;
use crate::metrics::DeliveryMetrics;
use crate::problem::Code;
use crate::push::notifier::supervisor::NotifierSupervisor;
use crate::rooms::host::RoomParts;
use crate::rooms::registry::Registry;
use crate::service::Service;
use crate::service::bearers::Bearers;
use crate::sessions;
use crate::sessions::turns::Turns;
use crate::store::{Shares, Store};
use crate::websocket::framing::Close;

/// A room without commands for this long stops and frees its memory.
const ROOM_IDLE: Duration = Duration::from_secs(60);

/// One of each for the whole instance.
pub(super) struct Sockets {
    pub connections: Arc<ConnectionRegistry>,
    pub broadcaster: Broadcaster,
    pub broker: Arc<dyn Broker>,
    pub presence_changes: Arc<PresenceChanges>,
    pub drain: Arc<DrainFlag>,
    pub metrics: Arc<DeliveryMetrics>,
}

impl Sockets {
    pub(super) fn new(config: &Config, broker: Arc<dyn Broker>) -> Self {
        let connections = Arc::new(ConnectionRegistry::new(config.limits.sockets_per_chatter));
        Self {
            broadcaster: Broadcaster::new(connections.clone(), broker.clone()),
            connections,
            broker,
            presence_changes: Arc::default(),
            drain: Arc::default(),
            metrics: Arc::new(DeliveryMetrics::new(Code::ALL.len(), Close::ALL.len())),
        }
    }

    pub(super) fn room_parts(&self, store: &Arc<Store>, notifier: &Arc<NotifierSupervisor>) -> RoomParts {
        RoomParts {
            store: store.clone(),
            connections: self.connections.clone(),
            broadcaster: self.broadcaster.clone(),
            broker: self.broker.clone(),
            metrics: self.metrics.clone(),
            notifier: notifier.clone(),
            idle: ROOM_IDLE,
        }
    }

    pub(super) fn presence(&self, store: &Arc<Store>) -> Arc<Presence> {
        Presence::new(presence::Parts {
            store: store.clone(),
            connections: self.connections.clone(),
            broadcaster: self.broadcaster.clone(),
            broker: self.broker.clone(),
            changes: self.presence_changes.clone(),
            drain: self.drain.clone(),
        })
    }

    pub(super) fn service(&self, store: &Arc<Store>, rooms: &Arc<Registry>) -> Service {
        Service {
            store: store.clone(),
            registry: rooms.clone(),
            connections: self.connections.clone(),
            broadcaster: self.broadcaster.clone(),
            broker: self.broker.clone(),
            presence_changes: self.presence_changes.clone(),
        }
    }

    pub(super) fn session_parts(
        &self,
        config: &Config,
        store: &Arc<Store>,
        rooms: &Arc<Registry>,
        limits: &Arc<Limits>,
        bearers: &Arc<Bearers>,
    ) -> Arc<sessions::Parts> {
        let (connections, shares) = (self.connections.clone(), Shares::of(config.database.connections_max));
        Arc::new(sessions::Parts {
            store: store.clone(),
            rooms: rooms.clone(),
            admission: Admission::new(connections.clone(), self.broker.clone(), self.presence_changes.clone()),
            connections,
            limits: limits.clone(),
            bearers: bearers.clone(),
            drain: self.drain.clone(),
            // One connection that reads is left to REST.
            turns: Arc::new(Turns::new((shares.reads as usize - 1).max(1))),
            bulk: Arc::default(),
        })
    }
}
