//! The access token: bought with the service account's key, kept until shortly before it ends, one purchase at a time.

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

/// What the access token may do: send, nothing else.
const SCOPE: &str = "https://www.googleapis.com/auth/firebase.messaging";

/// How long an assertion holds; Google takes no more.
const ASSERTION_S: i64 = 3_600;

/// A token is bought anew this long before it ends, so that none ends on its way.
const MARGIN: Duration = Duration::from_secs(60);

/// The largest service-account file that is read; real ones have 2.4 KiB.
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

/// What the key signs.
#[derive(Serialize)]
struct Assertion<'a> {
    iss: &'a str,
    scope: &'a str,
    aud: &'a str,
    iat: i64,
    exp: i64,
}

/// What the purchase answers.
#[derive(Deserialize)]
struct Granted {
    access_token: SecretString,
    expires_in: u64,
}

/// There is no access token to be had now.
#[derive(Clone, Debug)]
pub(super) struct NoAccess {
    /// What the token endpoint asked to wait.
    pub(super) after: Option<Duration>,
    /// For the log; holds no secret.
    pub(super) reason: String,
}

/// A bought token; its clone tells later which purchase it was.
#[derive(Clone, Debug)]
pub(super) struct Bearer {
    token: Arc<SecretString>,
    until: Instant,
    purchase: u64,
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
    /// Counts purchases that have ended, well or not; read before the lock is waited for.
    purchases: AtomicU64,
    /// Held over a purchase, so that all who need one share it, and its failure too.
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
            purchases: AtomicU64::new(0),
            last: Mutex::new(None),
        };
        access.assertion().map_err(|_| wrong_key())?;
        Ok(access)
    }

    pub(super) fn project(&self) -> &str {
        &self.project_id
    }

    /// The current token, or a new one where it has ended or is the `refused` one. Whoever waited while somebody else
    /// bought takes what came of that.
    pub(super) async fn token(&self, http: &Client, refused: Option<&Bearer>) -> Result<Bearer, NoAccess> {
        let seen = self.purchases.load(Ordering::Acquire);
        let mut last = self.last.lock().await;
        match &*last {
            Some(Ok(bearer))
                if bearer.until > Instant::now() && refused.is_none_or(|r| r.purchase != bearer.purchase) =>
            {
                return Ok(bearer.clone());
            }
            Some(Err(error)) if self.purchases.load(Ordering::Acquire) != seen => return Err(error.clone()),
            _ => {}
        }
        let bought = self.buy(http).await;
        self.purchases.fetch_add(1, Ordering::Release);
        *last = Some(bought.clone());
        bought
    }

    async fn buy(&self, http: &Client) -> Result<Bearer, NoAccess> {
        let now = |reason: &str| NoAccess { after: None, reason: format!("no access token: {reason}") };
        let assertion = self.assertion().map_err(|_| now("the key does not sign"))?;
        let form = format!("grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion={assertion}");
        let request = http.post(self.token_uri.clone()).header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        let asked = Instant::now();
        let response = request.body(form).send().await.map_err(|e| now(failure(&e)))?;
        let status = response.status();
        let after = response.headers().get(RETRY_AFTER).and_then(|v| v.to_str().ok()).and_then(answer::retry_after);
        let body = capped(response).await.map_err(|e| now(failure(&e)))?;
        if !status.is_success() {
            return Err(NoAccess { after, ..now(&format!("the token endpoint answered {}", status.as_u16())) });
        }
        let granted: Granted =
            serde_json::from_slice(&body).map_err(|_| now("the token endpoint answered no token"))?;
        // A token can only be sent as a header; one that cannot would fail every send for its whole life.
        if !granted.access_token.expose_secret().bytes().all(|b| b.is_ascii_graphic()) {
            return Err(now("the token endpoint answered no token"));
        }
        Ok(Bearer {
            token: Arc::new(granted.access_token),
            until: asked + Duration::from_secs(granted.expires_in.min(86_400)).saturating_sub(MARGIN),
            purchase: self.purchases.load(Ordering::Acquire),
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

/// The error of the parser is not passed on: it can quote the key.
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
