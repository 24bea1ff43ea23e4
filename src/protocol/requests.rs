//! The bodies that REST reads, and numbers in query strings.

use std::str::FromStr;

use serde::{Deserialize, Deserializer};
#[cfg(test)]
use utoipa::ToSchema;

use crate::domain::{ChatterId, Seq};

/// A username with its password.
// No `Debug`: it holds a password.
#[derive(Deserialize)]
#[cfg_attr(test, derive(ToSchema))]
pub struct SignIn {
    /// Case makes no difference.
    pub username: String,
    /// Exactly as it was set.
    pub password: String,
    /// How the list of sessions calls this device, such as `Firefox on Linux`; no control characters, and not blank only.
    #[cfg_attr(
        test,
        schema(
            max_length = 100,
            pattern = r"^([^\u0000-\u001f\u007f-\u009f]*[^\s\u0000-\u001f\u007f-\u009f][^\u0000-\u001f\u007f-\u009f]*)?$"
        )
    )]
    #[serde(default)]
    pub device_name: Option<String>,
}

/// The newest refresh token of a session.
// No `Debug`: it holds a token.
#[derive(Deserialize)]
#[cfg_attr(test, derive(ToSchema))]
pub struct Refresh {
    /// From the last answer of `POST /api/auth` or `POST /api/auth/refresh`.
    pub refresh_token: String,
}

/// A new account.
#[derive(Deserialize)]
#[cfg_attr(test, derive(ToSchema))]
pub struct SignUp {
    /// Unique regardless of case.
    #[cfg_attr(test, schema(min_length = 1, max_length = 150, pattern = "^[A-Za-z0-9._@+-]+$"))]
    pub username: String,
    /// Kept exactly as given; no NUL.
    #[cfg_attr(test, schema(min_length = 8, max_length = 128, pattern = r"^[^\u0000]*$"))]
    pub password: String,
    /// The name shown to others: at least one character that can be seen, no control characters, line separators, marks of
    /// direction, or invisible characters but joiners within words and emoji.
    #[cfg_attr(test, schema(min_length = 1, max_length = 100, format = "nickname"))]
    pub nickname: String,
    /// The device's registration token of Firebase Cloud Messaging, for pushes; one that another account has is left out.
    #[cfg_attr(test, schema(max_length = 4096, pattern = "^[!-~]*$"))]
    #[serde(default)]
    pub fcm_reg_id: Option<String>,
}

/// Changes of an account; a key that is missing or null changes nothing.
#[derive(Deserialize)]
#[cfg_attr(test, derive(ToSchema))]
pub struct ChangeChatter {
    /// The name shown to others: at least one character that can be seen, no control characters, line separators, marks of
    /// direction, or invisible characters but joiners within words and emoji.
    #[cfg_attr(test, schema(min_length = 1, max_length = 100, format = "nickname"))]
    #[serde(default)]
    pub nickname: Option<String>,
    /// `""` removes the token.
    #[cfg_attr(test, schema(max_length = 4096, pattern = "^[!-~]*$"))]
    #[serde(default)]
    pub fcm_reg_id: Option<String>,
    /// The new password; it ends all other sign-ins. No NUL.
    #[cfg_attr(test, schema(min_length = 8, max_length = 128, pattern = r"^[^\u0000]*$"))]
    #[serde(default)]
    pub password: Option<String>,
    /// Needed with `password`.
    #[serde(default)]
    pub current_password: Option<String>,
    /// Whether chatters who share a room see `online` and `last_seen`.
    #[serde(default)]
    pub show_last_seen: Option<bool>,
    /// Whether the other person of a room sees the receipts.
    #[serde(default)]
    pub show_receipts: Option<bool>,
}

/// The other person of the new room.
#[derive(Deserialize)]
#[cfg_attr(test, derive(ToSchema))]
pub struct CreateChatroom {
    /// The other person's id; one's own id for notes.
    pub opponent_id: ChatterId,
}

/// A new chat.
#[derive(Deserialize)]
#[cfg_attr(test, derive(ToSchema))]
pub struct PostChat {
    /// Optional; if it is sent, it must be the other person of the room.
    #[serde(default)]
    pub receiver_id: Option<ChatterId>,
    /// Stored as sent; at least one character that can be seen, no NUL.
    #[cfg_attr(test, schema(min_length = 1, max_length = 8000, format = "visible-text"))]
    pub content: String,
    /// Makes the chat safe to send again: a name that the sender chooses and never uses for another chat. Printable
    /// ASCII.
    #[cfg_attr(test, schema(min_length = 1, max_length = 64, pattern = "^[ -~]+$"))]
    #[serde(default)]
    pub client_id: Option<String>,
}

/// The new content of a chat.
#[derive(Deserialize)]
#[cfg_attr(test, derive(ToSchema))]
pub struct EditChat {
    /// Replaces the text; at least one character that can be seen, no NUL.
    #[cfg_attr(test, schema(min_length = 1, max_length = 8000, format = "visible-text"))]
    pub content: String,
}

/// The text to search for.
#[derive(Deserialize)]
#[cfg_attr(test, derive(ToSchema))]
pub struct Search {
    /// 1 to 1,024 bytes; at least one character that is neither an accent nor invisible.
    #[cfg_attr(test, schema(min_length = 1, max_length = 1024, format = "search-text"))]
    pub query: String,
}

/// How far the viewer has received and read.
#[derive(Deserialize)]
#[cfg_attr(test, derive(ToSchema))]
pub struct Receipt {
    /// The chats up to this `seq` were received. Left out or null: the mark stays.
    #[serde(default)]
    pub delivered_seq: Option<Seq>,
    /// Raises `delivered_seq` too.
    #[serde(default)]
    pub read_seq: Option<Seq>,
}

/// Reads a whole number from a query string; the error says so if it is not one.
pub fn whole_number<'de, D: Deserializer<'de>, N: FromStr>(deserializer: D) -> Result<Option<N>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    text.map(|text| text.parse().map_err(|_| serde::de::Error::custom("must be a whole number"))).transpose()
}
