//! What clients see: REST bodies and socket frames, converted from and into `domain` types. No I/O, no decisions.

pub mod chatroom;
pub mod device;
mod recover;
pub mod requests;
pub mod rest;
#[cfg(test)]
pub mod schema;
