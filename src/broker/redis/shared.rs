//! What the broker's handle and its connections share.

use std::sync::atomic::AtomicUsize;

use super::connect::Connector;
use super::directory::PresenceDirectory;
use super::health::Health;
use super::settings::{Settings, SettingsError};
use super::subscriptions::Subscriptions;
use crate::broker::envelope::{Envelope, FORMAT};
use crate::domain::ChatterId;
use crate::metrics::BrokerMetrics;

/// See the module.
pub(super) struct Shared {
    pub settings: Settings,
    pub connector: Connector,
    pub envelope: Envelope,
    pub metrics: BrokerMetrics,
    pub health: Health,
    pub subscriptions: Subscriptions,
    pub directory: PresenceDirectory,
    /// Bytes of the messages that wait to be published.
    pub queued_bytes: AtomicUsize,
    /// Precedes a chatter's id in the name of a channel.
    channel_prefix: String,
}

impl Shared {
    pub(crate) fn new(settings: &Settings, secrets: &[&[u8]]) -> Result<Self, SettingsError> {
        Ok(Self {
            connector: Connector::new(settings)?,
            envelope: Envelope::new(secrets, &settings.prefix, settings.epochs.clone())?,
            metrics: BrokerMetrics::default(),
            health: Health::starting(),
            subscriptions: Subscriptions::default(),
            directory: PresenceDirectory::new(settings),
            queued_bytes: AtomicUsize::new(0),
            channel_prefix: format!("{}:{FORMAT}:c:", settings.key_prefix()),
            settings: settings.clone(),
        })
    }

    /// The channel of a chatter.
    pub(crate) fn channel(&self, chatter: ChatterId) -> String {
        format!("{}{chatter}", self.channel_prefix)
    }

    /// The chatter of a channel.
    pub(crate) fn chatter(&self, channel: &[u8]) -> Option<ChatterId> {
        let id = channel.strip_prefix(self.channel_prefix.as_bytes())?;
        std::str::from_utf8(id).ok()?.parse().ok()
    }
}
