//! The frames of the device socket, subprotocol `hyper-chat.v1`: JSON objects with `type` first.

pub mod client;
mod cursors;
pub mod server;

use serde::Serialize;
#[cfg(test)]
use utoipa::ToSchema;

/// The longest text `ref`, in characters.
const REF_CHARS_MAX: usize = 64;

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

impl Ref {
    /// Reads a whole number, or a text of the length that is allowed.
    fn parse(json: &str) -> Option<Self> {
        if let Ok(number) = serde_json::from_str(json) {
            return Some(Self::Number(number));
        }
        let text = serde_json::from_str::<String>(json).ok();
        let fits = |text: &String| (1..=REF_CHARS_MAX).contains(&text.chars().count());
        text.filter(fits).map(|text| Self::Text(text.into()))
    }
}
