//! Tokens of identity providers: JWTs signed with a private key, verified with the public keys that the issuer publishes.
//!
//! RFC 7519 says what the claims mean, RFC 7515 what the header does, RFC 7517 what a set of keys is, and RFC 8725 how not
//! to be deceived. The `iss` of a token, read before anything is verified, only chooses the issuer; its keys then verify
//! the whole. Nothing that a token names (`jku`, `x5u` …) is ever fetched.

mod cache;
mod fetch;
mod issuer;
mod keys;

use std::sync::Arc;

use futures_util::future::join_all;
pub use issuer::{Issuer, external_id};
use serde::Deserialize;

use crate::config;
use crate::domain::Grant;
use crate::domain::clock::Micros;
use crate::metrics::IssuerMetrics;

/// A longer token is not read. Those of identity providers list groups and roles.
const TOKEN_BYTES_MAX: usize = 16_384;

/// The claims of a verified token of an identity provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct External {
    /// The issuer and the subject, as the account carries them.
    pub external_id: String,
    /// What the issuer calls the person: a new account's username comes from it.
    pub name: Option<String>,
    /// What others may see of the name.
    pub nickname: Option<String>,
    /// The time of issue.
    pub grant: Grant,
    /// From this time on the token is refused.
    pub expires_at: Micros,
}

/// Why a token of an identity provider is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IssuerError {
    /// Its form, signature or claims are wrong, or its issuer has no such key.
    #[error("the token is not valid")]
    Invalid,
    /// It is valid but for its `exp`.
    #[error("the token has expired")]
    Expired,
    /// The keys of the issuer could not be fetched.
    #[error("the keys of the issuer cannot be fetched")]
    KeysAway,
}

/// The HTTP client could not be built.
#[derive(Debug, thiserror::Error)]
#[error("the HTTP client for the keys of auth.issuers cannot be built")]
pub struct ClientError(#[from] reqwest::Error);

/// All identity providers; one for the instance, shared.
pub struct Issuers {
    all: Vec<Issuer>,
    metrics: Arc<IssuerMetrics>,
}

/// The one claim that is read before the signature is verified.
#[derive(Deserialize)]
struct Peeked {
    iss: String,
}

impl Issuers {
    /// The configured issuers. Their keys are fetched once [`Issuers::run`] runs.
    pub fn new(settings: &[config::Issuer]) -> Result<Self, ClientError> {
        let metrics = Arc::<IssuerMetrics>::default();
        if settings.is_empty() {
            return Ok(Self { all: Vec::new(), metrics });
        }
        let http = fetch::client()?;
        let all = settings.iter().map(|one| Issuer::new(one.clone(), http.clone(), metrics.clone())).collect();
        Ok(Self { all, metrics })
    }

    /// The issuer that a token names. Nothing is verified yet.
    #[must_use]
    pub fn of(&self, token: &str) -> Option<&Issuer> {
        if self.all.is_empty() || token.len() > TOKEN_BYTES_MAX {
            return None;
        }
        let Peeked { iss } = jsonwebtoken::dangerous::insecure_decode_claims(token).ok()?;
        self.all.iter().find(|issuer| issuer.name() == iss)
    }

    /// Keeps the keys of all issuers, for as long as the instance runs.
    pub async fn run(&self) {
        join_all(self.all.iter().map(Issuer::keep_keys)).await;
        std::future::pending().await
    }

    /// A sentence for each issuer whose keys cannot be fetched.
    #[must_use]
    pub fn troubles(&self) -> Vec<String> {
        self.all.iter().filter_map(Issuer::trouble).collect()
    }

    /// What was counted.
    #[must_use]
    pub fn metrics(&self) -> &IssuerMetrics {
        &self.metrics
    }
}
