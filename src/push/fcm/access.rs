//! The access token: obtained with the service account's key, cached until shortly before it expires, one request at a
//! time.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use reqwest::{Client, Url};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::{OpenError, answer, capped, failure, safe_url};
use crate::domain::clock::Micros;

/// The scope of the access token: sending, nothing else.
const SCOPE: &str = "https://www.googleapis.com/auth/firebase.messaging";

/// How long an assertion is valid; Google accepts no more.
const ASSERTION_S: i64 = 3_600;

/// A token is replaced this long before it expires, so that none expires on its way.
const MARGIN: Duration = Duration::from_secs(60);

/// The largest service account file that is read; real ones have 2.4 KiB.
const FILE_BYTES_MAX: u64 = 65_536;

/// The fields of the service account's JSON that matter.
#[derive(Deserialize)]
struct ServiceAccount {
    #[serde(rename = "type")]
    kind: String,
    project_id: String,
    #[serde(default)]
    private_key_id: Option<String>,
    private_key: SecretString,
    client_email: String,
    token_uri: String,
}

/// The claims that the key signs.
#[derive(Serialize)]
struct Assertion<'a> {
    iss: &'a str,
    scope: &'a str,
    aud: &'a str,
    iat: i64,
    exp: i64,
}

/// The answer of the token endpoint.
#[derive(Deserialize)]
struct Granted {
    access_token: SecretString,
    expires_in: u64,
}

/// Why there is no access token at the moment.
#[derive(Clone, Debug)]
pub(super) struct NoAccess {
    /// The wait that the token endpoint asked for.
    pub(super) after: Option<Duration>,
    /// For the log, without secrets.
    pub(super) reason: String,
}

/// An access token, and the number of the request that it came from.
#[derive(Clone, Debug)]
pub(super) struct Bearer {
    token: Arc<SecretString>,
    until: Instant,
    request: u64,
}

impl Bearer {
    pub(super) fn as_str(&self) -> &str {
        self.token.expose_secret()
    }
}

/// The service account and its current access token.
pub(super) struct Access {
    project_id: String,
    client_email: String,
    token_uri: Url,
    header: Header,
    key: EncodingKey,
    /// Requests that have ended, with or without success; read before waiting for the lock.
    requests: AtomicU64,
    /// Locked during a request, so that concurrent callers share its token or its failure.
    last: Mutex<Option<Result<Bearer, NoAccess>>>,
}

/// Leaves the key out.
impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access").finish_non_exhaustive()
    }
}

impl Access {
    /// Reads the file and tries the key once.
    pub(super) fn read(path: &Path) -> Result<Self, OpenError> {
        let account = parse(path)?;
        let bad = |field, rule| OpenError::Field { path: path.to_owned(), field, rule };
        if account.kind != "service_account" {
            return Err(bad("type", "must be service_account"));
        }
        let plain = |c: u8| c.is_ascii_alphanumeric() || b"-.:".contains(&c);
        if account.project_id.is_empty() || !account.project_id.bytes().all(plain) {
            return Err(bad("project_id", "must be a project's id"));
        }
        let token_uri = safe_url(&account.token_uri)
            .ok_or_else(|| bad("token_uri", "must be an https URL (http only to this machine)"))?;
        let wrong_key = || bad("private_key", "must be an RSA private key as PEM");
        let key = EncodingKey::from_rsa_pem(account.private_key.expose_secret().as_bytes()).map_err(|_| wrong_key())?;
        let header = Header { kid: account.private_key_id, ..Header::new(Algorithm::RS256) };
        let access = Self {
            project_id: account.project_id,
            client_email: account.client_email,
            token_uri,
            header,
            key,
            requests: AtomicU64::new(0),
            last: Mutex::new(None),
        };
        access.assertion().map_err(|_| wrong_key())?;
        Ok(access)
    }

    pub(super) fn project(&self) -> &str {
        &self.project_id
    }

    /// The current token, or a new one where it has expired or is the `refused` one. A caller that waited for another
    /// caller's request shares its result.
    pub(super) async fn token(&self, http: &Client, refused: Option<&Bearer>) -> Result<Bearer, NoAccess> {
        let seen = self.requests.load(Ordering::Acquire);
        let mut last = self.last.lock().await;
        match &*last {
            Some(Ok(bearer))
                if bearer.until > Instant::now() && refused.is_none_or(|r| r.request != bearer.request) =>
            {
                return Ok(bearer.clone());
            }
            Some(Err(error)) if self.requests.load(Ordering::Acquire) != seen => return Err(error.clone()),
            _ => {}
        }
        let granted = self.request(http).await;
        self.requests.fetch_add(1, Ordering::Release);
        *last = Some(granted.clone());
        granted
    }

    async fn request(&self, http: &Client) -> Result<Bearer, NoAccess> {
        let no_access = |reason: &str| NoAccess { after: None, reason: format!("no access token: {reason}") };
        let assertion = self.assertion().map_err(|_| no_access("the key does not sign"))?;
        let form = format!("grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion={assertion}");
        let request = http.post(self.token_uri.clone()).header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        let requested = Instant::now();
        let response = request.body(form).send().await.map_err(|e| no_access(failure(&e)))?;
        let status = response.status();
        let after = response.headers().get(RETRY_AFTER).and_then(|v| v.to_str().ok()).and_then(answer::retry_after);
        let body = capped(response).await.map_err(|e| no_access(failure(&e)))?;
        if !status.is_success() {
            return Err(NoAccess { after, ..no_access(&format!("the token endpoint answered {}", status.as_u16())) });
        }
        let granted: Granted =
            serde_json::from_slice(&body).map_err(|_| no_access("the token endpoint answered no token"))?;
        // A token is sent in a header. One that cannot be would fail every send until it expires.
        if !granted.access_token.expose_secret().bytes().all(|b| b.is_ascii_graphic()) {
            return Err(no_access("the token endpoint answered no token"));
        }
        Ok(Bearer {
            token: Arc::new(granted.access_token),
            until: requested + Duration::from_secs(granted.expires_in.min(86_400)).saturating_sub(MARGIN),
            request: self.requests.load(Ordering::Acquire),
        })
    }

    fn assertion(&self) -> Result<String, jsonwebtoken::errors::Error> {
        let now_s = Micros::now().0 / 1_000_000;
        let claims = Assertion {
            iss: &self.client_email,
            scope: SCOPE,
            aud: self.token_uri.as_str(),
            iat: now_s,
            exp: now_s + ASSERTION_S,
        };
        jsonwebtoken::encode(&self.header, &claims, &self.key)
    }
}

/// The error of the parser is not passed on, since it can quote the key.
fn parse(path: &Path) -> Result<ServiceAccount, OpenError> {
    let unreadable = |source| OpenError::Unreadable { path: path.to_owned(), source };
    if std::fs::metadata(path).map_err(unreadable)?.len() > FILE_BYTES_MAX {
        return Err(OpenError::Malformed { path: path.to_owned(), line: 0, column: 0 });
    }
    let text = SecretString::from(std::fs::read_to_string(path).map_err(unreadable)?);
    serde_json::from_str(text.expose_secret()).map_err(|e| OpenError::Malformed {
        path: path.to_owned(),
        line: e.line(),
        column: e.column(),
    })
}
