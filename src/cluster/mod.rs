//! Keeps this instance in step with the others: takes their messages to its rooms and connections, and polls the
//! database for whatever messages did not bring.

pub mod access;
mod poll;
pub mod presence;
pub mod receipts;
mod room_changes;
mod silence;

use std::sync::Arc;
use std::time::Duration;

use crate::broker::redis::RedisWorker;
use crate::broker::{Broker, BrokerEventHandler, ClusterMessage, EVERY_INSTANCE};
use crate::connections::presence_changes::PresenceChanges;
use crate::connections::registry::ConnectionRegistry;
use crate::rooms::command::Command;
use crate::rooms::registry::Registry;
use crate::service::Service;
use crate::store::Store;
use crate::store::change_feed::FeedPosition;
use crate::store::epoch::EpochObserver;
use crate::websocket::framing::raw_text_frame;
use access::AccessCheck;
use poll::Poller;
use presence::Presence;
use receipts::Receipts;
use room_changes::RoomChanges;

/// Handles the messages of the other instances.
pub struct Cluster {
    connections: Arc<ConnectionRegistry>,
    broker: Arc<dyn Broker>,
    presence_changes: Arc<PresenceChanges>,
    rooms: Arc<Registry>,
    receipts: Arc<Receipts>,
    presence: Arc<Presence>,
    access: Arc<AccessCheck>,
    room_changes: Arc<RoomChanges>,
    poller: Poller,
}

/// The parts of the instance that it keeps in step with the others.
pub struct Parts {
    /// Polled for changes.
    pub store: Arc<Store>,
    /// Passes relayed changes to their rooms.
    pub registry: Arc<Registry>,
    /// Queues relayed frames, and makes sockets read the rooms that a poll finds ahead of them.
    pub connections: Arc<ConnectionRegistry>,
    /// Subscribes to the messages of other instances, and publishes requests to repeat.
    pub broker: Arc<dyn Broker>,
    /// Collects the chatters whose presence is sent anew after other instances took this one for dead.
    pub presence_changes: Arc<PresenceChanges>,
    /// Repeats recent receipts that other instances may have missed.
    pub receipts: Arc<Receipts>,
    /// Repeats recent presence that other instances may have missed.
    pub presence: Arc<Presence>,
    /// Checks the tokens of chatters whose access ended elsewhere.
    pub access: Arc<AccessCheck>,
    /// Announces rooms that were created elsewhere, and closes those that were deleted.
    pub service: Arc<Service>,
    /// The pause between two polls of the database that scan few chats.
    pub poll_every: Duration,
}

impl Cluster {
    /// Keeps these parts in step, once it runs.
    #[must_use]
    pub fn new(parts: Parts) -> Arc<Self> {
        let Parts { store, registry: rooms, connections, receipts, presence, access, service, poll_every, .. } = parts;
        let (broker, presence_changes) = (parts.broker, parts.presence_changes);
        let room_changes = Arc::new(RoomChanges::new(service));
        let poller = Poller::new(poll::Parts {
            store,
            connections: connections.clone(),
            broker: broker.clone(),
            receipts: receipts.clone(),
            presence: presence.clone(),
            access: access.clone(),
            room_changes: room_changes.clone(),
            every: poll_every,
        });
        Arc::new(Self {
            connections,
            broker,
            presence_changes,
            rooms,
            receipts,
            presence,
            access,
            room_changes,
            poller,
        })
    }

    /// Handles messages and polls for as long as the instance runs. `position` dates from before there
    /// were connections.
    pub async fn run(self: Arc<Self>, inbound: RedisWorker, position: FeedPosition) {
        // The subscription counts from the call on; its confirmation needs no action.
        let subscribed = self.broker.subscribe(EVERY_INSTANCE);
        tokio::join!(subscribed, inbound.run(self.clone()), self.poller.run(position), self.room_changes.run());
    }
}

impl EpochObserver for Cluster {
    fn epoch_changed(&self) {
        self.poller.epoch_changed();
    }
}

impl BrokerEventHandler for Cluster {
    fn on_message(&self, message: ClusterMessage) {
        match message {
            ClusterMessage::Changes(changes) => {
                // The changes that a busy room refuses are found by the next poll.
                let _ = self.rooms.send(changes.chatroom_id, Command::Relayed(changes));
            }
            ClusterMessage::Frame { chatter_id, text, durability } => {
                self.connections.send(chatter_id, &raw_text_frame(&text), durability);
            }
            ClusterMessage::RoomCreated { chatroom_id, chatters } => self.room_changes.created(chatroom_id, chatters),
            ClusterMessage::RoomDeleted { chatroom_id, chatters } => self.room_changes.deleted(chatroom_id, chatters),
            ClusterMessage::AccessEnded { chatter_id } => self.access.recheck(chatter_id),
            ClusterMessage::RepeatRequest { within_s } => {
                let within = Duration::from_secs(within_s);
                self.receipts.repeat(within);
                self.presence.repeat(within);
            }
        }
    }

    fn on_reconnected(&self) {
        self.poller.reconnected();
    }

    fn on_disconnected(&self) {
        self.poller.disconnected();
    }

    fn on_presumed_dead(&self) {
        self.presence_changes.forget(&self.connections.chatters());
    }
}
