//! Points in time as the database keeps them: microseconds since 1970-01-01 UTC.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Microseconds since 1970-01-01 UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Micros(pub i64);

impl Micros {
    /// This machine's clock. On SQLite it is the database's clock too; on PostgreSQL the server's own
    /// clock orders chats and leases, and this one only signs tokens.
    #[must_use]
    pub fn now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
    }

    /// This much later.
    #[must_use]
    pub fn plus(self, wait: Duration) -> Self {
        Self(self.0.saturating_add(micros(wait)))
    }

    /// RFC 3339, UTC, `Z`, always six digits: `2026-11-22T09:07:14.000123Z`.
    #[must_use]
    pub fn rfc3339(self) -> String {
        let at = time::OffsetDateTime::from_unix_timestamp_nanos(i128::from(self.0) * 1000)
            .unwrap_or(time::OffsetDateTime::UNIX_EPOCH);
        format!(
            "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:06}Z",
            at.year(),
            u8::from(at.month()),
            at.day(),
            at.hour(),
            at.minute(),
            at.second(),
            at.microsecond()
        )
    }
}

impl serde::Serialize for Micros {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.rfc3339())
    }
}

/// A duration in microseconds.
#[must_use]
pub fn micros(wait: Duration) -> i64 {
    i64::try_from(wait.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_written_in_utc_with_six_digits() {
        assert_eq!(Micros(0).rfc3339(), "1970-01-01T00:00:00.000000Z");
        assert_eq!(Micros(1_795_338_434_000_120).rfc3339(), "2026-11-22T09:07:14.000120Z");
    }
}
