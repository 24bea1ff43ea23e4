//! `[[auth.issuers]]`: the identity providers whose tokens are accepted beside the server's own.

use std::net::IpAddr;

use serde::{Deserialize, Deserializer};

/// An identity provider.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Issuer {
    /// The claim `iss` (RFC 7519) of its tokens, to the character.
    pub issuer: String,
    /// Where its keys are (RFC 7517); none = where its discovery document says.
    #[serde(default)]
    pub jwks_url: Option<String>,
    /// The values of the claim `aud` that mean this server; a token needs one of them. Never empty.
    #[serde(deserialize_with = "one_or_many")]
    pub audience: Vec<String>,
    /// The algorithms that its tokens may be signed with. Never empty.
    #[serde(default = "all_algorithms")]
    pub algorithms: Vec<SignatureAlgorithm>,
    /// The claim that names the account for good.
    #[serde(default = "default_subject_claim")]
    pub subject_claim: String,
    /// The claim that a new account gets its username from.
    #[serde(default = "default_name_claim")]
    pub name_claim: String,
    /// Whether a token of an unknown subject creates an account.
    #[serde(default)]
    pub create_accounts: bool,
}

/// An algorithm with a public key (RFC 7518, RFC 8037).
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
pub enum SignatureAlgorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    RS256,
    /// ECDSA with P-256 and SHA-256.
    ES256,
    /// Ed25519.
    EdDSA,
}

fn all_algorithms() -> Vec<SignatureAlgorithm> {
    vec![SignatureAlgorithm::RS256, SignatureAlgorithm::ES256, SignatureAlgorithm::EdDSA]
}

fn default_subject_claim() -> String {
    "sub".to_owned()
}

fn default_name_claim() -> String {
    "preferred_username".to_owned()
}

fn one_or_many<'de, D: Deserializer<'de>>(source: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "must be a text or a list of texts")]
    enum OneOrMany {
        One(String),
        Many(Vec<String>),
    }
    Ok(match OneOrMany::deserialize(source)? {
        OneOrMany::One(one) => vec![one],
        OneOrMany::Many(many) => many,
    })
}

/// The rule that each issuer breaks, if it breaks one, with its place. The server's own `iss` is not an issuer's too.
pub(super) fn broken_rules(issuers: &[Issuer], own: &str) -> Vec<(String, &'static str)> {
    let broken = |(n, one): (usize, &Issuer)| {
        let iss = &one.issuer;
        let (key, rule) = if iss.is_empty() || iss.chars().any(char::is_whitespace) {
            ("issuer", "must have no blanks, and not be empty")
        } else if iss == own {
            ("issuer", "must not be the server's own auth.jwt_issuer")
        } else if issuers[..n].iter().any(|before| before.issuer == *iss) {
            ("issuer", "must not be listed twice")
        } else if one.jwks_url.is_none() && (!is_safe_url(iss) || iss.contains(['?', '#'])) {
            ("issuer", "must be an https URL without a query (http only to this machine), or have a jwks_url beside it")
        } else if one.jwks_url.as_deref().is_some_and(|url| !is_safe_url(url)) {
            ("jwks_url", "must begin with https:// (or http:// to this machine)")
        } else if one.audience.is_empty() || one.audience.iter().any(|aud| aud.trim().is_empty()) {
            ("audience", "must not be empty: tokens for other services would be accepted")
        } else if one.algorithms.is_empty() {
            ("algorithms", "must list RS256, ES256 or EdDSA")
        } else if one.subject_claim.is_empty() {
            ("subject_claim", "must not be empty")
        } else if one.name_claim.is_empty() {
            ("name_claim", "must not be empty")
        } else {
            return None;
        };
        Some((format!("auth.issuers[{n}].{key}"), rule))
    };
    issuers.iter().enumerate().filter_map(broken).collect()
}

/// Whether keys may be fetched from there: over TLS, or from this machine.
fn is_safe_url(url: &str) -> bool {
    let (is_tls, rest) = match (url.strip_prefix("https://"), url.strip_prefix("http://")) {
        (Some(rest), _) => (true, rest),
        (None, Some(rest)) => (false, rest),
        (None, None) => return false,
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.is_empty() || url.chars().any(|c| c.is_whitespace() || c.is_control() || c == '\\') {
        return false;
    }
    let host = match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, _)) => host,
        None => authority.split(':').next().unwrap_or_default(),
    };
    !authority.contains('@')
        && (is_tls || host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_over_tls_or_from_this_machine() {
        for good in [
            "https://a.example",
            "https://a.example/r?x=1",
            "http://127.0.0.1:8/x",
            "http://[::1]:9",
            "http://localhost",
        ] {
            assert!(is_safe_url(good), "{good}");
        }
        for bad in ["", "a.example", "http://a.example", "http://127.0.0.1.a.example", "https://", "ftp://127.0.0.1"] {
            assert!(!is_safe_url(bad), "{bad}");
        }
        for bad in ["http://127.0.0.1@a.example", "https://a b", "http://127.0.0.1\\@a.example"] {
            assert!(!is_safe_url(bad), "{bad}");
        }
    }
}
