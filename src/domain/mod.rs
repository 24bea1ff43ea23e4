//! The nouns of the service, without I/O: what a name, a content, a client_id, a chat is and which rules it keeps.
//!
//! Parsed once at the edge (`http`, `actors::session`), trusted everywhere below. Knows nobody.

pub mod chat;
pub mod chatroom;
pub mod chatter;
pub mod clock;

/// A chatter's id, below 2^53.
pub type ChatterId = i64;
/// A chatroom's id, below 2^53.
pub type ChatroomId = i64;
/// A chat's id, below 2^53.
pub type ChatId = i64;
/// A chat's place in its room: 1, 2, 3 …
pub type Seq = i64;
/// The number of a change in a room: 1, 2, 3 …
pub type Version = i64;

/// A value that breaks a rule: which field, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {rule}")]
pub struct Broken {
    pub field: &'static str,
    pub rule: &'static str,
}

impl Broken {
    pub(crate) const fn new(field: &'static str, rule: &'static str) -> Self {
        Self { field, rule }
    }
}
