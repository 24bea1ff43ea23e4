//! The nouns of the service, without I/O: what a name, a content, a client_id, a chat is and which rules it keeps.
//!
//! Parsed once at the edge (`http`, `sessions`), trusted everywhere below. Uses no other module.

pub mod chat;
pub mod chatroom;
pub mod chatter;
pub mod clock;
pub mod device;
pub mod fold;
pub mod grant;
pub mod ids;
pub mod json;
mod unicode;

pub use grant::Grant;
pub use ids::{ChatId, ChatroomId, ChatterId, Seq, SignInId, Version};

/// A value that breaks a rule: which field, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("The {field} {rule}.")]
pub struct Broken {
    /// The key of the value, as clients write it.
    pub field: &'static str,
    /// The rest of a sentence that begins with the field: `must have 1 to 150 characters`.
    pub rule: &'static str,
}

impl Broken {
    pub(crate) const fn new(field: &'static str, rule: &'static str) -> Self {
        Self { field, rule }
    }
}
