//! What the issuers of tokens count.

use super::Count;

/// Fetches of the keys of identity providers, counted since the start.
#[derive(Debug, Default)]
pub struct IssuerMetrics {
    /// A set of keys was fetched.
    pub fetches_ok: Count,
    /// The issuer did not answer, or not with 200.
    pub fetches_failed: Count,
    /// The issuer's answer was too large, no set of keys, or led elsewhere.
    pub fetches_refused: Count,
}

impl IssuerMetrics {
    /// The fetches by outcome.
    #[must_use]
    pub fn fetches(&self) -> [(&'static str, u64); 3] {
        let Self { fetches_ok, fetches_failed, fetches_refused } = self;
        [("ok", fetches_ok.get()), ("failed", fetches_failed.get()), ("refused", fetches_refused.get())]
    }
}
