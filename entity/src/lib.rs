//! Hyper Chat's tables as sea-orm models, one file a table; no logic, no serde.

pub mod chat;
pub mod chatroom;
pub mod chatter;
pub mod device;
pub mod member;
pub mod push_outbox;
pub mod sign_in;
