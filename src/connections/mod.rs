//! The live sockets of this instance, as everything but their own sessions sees them.

pub mod connection;
pub mod registry;
