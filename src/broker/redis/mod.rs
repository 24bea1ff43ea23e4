//! The relay over Redis pub/sub: one connection that publishes, one that is subscribed, a channel for each chatter; and
//! one that keeps the roster of who is connected where.
//!
//! All are made again for ever. Nobody waits for Redis but who listens, for 500 ms at most.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use secrecy::SecretString;
use sha2::digest::InvalidLength;
use tokio::sync::{mpsc, oneshot};

use super::directory::Orphans;
use super::envelope::{Envelope, FORMAT, MESSAGE_BYTES_MAX};
use super::{BrokerEventHandler, ClusterMessage, Counters, State};
use crate::domain::ChatterId;
use crate::metrics::broker::Tally;

mod connect;
mod directory;
mod health;
mod inbound;
mod publish;
mod subscribe;
mod subscriptions;

use connect::Connector;
use directory::PresenceDirectory;
use health::Health;
use subscriptions::{Answer, Subscriptions};

/// The most messages that wait to be published, and the most bytes of them.
const QUEUE: usize = 8_192;
const QUEUE_BYTES: usize = 16 * 1024 * 1024;

/// How Redis is reached and how long it may take.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `redis://…` or `rediss://…`.
    pub url: SecretString,
    /// Takes any certificate of a `rediss://` server, as self-signed ones of hosted Redis need.
    pub insecure_tls: bool,
    /// What the names of the channels begin with; parts services that share one Redis.
    pub prefix: String,
    /// Connecting, with TLS and authentication.
    pub connect_timeout: Duration,
    /// One pipeline of messages, or one question of who is connected.
    pub publish_timeout: Duration,
    /// A ping or a subscription: after that the connection counts as broken.
    pub answer_timeout: Duration,
    /// How long [`super::Broker::listen`] waits to be confirmed.
    pub listen_timeout: Duration,
    /// How long an instance counts as alive behind its last sign of life.
    pub lease: Duration,
    /// How often each connection is asked for a sign of life.
    pub ping_interval: Duration,
    /// The shortest and the longest wait between two attempts to connect.
    pub backoff: (Duration, Duration),
}

impl Settings {
    /// The defaults for this URL.
    #[must_use]
    pub fn new(url: SecretString) -> Self {
        Self {
            url,
            insecure_tls: false,
            prefix: "hyper".to_owned(),
            connect_timeout: Duration::from_millis(1_500),
            publish_timeout: Duration::from_millis(300),
            answer_timeout: Duration::from_secs(1),
            listen_timeout: Duration::from_millis(500),
            lease: Duration::from_secs(15),
            ping_interval: Duration::from_secs(1),
            backoff: (Duration::from_millis(50), Duration::from_secs(1)),
        }
    }
}

/// What can never work. Says nothing of what the URL holds.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    #[error("the URL of Redis is not one: {0}")]
    Url(String),
    #[error("the secret is no key")]
    Secret(#[from] InvalidLength),
}

/// What the handles and the two connections share.
struct Shared {
    settings: Settings,
    connector: Connector,
    envelope: Envelope,
    tally: Tally,
    health: Health,
    subscriptions: Subscriptions,
    roster: PresenceDirectory,
    /// Bytes in the queue.
    waiting: AtomicUsize,
    /// What stands before a chatter's id in the name of a channel.
    channels: String,
}

/// A sealed message and whom it is for.
struct Outgoing {
    to: (ChatterId, Option<ChatterId>),
    message: Vec<u8>,
}

/// What tells and listens.
pub(super) struct Handle {
    shared: Arc<Shared>,
    queue: mpsc::Sender<Outgoing>,
}

/// What connects, publishes and hears.
pub(super) struct Work {
    shared: Arc<Shared>,
    queue: mpsc::Receiver<Outgoing>,
}

/// How listening will have gone.
pub(super) enum Listening {
    Known(bool),
    Soon(oneshot::Receiver<()>, Duration),
}

pub(super) fn open(settings: &Settings, secret: &[u8]) -> Result<(Handle, Work), Refused> {
    let shared = Arc::new(Shared {
        connector: Connector::new(settings)?,
        envelope: Envelope::new(secret, &settings.prefix)?,
        tally: Tally::default(),
        health: Health::starting(),
        subscriptions: Subscriptions::default(),
        roster: PresenceDirectory::new(settings),
        waiting: AtomicUsize::new(0),
        channels: format!("{}:{FORMAT}:c:", settings.prefix),
        settings: settings.clone(),
    });
    let (sender, queue) = mpsc::channel(QUEUE);
    Ok((Handle { shared: shared.clone(), queue: sender }, Work { shared, queue }))
}

impl Shared {
    fn channel(&self, chatter: ChatterId) -> String {
        format!("{}{chatter}", self.channels)
    }

    fn chatter(&self, channel: &[u8]) -> Option<ChatterId> {
        let id = channel.strip_prefix(self.channels.as_bytes())?;
        std::str::from_utf8(id).ok()?.parse().ok()
    }

    /// Bytes that leave the queue.
    fn taken(&self, message: &Outgoing) {
        self.waiting.fetch_sub(message.message.len(), Ordering::Relaxed);
    }
}

impl Handle {
    pub fn publish(&self, message: &ClusterMessage) {
        // While Redis is away nothing is sealed: it would not be sent.
        if !self.shared.health.publishes() || self.queue.capacity() == 0 {
            self.shared.tally.dropped.add(1);
            return;
        }
        let sealed = self.shared.envelope.seal(message);
        if sealed.len() <= MESSAGE_BYTES_MAX {
            self.send(Outgoing { to: message.chatters(), message: sealed });
        } else if let Some(halves) = message.halves() {
            halves.iter().for_each(|half| self.publish(half));
        } else {
            self.shared.tally.dropped.add(1);
        }
    }

    fn send(&self, message: Outgoing) {
        let (shared, bytes) = (&self.shared, message.message.len());
        let before = shared.waiting.fetch_add(bytes, Ordering::Relaxed);
        if before + bytes > QUEUE_BYTES || self.queue.try_send(message).is_err() {
            shared.waiting.fetch_sub(bytes, Ordering::Relaxed);
            shared.tally.dropped.add(1);
        }
    }

    pub fn subscribe(&self, chatter: ChatterId) -> Listening {
        match self.shared.subscriptions.add(chatter) {
            Answer::Confirmed => Listening::Known(true),
            Answer::Away => Listening::Known(false),
            Answer::Soon(confirmed) => Listening::Soon(confirmed, self.shared.settings.listen_timeout),
        }
    }

    pub fn unsubscribe(&self, chatter: ChatterId) {
        self.shared.subscriptions.remove(chatter);
    }

    pub fn join(&self, chatter: ChatterId) {
        self.shared.roster.here.join(chatter);
    }

    pub fn leave(&self, chatter: ChatterId) {
        self.shared.roster.here.leave(chatter);
    }

    pub fn joined(&self, chatter: ChatterId) -> bool {
        self.shared.roster.here.joined(chatter)
    }

    pub async fn connected_elsewhere(&self, chatters: &[ChatterId]) -> Option<HashSet<ChatterId>> {
        self.shared.roster.connected_elsewhere(chatters, self.shared.settings.publish_timeout).await
    }

    pub async fn orphans(&self) -> Option<Orphans> {
        self.shared.roster.orphans(self.shared.settings.answer_timeout).await
    }

    pub async fn settle(&self, orphans: &Orphans) -> bool {
        self.shared.roster.settle(orphans, self.shared.settings.answer_timeout).await
    }

    pub fn leave_all(&self) {
        self.shared.roster.here.leave_all();
    }

    pub fn state(&self) -> State {
        self.shared.health.state()
    }

    pub fn directory_is_up(&self) -> bool {
        self.shared.roster.is_kept()
    }

    pub fn counters(&self) -> Counters {
        self.shared.tally.read()
    }
}

impl Listening {
    pub async fn wait(self) -> bool {
        match self {
            Self::Known(confirmed) => confirmed,
            Self::Soon(confirmed, within) => matches!(tokio::time::timeout(within, confirmed).await, Ok(Ok(()))),
        }
    }
}

impl Work {
    pub async fn run(self, handler: Arc<dyn BrokerEventHandler>) {
        // Publishing ends with the last handle, and with it the rest.
        tokio::select! {
            () = publish::run(&self.shared, self.queue) => {}
            () = subscribe::run(&self.shared, &handler) => {}
            () = directory::run(&self.shared, &*handler) => {}
        }
    }
}
