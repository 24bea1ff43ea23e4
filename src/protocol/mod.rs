//! What clients see: REST bodies and socket frames, made from and into `domain` types. No I/O, no decisions.

pub mod chatroom;
pub mod device;
pub mod requests;
pub mod rest;
mod schema;
