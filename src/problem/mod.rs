//! The one table of refusals: each code with its HTTP status, its title, and whether to try again.
//!
//! A client reads a refusal as RFC 9457 `application/problem+json` over HTTP and as the same object in an `error`
//! frame on a socket. The parts below have error types of their own; `convert` turns each of them into a [`Problem`].

mod convert;

use std::borrow::Cow;
use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use crate::domain::{ChatroomId, Seq};
use crate::telemetry;

/// What a client should do after a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// The same request will be refused again.
    No,
    /// Try the same request again, after `Retry-After` where it is given.
    Later,
    /// Get a new token, then try again.
    SignIn,
}

macro_rules! codes {
    ($($name:ident = $text:literal, $status:literal, $retry:ident, $title:literal;)*) => {
        /// A reason for a refusal; stable, unlike the texts beside it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Code { $(#[doc = $title] $name,)* }

        impl Code {
            /// Every code, in the order of the table.
            pub const ALL: &'static [Code] = &[$(Code::$name,)*];

            /// The code as clients read it.
            #[must_use]
            pub const fn as_str(self) -> &'static str { match self { $(Code::$name => $text,)* } }

            /// The HTTP status that goes with it.
            #[must_use]
            pub const fn status(self) -> u16 { match self { $(Code::$name => $status,)* } }

            /// One line for a person.
            #[must_use]
            pub const fn title(self) -> &'static str { match self { $(Code::$name => $title,)* } }

            /// What the client should do.
            #[must_use]
            pub const fn retry(self) -> Retry { match self { $(Code::$name => Retry::$retry,)* } }
        }
    };
}

codes! {
    Malformed = "malformed", 400, No, "The request cannot be read";
    UnknownKey = "unknown_key", 400, No, "The body has a key that the operation does not know";
    TokenMissing = "token_missing", 401, SignIn, "A token is needed";
    TokenInvalid = "token_invalid", 401, SignIn, "The token is not valid";
    TokenExpired = "token_expired", 401, SignIn, "The token has expired";
    TokenRevoked = "token_revoked", 401, SignIn, "The token was revoked";
    CredentialsWrong = "credentials_wrong", 401, No, "Username or password is wrong";
    NotYours = "not_yours", 403, No, "Only the sender may change a chat";
    OriginRefused = "origin_refused", 403, No, "This origin is not allowed";
    DirectoryClosed = "directory_closed", 403, No, "The directory of chatters is not public";
    SignUpClosed = "sign_up_closed", 403, No, "Sign-up is closed";
    AccountUnknown = "account_unknown", 403, No, "No account belongs to the token";
    NotFound = "not_found", 404, No, "There is no such thing, or it is not yours to see";
    MethodNotAllowed = "method_not_allowed", 405, No, "This path does not take that method";
    Timeout = "timeout", 408, Later, "The request took too long to arrive";
    ChatroomExists = "chatroom_exists", 409, No, "The two already have a room";
    UsernameTaken = "username_taken", 409, No, "The username is taken";
    ClientIdConflict = "client_id_conflict", 409, No, "The client_id was used for another chat";
    EpochChanged = "epoch_changed", 410, No, "The database was set back since this was read";
    TooLarge = "too_large", 413, No, "The request is too large";
    UnsupportedMediaType = "unsupported_media_type", 415, No, "The body must be JSON";
    Invalid = "invalid", 422, No, "A value breaks a rule";
    ReceiverDeleted = "receiver_deleted", 422, No, "The other person has deleted their account";
    UpgradeRequired = "upgrade_required", 426, No, "This path speaks WebSocket";
    RateLimited = "rate_limited", 429, Later, "Too many requests";
    Internal = "internal", 500, Later, "The server failed";
    Busy = "busy", 503, Later, "The server is busy";
    Unavailable = "unavailable", 503, Later, "The service cannot answer now";
    Draining = "draining", 503, Later, "This instance is shutting down";
}

/// One refusal, as the client gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Programs go by it; it decides the status, the title and whether to try again.
    pub code: Code,
    /// What went wrong and what to do, in one or two sentences; never echoes secrets or contents.
    pub detail: String,
    /// The field that breaks the rule.
    pub field: Option<Cow<'static, str>>,
    /// The room that already exists.
    pub chatroom_id: Option<ChatroomId>,
    /// Seconds to wait; sent as `Retry-After`.
    pub retry_after_s: Option<u64>,
    /// The error behind the refusal, for the log; clients never see it.
    cause: Option<Cause>,
}

/// An error that a log line shows; one is equal only to itself.
#[derive(Clone, Debug)]
struct Cause(Arc<dyn Error + Send + Sync>);

impl PartialEq for Cause {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Cause {}

impl Problem {
    /// A refusal with this code and explanation.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        let retry_after_s = match (code.status(), code.retry()) {
            (429 | 503, Retry::Later) => Some(1),
            _ => None,
        };
        Self { code, detail: detail.into(), field: None, chatroom_id: None, retry_after_s, cause: None }
    }

    /// A field that breaks a rule: 422.
    pub fn invalid(field: &'static str, detail: impl Into<String>) -> Self {
        Self::new(Code::Invalid, detail).in_field(field)
    }

    /// The same refusal, with the field that it is about.
    #[must_use]
    pub fn in_field(mut self, field: impl Into<Cow<'static, str>>) -> Self {
        self.field = Some(field.into());
        self
    }

    /// The database (or another part that recovers by itself) does not answer: 503.
    #[must_use]
    pub fn unavailable() -> Self {
        Self::new(
            Code::Unavailable,
            "The database does not answer; nothing is known to be stored. Try again, with the same client_id.",
        )
    }

    /// The server failed: 500. The log has the cause.
    #[must_use]
    pub fn internal() -> Self {
        Self::new(Code::Internal, "The server failed; the operator finds the cause in the log.")
    }

    /// The database can store no such value: 422.
    #[must_use]
    pub fn impossible() -> Self {
        Self::new(Code::Invalid, "The database cannot store a value of this request, however often it is sent.")
    }

    /// A room's queue or the writer's is full: 503.
    #[must_use]
    pub fn busy() -> Self {
        Self::new(Code::Busy, "The queue is full; nothing was stored. Try again, with the same client_id.")
    }

    /// The thing does not exist, or the viewer may not see it: 404 for both, so the answer does not reveal which.
    #[must_use]
    pub fn not_found(what: &str) -> Self {
        Self::new(Code::NotFound, format!("There is no {what} with this id that you can see."))
    }

    /// The two chatters have this room already: 409.
    #[must_use]
    pub fn chatroom_exists(id: ChatroomId) -> Self {
        let detail = format!("You two have chatroom {id} already.");
        Self { chatroom_id: Some(id), ..Self::new(Code::ChatroomExists, detail) }
    }

    /// The token's account was deleted: 401.
    #[must_use]
    pub fn account_deleted() -> Self {
        Self::new(Code::TokenRevoked, "This account was deleted.")
    }

    /// The sender's rate is used up: 429.
    #[must_use]
    pub fn sending_too_fast(wait: Duration) -> Self {
        Self::new(Code::RateLimited, "You are sending too fast; wait before the next chat.").retry_after(wait)
    }

    /// Refuses a watermark whose `seq` is not between 0 and `max`: 422.
    pub fn check_seq(field: &'static str, seq: Option<Seq>, max: Seq) -> Result<(), Self> {
        match seq {
            Some(seq) if !(Seq::ZERO..=max).contains(&seq) => {
                Err(Self::invalid(field, "It must be the seq of a chat in this room."))
            }
            _ => Ok(()),
        }
    }

    /// Wait this long before the next try; at least a second.
    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after_s = Some(wait.as_secs_f64().ceil().max(1.0) as u64);
        self
    }

    /// The same refusal with the error behind it.
    #[must_use]
    fn because(mut self, cause: impl Error + Send + Sync + 'static) -> Self {
        self.cause = Some(Cause(Arc::new(cause)));
        self
    }

    /// The same refusal without the error behind it, for answers after the one that has logged it.
    #[must_use]
    pub fn without_cause(&self) -> Self {
        Self { cause: None, ..self.clone() }
    }

    /// The body of an HTTP answer, with the id of the request.
    #[must_use]
    pub fn body(&self, request_id: Option<&str>) -> Vec<u8> {
        serde_json::to_vec(&Identified(self, request_id)).unwrap_or_default()
    }

    fn entries<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
        map.serialize_entry("type", &format_args!("urn:hyper-chat:problem:{}", self.code.as_str()).to_string())?;
        map.serialize_entry("title", self.code.title())?;
        map.serialize_entry("status", &self.code.status())?;
        map.serialize_entry("detail", &self.detail)?;
        map.serialize_entry("code", self.code.as_str())?;
        if let Some(field) = &self.field {
            map.serialize_entry("field", field)?;
        }
        if let Some(id) = self.chatroom_id {
            map.serialize_entry("chatroom_id", &id)?;
        }
        if let Some(s) = self.retry_after_s {
            map.serialize_entry("retry_after_s", &s)?;
        }
        Ok(())
    }

    /// Logs the error behind the refusal with all its sources, if there is one. The part that answers the client calls
    /// this once.
    pub fn log_cause(&self) {
        let Some(cause) = self.source() else { return };
        let (error, code) = (telemetry::chain(cause), self.code.as_str());
        if self.code == Code::Internal {
            tracing::error!(error, code, "a request failed");
        } else {
            tracing::warn!(error, code, "a request was refused");
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code.as_str(), self.detail)
    }
}

impl Error for Problem {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.cause.as_ref().map(|cause| &*cause.0 as &(dyn Error + 'static))
    }
}

impl Serialize for Problem {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        self.entries(&mut map)?;
        map.end()
    }
}

/// A refusal of the request with this id.
struct Identified<'a>(&'a Problem, Option<&'a str>);

impl Serialize for Identified<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        self.0.entries(&mut map)?;
        if let Some(id) = self.1 {
            map.serialize_entry("request_id", id)?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_its_own_text_and_a_refusing_status() {
        let mut seen = std::collections::HashSet::new();
        for code in Code::ALL {
            assert!(seen.insert(code.as_str()), "{} is in the table twice", code.as_str());
            assert!((400..600).contains(&code.status()), "{} refuses", code.as_str());
        }
    }

    #[test]
    fn a_refusal_that_may_be_retried_says_when() {
        assert_eq!(Problem::unavailable().retry_after_s, Some(1));
        assert_eq!(Problem::not_found("chat").retry_after_s, None);
    }
}
