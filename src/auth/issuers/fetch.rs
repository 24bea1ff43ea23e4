//! Fetching the keys of an issuer: from its `jwks_url`, or from where its discovery document says (OpenID Connect
//! Discovery 1.0, RFC 8414). Answers are bounded in time and bytes, and redirects are not followed.

use std::time::Duration;

use reqwest::redirect::Policy;
use reqwest::{Client, StatusCode, Url};
use serde::Deserialize;

use super::keys::KeySet;
use crate::config::Issuer;

/// The longest fetch, discovery included.
pub(super) const FETCH_MAX: Duration = Duration::from_secs(5);
/// The largest answer that is read; sets with certificates have some ten KiB.
const ANSWER_BYTES_MAX: usize = 262_144;

/// Why a set of keys could not be fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Failure {
    #[error("it does not answer in time")]
    Unreachable,
    #[error("it answers {0}")]
    Status(u16),
    #[error("its answer is larger than {ANSWER_BYTES_MAX} bytes")]
    TooLarge,
    #[error("its discovery document cannot be read")]
    Discovery,
    #[error("its discovery document is another issuer's")]
    OtherIssuer,
    #[error("its keys are at a URL that is not https")]
    Unsafe,
    #[error("its answer has no key for RS256, ES256 or EdDSA")]
    NoKeys,
}

impl Failure {
    /// Whether the issuer has answered, and its answer cannot be used.
    pub(super) fn is_refusal(self) -> bool {
        !matches!(self, Self::Unreachable | Self::Status(_))
    }
}

/// The members of a discovery document that matter here.
#[derive(Deserialize)]
struct Discovery {
    issuer: String,
    jwks_uri: String,
}

/// The HTTP client of all issuers.
pub(super) fn client() -> reqwest::Result<Client> {
    Client::builder().timeout(FETCH_MAX).connect_timeout(FETCH_MAX).redirect(Policy::none()).build()
}

/// Fetches the keys once.
pub(super) async fn key_set(http: &Client, issuer: &Issuer) -> Result<KeySet, Failure> {
    let fetch = async {
        let url = match &issuer.jwks_url {
            Some(url) => Url::parse(url).map_err(|_| Failure::Unsafe)?,
            None => discovered(http, issuer).await?,
        };
        KeySet::parse(&get(http, url).await?).ok_or(Failure::NoKeys)
    };
    tokio::time::timeout(FETCH_MAX, fetch).await.unwrap_or(Err(Failure::Unreachable))
}

/// Where the discovery document says that the keys are. It must be the document of this issuer.
async fn discovered(http: &Client, issuer: &Issuer) -> Result<Url, Failure> {
    let url = format!("{}/.well-known/openid-configuration", issuer.issuer.trim_end_matches('/'));
    let url = Url::parse(&url).map_err(|_| Failure::Unsafe)?;
    let is_local = !is_tls(&url);
    let answer = get(http, url).await?;
    let Discovery { issuer: named, jwks_uri } = serde_json::from_slice(&answer).map_err(|_| Failure::Discovery)?;
    if named != issuer.issuer {
        return Err(Failure::OtherIssuer);
    }
    let keys = Url::parse(&jwks_uri).map_err(|_| Failure::Unsafe)?;
    // An issuer elsewhere cannot make the server call services of its own machine.
    if is_tls(&keys) || (is_local && is_loopback(&keys)) { Ok(keys) } else { Err(Failure::Unsafe) }
}

async fn get(http: &Client, url: Url) -> Result<Vec<u8>, Failure> {
    let mut response = http.get(url).send().await.map_err(|_| Failure::Unreachable)?;
    if response.status() != StatusCode::OK {
        return Err(Failure::Status(response.status().as_u16()));
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|_| Failure::Unreachable)? {
        if body.len() + chunk.len() > ANSWER_BYTES_MAX {
            return Err(Failure::TooLarge);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn is_tls(url: &Url) -> bool {
    url.scheme() == "https"
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    url.scheme() == "http" && (host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback()))
}
