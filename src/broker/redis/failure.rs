//! Why a connection to Redis ended or could not be made.

use std::fmt;

use redis::{ErrorKind, RedisError, ServerErrorKind};

use crate::broker::Why;

/// See the module.
#[derive(Debug)]
pub(super) enum Failure {
    /// Redis refused, or the network did.
    Redis(RedisError),
    /// There was no answer in time.
    Silent,
    /// The connection broke.
    Ended,
    /// Redis has lost what this instance wrote.
    Forgotten,
    /// The server is a replica: it was demoted, or the URL names one.
    Replica,
    /// The sentinels name another server as the primary.
    Demoted,
    /// The sentinels know no primary of this name.
    UnknownPrimary,
}

impl Failure {
    /// The reason, as far as an operator can do something about it.
    pub(super) fn why(&self) -> Why {
        match self {
            Self::Replica | Self::Demoted | Self::UnknownPrimary => Why::Replica,
            Self::Redis(error) if error.kind() == ErrorKind::Server(ServerErrorKind::ReadOnly) => Why::Replica,
            _ if self.is_refusal() => Why::Refused,
            _ => Why::Unreachable,
        }
    }

    /// Whether Redis refuses the credentials of the URL, which waiting does not change.
    pub(super) fn is_refusal(&self) -> bool {
        const CODES: [&str; 3] = ["WRONGPASS", "NOAUTH", "NOPERM"];
        match self {
            Self::Redis(error) => {
                error.kind() == ErrorKind::AuthenticationFailed
                    || error.code().is_some_and(|code| CODES.contains(&code))
            }
            _ => false,
        }
    }
}

impl From<RedisError> for Failure {
    fn from(error: RedisError) -> Self {
        Self::Redis(error)
    }
}

impl fmt::Display for Failure {
    /// For the log: only the code of a Redis error, since its text may quote contents.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Redis(_) if self.is_refusal() => f.write_str("Redis refuses the name or the password of its URL"),
            Self::Redis(error) if error.is_io_error() => error.fmt(f),
            Self::Redis(error) => match error.code() {
                Some(code) => write!(f, "{} ({code})", error.category()),
                None => f.write_str(error.category()),
            },
            Self::Silent => f.write_str("no answer in time"),
            Self::Ended => f.write_str("the connection ended"),
            Self::Forgotten => f.write_str("Redis has lost what this instance wrote"),
            Self::Replica => f.write_str("the server is a replica, which takes no writes"),
            Self::Demoted => f.write_str("the sentinels name another server as the primary"),
            Self::UnknownPrimary => f.write_str("the sentinels know no primary of the name in redis.url"),
        }
    }
}
