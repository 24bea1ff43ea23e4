//! Why a connection to Redis ended or could not be made.

use std::fmt;

use redis::RedisError;

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
            Self::Redis(error) if error.is_io_error() => error.fmt(f),
            Self::Redis(error) => match error.code() {
                Some(code) => write!(f, "{} ({code})", error.category()),
                None => f.write_str(error.category()),
            },
            Self::Silent => f.write_str("no answer in time"),
            Self::Ended => f.write_str("the connection ended"),
            Self::Forgotten => f.write_str("Redis has lost what this instance wrote"),
        }
    }
}
