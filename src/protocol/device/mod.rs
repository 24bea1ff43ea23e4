//! The frames of the device socket, subprotocol `hyper-chat.v1`: JSON objects with `type` first.

pub mod client;
pub mod server;

use serde::Serialize;
#[cfg(test)]
use utoipa::ToSchema;

/// A client's name for its frame; the answer repeats it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(ToSchema))]
#[serde(untagged)]
pub enum Ref {
    /// A whole number of at most 64 bits.
    Number(i64),
    /// A text of 1 to 64 characters.
    Text(Box<str>),
}
