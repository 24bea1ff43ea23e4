//! A push that is owed: which, by whose claim, what decides over it, and what came of it.

use std::fmt;
use std::time::Duration;

use crate::domain::chat::Chat;
use crate::domain::clock::Micros;
use crate::domain::{ChatroomId, ChatterId, Seq};

/// Which push: at most one row each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// The room.
    pub chatroom_id: ChatroomId,
    /// Whom to tell.
    pub receiver_id: ChatterId,
}

/// The right to send a push until it is due again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Which row.
    pub key: Key,
    /// The newest chat when it was claimed.
    pub to_seq: Seq,
    /// When the row became owed.
    pub create_time: Micros,
    /// When the lease ends; tells this claim from a later one.
    pub due_time: Micros,
    /// Claims so far, this one included.
    pub attempts: i64,
    /// When it was claimed, by the database's clock.
    pub claim_time: Micros,
    /// Whether it was claimed because its receiver seems to be nowhere, and not because it was due.
    pub hurried: bool,
}

/// A push token; its Debug shows nothing.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct DeviceToken(String);

impl DeviceToken {
    /// Takes the text over.
    #[must_use]
    pub fn new(token: String) -> Self {
        Self(token)
    }

    /// For the request to FCM only.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for DeviceToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DeviceToken(…)")
    }
}

/// A claimed row with all that decides what becomes of it.
#[derive(Clone)]
pub struct PendingPush {
    /// The claim.
    pub lease: Lease,
    /// The newest chat that is neither confirmed nor deleted.
    pub newest: Option<Chat>,
    /// When the oldest of these was stored.
    pub oldest_create_time: Option<Micros>,
    /// The receiver's devices.
    pub tokens: Vec<DeviceToken>,
}

/// What came of a claimed row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settlement {
    /// The claim.
    pub lease: Lease,
    /// Nothing is owed up to `to_seq`: the row goes, unless a newer chat is waiting.
    pub ends: bool,
    /// A row that stays is due after this.
    pub wait: Duration,
    /// A row that stays has this many attempts; only one with none can be hurried.
    pub attempts: i64,
    /// Tokens that FCM no longer knows.
    pub gone: Vec<DeviceToken>,
}
