//! The chatrooms in use on this instance, each run by an actor of its own.
//!
//! A room checks who may do what, hands commands to the store's writer without waiting for their commit, and delivers
//! committed changes, in version order, to the connections of its two participants. Only rooms store and change chats.
//! A room holds no connection: it finds them by chatter in the connection registry.
//!
//! From the bottom up: `host` is the interface between a room and the registry, `command` what a room accepts, `room`
//! and `typing` its state. `handlers` is the way in, with `load` at the start. The way out begins at `outcome_sink`;
//! `deliver` takes each `commit` to `publish`, `broadcast` and `reply`. `registry` finds and starts rooms.

mod broadcast;
pub mod command;
mod commit;
mod deliver;
mod handlers;
pub mod host;
mod load;
mod outcome_sink;
mod publish;
pub mod registry;
mod reply;
mod room;
mod sent_chats;
mod typing;
