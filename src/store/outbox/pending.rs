//! A pending push: its key, the lease under which it is sent, what the notifier decides by, and the result.

use std::fmt;
use std::time::Duration;

use crate::domain::chat::Chat;
use crate::domain::clock::Micros;
use crate::domain::{ChatroomId, ChatterId, Seq};

/// Which push; the table has at most one row for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// The room.
    pub chatroom_id: ChatroomId,
    /// The chatter who gets the push.
    pub receiver_id: ChatterId,
}

/// The right to send a push until it is due again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Which row.
    pub key: Key,
    /// The newest chat when the row was claimed.
    pub to_seq: Seq,
    /// When the row was inserted.
    pub create_time: Micros,
    /// When the lease ends; distinguishes this claim from a later one.
    pub due_time: Micros,
    /// Claims so far, this one included.
    pub attempts: i64,
    /// When the row was claimed, by the database's clock.
    pub claim_time: Micros,
    /// Why the row was claimed.
    pub cause: ClaimCause,
}

/// Why a row was claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClaimCause {
    /// It was due.
    Due,
    /// A push hint says that its receiver is not connected, so it need not wait for the grace.
    Hint,
}

/// A push token; its Debug shows nothing.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct DeviceToken(String);

impl DeviceToken {
    /// Wraps the token's text.
    #[must_use]
    pub fn new(token: String) -> Self {
        Self(token)
    }

    /// The text, for the request to FCM only.
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

/// A claimed row with everything that the notifier decides by.
#[derive(Clone)]
pub struct PendingPush {
    /// The claim.
    pub lease: Lease,
    /// The newest chat that is neither confirmed nor deleted.
    pub newest: Option<Chat>,
    /// When the oldest such chat was stored.
    pub oldest_create_time: Option<Micros>,
    /// The receiver's devices.
    pub tokens: Vec<DeviceToken>,
}

/// The pushes that are pending.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// How many.
    pub pushes: usize,
    /// Since when the oldest has been pending; zero if there is none.
    pub oldest: Duration,
}

/// How a lease ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settlement {
    /// The claim.
    pub lease: Lease,
    /// No push is pending up to `to_seq`: the row is deleted, unless a newer chat has extended it.
    pub ends: bool,
    /// A row that stays is due after this time.
    pub wait: Duration,
    /// A row that stays has this many attempts; a push hint claims only rows without any.
    pub attempts: i64,
    /// Tokens that FCM no longer knows.
    pub dead_tokens: Vec<DeviceToken>,
}
