//! The contract of a broker, in memory and over Redis: instances, what they receive, and messages to publish.

mod foreign_messages;
mod log;
mod memory;
mod messages;
mod presence_directory;
mod presence_faults;
mod redis_faults;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use hyper_chat::broker::redis::{RedisBroker, Settings};
use hyper_chat::broker::{Broker, BrokerEventHandler, Changes, ClusterMessage, Durability, State};
use hyper_chat::domain::chat::{ChangeKind, Chat};
use hyper_chat::domain::clock::Micros;
use hyper_chat::domain::{ChatId, Version};
use parking_lot::Mutex;

use self::memory::Hub;
use crate::support::redis_groups::OwnRedis;
use crate::support::secrets::JWT_SECRET;
use crate::support::wait::s;
use crate::support::{Redis, eventually, until};

/// Makes `memory::<name>` and `redis::<name>` of each `async fn name(place: Place)`.
macro_rules! on_both_brokers {
    ($($name:ident),* $(,)?) => {
        mod memory {
            $(#[tokio::test] async fn $name() { super::$name(crate::broker::Place::memory()).await; })*
        }
        mod redis {
            $(#[tokio::test] async fn $name() { super::$name(crate::broker::Place::redis().await).await; })*
        }
    };
}
pub(crate) use on_both_brokers;

/// The lease of an instance, short so that tests need not wait long for the end of one.
pub const LEASE: Duration = s(3);

/// Where instances meet.
pub enum Place {
    Memory(Hub),
    Redis(OwnRedis),
}

/// Keeps the received messages and counts the events.
#[derive(Default)]
pub struct Events {
    messages: Mutex<Vec<ClusterMessage>>,
    reconnected: AtomicUsize,
    presumed_dead: AtomicUsize,
}

/// One instance: its broker and what it received.
pub struct Instance {
    pub broker: Arc<dyn Broker>,
    pub events: Arc<Events>,
}

/// What a broker has counted at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    pub sent: u64,
    pub dropped: u64,
    pub received: u64,
    pub forged: u64,
    pub unknown_format: u64,
    pub garbled: u64,
    pub reconnects: u64,
}

impl Counters {
    fn of(broker: &dyn Broker) -> Self {
        let metrics = broker.metrics();
        Self {
            sent: metrics.messages_sent.get(),
            dropped: metrics.messages_dropped.get(),
            received: metrics.messages_received.get(),
            forged: metrics.messages_forged.get(),
            unknown_format: metrics.messages_unknown_format.get(),
            garbled: metrics.messages_garbled.get(),
            reconnects: metrics.reconnects.get(),
        }
    }
}

impl BrokerEventHandler for Events {
    fn on_message(&self, message: ClusterMessage) {
        self.messages.lock().push(message);
    }

    fn on_reconnected(&self) {
        self.reconnected.fetch_add(1, Ordering::SeqCst);
    }

    fn on_disconnected(&self) {}
    fn on_presumed_dead(&self) {
        self.presumed_dead.fetch_add(1, Ordering::SeqCst);
    }
}

impl Place {
    pub fn memory() -> Self {
        Self::Memory(Hub::default())
    }

    pub async fn redis() -> Self {
        Self::Redis(OwnRedis::start().await)
    }

    pub async fn instance(&self) -> Instance {
        match self {
            Self::Memory(hub) => {
                let events = Arc::new(Events::default());
                Instance { broker: hub.join(events.clone()), events }
            }
            Self::Redis(redis) => Instance::at(redis.url()).await,
        }
    }
}

impl Instance {
    /// An instance that may be disconnected.
    pub fn with(settings: &Settings, secret: &str) -> Self {
        let (broker, worker) = RedisBroker::open(settings, &[secret.as_bytes()]).expect("a URL");
        let events = Arc::new(Events::default());
        tokio::spawn(worker.run(events.clone()));
        Self { broker, events }
    }

    /// A connected instance with long timeouts, for a machine that is busy with other tests.
    pub async fn of(redis: &Redis) -> Self {
        Self::at(redis.url()).await
    }

    /// The same at this URL.
    pub async fn at(url: String) -> Self {
        let patient = Settings {
            publish_timeout: s(10),
            answer_timeout: s(10),
            subscribe_timeout: s(10),
            lease: LEASE,
            ..Settings::new(url.into())
        };
        let instance = Self::with(&patient, JWT_SECRET);
        instance.wait_until_up().await;
        instance
    }

    pub async fn wait_until_up(&self) {
        until("Redis is in reach", s(10), || self.broker.state() == State::Up).await;
    }

    pub fn is_away(&self) -> bool {
        matches!(self.broker.state(), State::Away { .. })
    }

    /// Subscribes, with the confirmation; repeated where a busy machine takes longer than the timeout.
    pub async fn subscribes(&self, chatter: i64) {
        let confirmed = || async {
            let confirmed = self.broker.subscribe(chatter.into()).await;
            if !confirmed {
                self.broker.unsubscribe(chatter.into());
            }
            confirmed.then_some(())
        };
        eventually("the subscription is confirmed", s(10), confirmed).await;
    }

    /// Waits for this many messages and returns them.
    pub async fn receives(&self, count: usize) -> Vec<ClusterMessage> {
        until(&format!("{count} messages are received"), s(10), || self.events.messages.lock().len() >= count).await;
        std::mem::take(&mut *self.events.messages.lock())
    }

    /// Waits for this message and returns all up to it.
    pub async fn receives_until(&self, last: &ClusterMessage) -> Vec<ClusterMessage> {
        until(&format!("{last:?} is received"), s(10), || self.events.messages.lock().last() == Some(last)).await;
        std::mem::take(&mut *self.events.messages.lock())
    }

    /// Exactly these messages arrive, and none that was published before them.
    pub async fn receives_only(&self, expected: &[ClusterMessage]) {
        assert_eq!(self.receives(expected.len()).await, expected);
    }

    pub fn reconnections(&self) -> usize {
        self.events.reconnected.load(Ordering::SeqCst)
    }

    pub fn presumptions_of_death(&self) -> usize {
        self.events.presumed_dead.load(Ordering::SeqCst)
    }

    pub fn counters(&self) -> Counters {
        Counters::of(&*self.broker)
    }
}

/// A frame for a chatter.
pub fn frame(chatter_id: i64, text: &str) -> ClusterMessage {
    ClusterMessage::Frame {
        chatter_id: chatter_id.into(),
        text: Bytes::copy_from_slice(text.as_bytes()),
        durability: Durability::Ephemeral,
    }
}

/// A chat of a room of 1 and 2.
fn chat(version: i64, content: &str) -> Chat {
    Chat {
        id: ChatId::new(1_000 + version),
        chatroom_id: 7.into(),
        seq: version.into(),
        version: version.into(),
        sender_id: 1.into(),
        receiver_id: 2.into(),
        content: content.to_owned(),
        client_id: None,
        create_time: Micros(1_795_338_434_000_120),
        edit_time: None,
        delete_time: None,
    }
}

/// Changes of the room of 1 and 2, from version 1 on.
pub fn changes(contents: &[&str]) -> Changes {
    let chats = (1..).zip(contents).map(|(version, content)| (ChangeKind::Created, chat(version, content)));
    let changes: Vec<_> = chats.collect();
    let to = Version::new(changes.len() as i64);
    Changes { chatroom_id: 7.into(), owner_id: 1.into(), opponent_id: 2.into(), from: Version::ZERO, to, changes }
}
