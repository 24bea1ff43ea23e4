//! One identity provider: verifies its tokens, and fetches its keys by one task.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, Header, Validation};
use parking_lot::Mutex;
use reqwest::Client;
use serde_json::{Map, Value};
use tokio::sync::{Notify, watch};

use super::cache::{Cache, Lookup};
use super::fetch::{self, Failure};
use super::keys::KeySet;
use super::{External, IssuerError};
use crate::config::{self, SignatureAlgorithm};
use crate::domain::Grant;
use crate::domain::clock::Micros;
use crate::metrics::IssuerMetrics;

/// How long a request waits for a fetch.
const REQUEST_WAIT: Duration = Duration::from_secs(3);
/// Requests that may wait for a fetch; further ones are refused at once.
const WAITING_MAX: usize = 256;
/// How far the issuer's clock may be ahead (RFC 7519, 4.1.5: a small leeway).
const AHEAD_S_MAX: u64 = 30;
/// The longest subject, in bytes (OpenID Connect Core, 2).
const SUBJECT_BYTES_MAX: usize = 255;
/// The claim that a new account gets its nickname from (OpenID Connect Core, 5.1).
const NICKNAME_CLAIM: &str = "name";
/// The types of tokens that are accepted: RFC 7519, 5.1, and RFC 9068, 2.1.
const TYPES: [&str; 3] = ["JWT", "at+jwt", "application/at+jwt"];

/// One identity provider whose tokens are accepted.
pub struct Issuer {
    settings: config::Issuer,
    algorithms: Vec<Algorithm>,
    validation: Validation,
    cache: Mutex<Cache>,
    /// A token names a key that is not known, and a fetch is due.
    requested: Notify,
    /// Changes at the end of each fetch.
    ended: watch::Sender<()>,
    http: Client,
    metrics: Arc<IssuerMetrics>,
}

impl Issuer {
    pub(super) fn new(settings: config::Issuer, http: Client, metrics: Arc<IssuerMetrics>) -> Self {
        let algorithms: Vec<Algorithm> = settings.algorithms.iter().map(|one| algorithm(*one)).collect();
        let mut validation = Validation::new(Algorithm::RS256);
        validation.leeway = AHEAD_S_MAX;
        validation.validate_nbf = true;
        validation.set_required_spec_claims(&["exp", "iss", "aud"]);
        validation.set_issuer(&[&settings.issuer]);
        validation.set_audience(&settings.audience);
        let (cache, requested, ended) = (Mutex::default(), Notify::new(), watch::Sender::new(()));
        Self { settings, algorithms, validation, cache, requested, ended, http, metrics }
    }

    /// The `iss` of its tokens.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.settings.issuer
    }

    /// Whether a token of an unknown subject creates an account.
    #[must_use]
    pub fn creates_accounts(&self) -> bool {
        self.settings.create_accounts
    }

    /// The claims of a token, if this issuer has signed it for this server and it has not expired.
    pub async fn verify(&self, token: &str) -> Result<External, IssuerError> {
        let header = jsonwebtoken::decode_header(token).map_err(|_| IssuerError::Invalid)?;
        if !self.is_acceptable(&header) {
            return Err(IssuerError::Invalid);
        }
        let key = self.key(header.kid.as_deref(), header.alg).await?;
        let validation = Validation { algorithms: vec![header.alg], ..self.validation.clone() };
        let data = jsonwebtoken::decode::<Map<String, Value>>(token, &key, &validation).map_err(reason)?;
        self.external(&data.claims)
    }

    /// Whether the algorithm is one of the configured (RFC 8725, 3.1), all of them with a public key, and the token is of
    /// a type that grants access (RFC 8725, 3.11) and of no extension (RFC 7515, 4.1.11).
    fn is_acceptable(&self, header: &Header) -> bool {
        let has_type = header.typ.as_deref().is_none_or(|typ| TYPES.iter().any(|one| one.eq_ignore_ascii_case(typ)));
        self.algorithms.contains(&header.alg) && has_type && header.crit.is_none()
    }

    fn external(&self, claims: &Map<String, Value>) -> Result<External, IssuerError> {
        let time = |name: &str| claims.get(name).map(|value| value.as_f64().ok_or(IssuerError::Invalid)).transpose();
        let text = |name: &str| claims.get(name).and_then(Value::as_str);
        let now_s = Micros::now().0 / 1_000_000;
        let exp = time("exp")?.ok_or(IssuerError::Invalid)?.min(1e12) as i64;
        // The leeway is for what lies ahead: from `exp` on a token is not accepted.
        if exp <= now_s {
            return Err(IssuerError::Expired);
        }
        // RFC 9068, 2.2, and OpenID Connect Core, 2, require it; without it no chatter could end the token.
        let issued_at = time("iat")?.ok_or(IssuerError::Invalid)?;
        if !claims.get("iss").is_some_and(Value::is_string) || issued_at > now_s as f64 + AHEAD_S_MAX as f64 {
            return Err(IssuerError::Invalid);
        }
        let subject = text(&self.settings.subject_claim).ok_or(IssuerError::Invalid)?;
        if subject.is_empty() || subject.len() > SUBJECT_BYTES_MAX || subject.chars().any(char::is_control) {
            return Err(IssuerError::Invalid);
        }
        Ok(External {
            external_id: external_id(&self.settings.issuer, subject),
            name: text(&self.settings.name_claim).map(str::to_owned),
            nickname: text(NICKNAME_CLAIM).map(str::to_owned),
            grant: Grant::Issued(Some(Micros((issued_at * 1e6) as i64))),
            expires_at: Micros(exp.saturating_mul(1_000_000)),
        })
    }

    /// The key that a token names. If it is not known and a fetch is due, waits for that fetch.
    async fn key(&self, kid: Option<&str>, algorithm: Algorithm) -> Result<Arc<DecodingKey>, IssuerError> {
        let mut lookup = self.find(kid, algorithm);
        if matches!(lookup, Lookup::Fetch) && self.ended.receiver_count() < WAITING_MAX {
            let mut ended = self.ended.subscribe();
            // Once more: a fetch that has ended since is not noticed by this subscription.
            lookup = self.find(kid, algorithm);
            if matches!(lookup, Lookup::Fetch) {
                // Without an answer by then, what is known decides.
                let _ = tokio::time::timeout(REQUEST_WAIT, ended.changed()).await;
                lookup = self.cache.lock().after_fetch(kid, algorithm, Instant::now());
            }
        }
        match lookup {
            Lookup::Found(key) => Ok(key),
            Lookup::Unknown => Err(IssuerError::Invalid),
            Lookup::Away | Lookup::Fetch => Err(IssuerError::KeysAway),
        }
    }

    /// Looks for a key, and requests a fetch where one is due. The task that fetches takes the same lock to begin, so it
    /// gets no request that a fetch has served.
    fn find(&self, kid: Option<&str>, algorithm: Algorithm) -> Lookup {
        let cache = self.cache.lock();
        let lookup = cache.find(kid, algorithm, Instant::now());
        if matches!(lookup, Lookup::Fetch) && !cache.is_running() {
            self.requested.notify_one();
        }
        lookup
    }

    /// Fetches the keys now, at intervals, and where a token names one that is not known.
    pub(super) async fn keep_keys(&self) {
        loop {
            let due = self.cache.lock().due();
            tokio::select! {
                () = until(due) => {}
                () = self.requested.notified() => {
                    let earliest = self.cache.lock().earliest();
                    until(earliest).await;
                }
            }
            self.cache.lock().begin(Instant::now());
            let fetched = fetch::key_set(&self.http, &self.settings).await;
            self.count(&fetched);
            self.cache.lock().end(fetched, Instant::now());
            self.ended.send_replace(());
        }
    }

    fn count(&self, fetched: &Result<KeySet, Failure>) {
        let was_failing = self.cache.lock().trouble(Instant::now()).is_some();
        let issuer = self.name();
        match fetched {
            Ok(_) => {
                self.metrics.fetches_ok.add(1);
                if was_failing {
                    tracing::info!(issuer, "the keys of the issuer were fetched again");
                }
            }
            Err(failure) => {
                let count =
                    if failure.is_refusal() { &self.metrics.fetches_refused } else { &self.metrics.fetches_failed };
                count.add(1);
                if !was_failing {
                    tracing::warn!(issuer, reason = %failure, "the keys of the issuer cannot be fetched");
                }
            }
        }
    }

    /// What an operator would miss, as a sentence.
    pub(super) fn trouble(&self) -> Option<String> {
        let (failing, failure, serves) = self.cache.lock().trouble(Instant::now())?;
        let what = match serves.as_secs() / 60 {
            0 => "its tokens are refused".to_owned(),
            minutes => format!("the last ones serve for {minutes} min more"),
        };
        let (issuer, failing_s) = (self.name(), failing.as_secs());
        Some(format!("The keys of {issuer} cannot be fetched for {failing_s} s, since {failure}: {what}."))
    }
}

/// Sleeps until then; none = now.
async fn until(at: Option<Instant>) {
    if let Some(at) = at {
        tokio::time::sleep_until(at.into()).await;
    }
}

/// How an account is found: its issuer, which has no blank, a blank, and its subject.
#[must_use]
pub fn external_id(issuer: &str, subject: &str) -> String {
    format!("{issuer} {subject}")
}

fn algorithm(of: SignatureAlgorithm) -> Algorithm {
    match of {
        SignatureAlgorithm::RS256 => Algorithm::RS256,
        SignatureAlgorithm::ES256 => Algorithm::ES256,
        SignatureAlgorithm::EdDSA => Algorithm::EdDSA,
    }
}

fn reason(error: jsonwebtoken::errors::Error) -> IssuerError {
    match error.kind() {
        ErrorKind::ExpiredSignature => IssuerError::Expired,
        _ => IssuerError::Invalid,
    }
}
