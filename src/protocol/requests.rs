//! What REST is asked with: JSON bodies, and numbers in query strings.

use std::str::FromStr;

use serde::{Deserialize, Deserializer};
use utoipa::ToSchema;

use crate::domain::{ChatterId, Seq};

/// Who signs in.
// No `Debug`: it holds a password.
#[derive(Deserialize, ToSchema)]
pub struct SignIn {
    pub username: String,
    pub password: String,
}

/// A new account.
#[derive(Deserialize, ToSchema)]
pub struct SignUp {
    /// Unique regardless of case.
    #[schema(min_length = 1, max_length = 150, pattern = "^[A-Za-z0-9._@+-]+$")]
    pub username: String,
    #[schema(min_length = 8, max_length = 128)]
    pub password: String,
    #[schema(min_length = 1, max_length = 100)]
    pub nickname: String,
    /// Where pushes go: the device's registration token of Firebase Cloud Messaging.
    #[serde(default)]
    pub fcm_reg_id: Option<String>,
}

/// What is to change; a key that is missing or null leaves the thing as it is.
#[derive(Deserialize, ToSchema)]
pub struct ChangeChatter {
    #[schema(min_length = 1, max_length = 100)]
    #[serde(default)]
    pub nickname: Option<String>,
    /// `""` removes the token.
    #[serde(default)]
    pub fcm_reg_id: Option<String>,
    #[schema(min_length = 8, max_length = 128)]
    #[serde(default)]
    pub password: Option<String>,
    /// Needed with `password`.
    #[serde(default)]
    pub current_password: Option<String>,
    /// Whether those who share a room see `online` and `last_seen`.
    #[serde(default)]
    pub show_last_seen: Option<bool>,
    /// Whether the other one of a room sees one's watermarks.
    #[serde(default)]
    pub show_receipts: Option<bool>,
}

/// Whom the room is with.
#[derive(Deserialize, ToSchema)]
pub struct CreateChatroom {
    /// The other one; oneself for notes.
    pub opponent_id: ChatterId,
}

/// A new chat.
#[derive(Deserialize, ToSchema)]
pub struct PostChat {
    /// Need not be given; if it is, it must be the other one of the room.
    #[serde(default)]
    pub receiver_id: Option<ChatterId>,
    /// Stored as sent; at least one character that is not blank, no NUL.
    #[schema(min_length = 1, max_length = 8000)]
    pub content: String,
    /// The sender's own name for the chat, unique for ever: makes it safe to send again. Printable ASCII.
    #[schema(min_length = 1, max_length = 64)]
    #[serde(default)]
    pub client_id: Option<String>,
}

/// What the chat says from now on.
#[derive(Deserialize, ToSchema)]
pub struct EditChat {
    #[schema(min_length = 1, max_length = 8000)]
    pub content: String,
}

/// What to look for.
#[derive(Deserialize, ToSchema)]
pub struct Search {
    /// 1 to 1,024 bytes.
    #[schema(min_length = 1, max_length = 1024)]
    pub query: String,
}

/// How far one has got; the newest `seq` of each.
#[derive(Deserialize, ToSchema)]
pub struct Receipt {
    #[serde(default)]
    pub delivered_seq: Option<Seq>,
    /// Lifts `delivered_seq` too.
    #[serde(default)]
    pub read_seq: Option<Seq>,
}

/// A whole number in a query string; refused with a clear text otherwise.
pub fn whole_number<'de, D: Deserializer<'de>, N: FromStr>(deserializer: D) -> Result<Option<N>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    text.map(|text| text.parse().map_err(|_| serde::de::Error::custom("must be a whole number"))).transpose()
}
