//! The tables that the store reads and writes as sea-orm models, one file a table; no logic, no serde.

pub mod chat;
pub mod chatroom;
pub mod chatter;
pub mod device;
pub mod sign_in;
