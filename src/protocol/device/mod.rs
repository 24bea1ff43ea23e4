//! The frames of the device socket, subprotocol `hyper-chat.v1`: JSON objects with `type` first.

pub mod client;
pub mod server;

use serde::Serialize;
use utoipa::ToSchema;

/// What a client calls a frame of its own; the reply repeats it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(untagged)]
pub enum Ref {
    Number(i64),
    Text(Box<str>),
}
