//! FCM over HTTP v1: one request for each device, with an access token that is obtained with a service account's key.
//!
//! Only a refused access token is retried here, once; the notifier retries everything else. Tokens, keys and contents
//! never reach a log or an error.

mod access;
mod answer;

use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::header::RETRY_AFTER;
use reqwest::redirect::Policy;
use reqwest::{Client, Response, StatusCode, Url};
use serde_json::{Value, json};

use self::access::{Access, NoAccess};
use super::{Outcome, Push, Scope};

/// The most bytes that are read of an answer; Google's are below 2 KiB.
const ANSWER_BYTES_MAX: usize = 65_536;

/// Idle connections that are kept. The notifier sends at most this many pushes at once.
const IDLE_CONNECTIONS_MAX: usize = 16;

/// The FCM section of the configuration.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The service account's JSON file; without one, pushes are logged and not sent.
    pub service_account: Option<PathBuf>,
    /// The server of `/v1/projects/…`: Google's, except in tests.
    pub base_url: String,
    /// The time limit of one request, answer included.
    pub timeout: Duration,
    /// How long a device, or all of them, wait after a 429 without a time; FCM asks for a minute.
    pub quota_pause: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            service_account: None,
            base_url: "https://fcm.googleapis.com".to_owned(),
            timeout: Duration::from_secs(10),
            quota_pause: Duration::from_secs(60),
        }
    }
}

/// Why FCM cannot be used. The texts never quote the file.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file cannot be read.
    #[error("the file {path} cannot be read: {source}")]
    Unreadable {
        /// As configured.
        path: PathBuf,
        /// The system's error, or that the file is not UTF-8.
        source: std::io::Error,
    },
    /// The file is too long, or does not parse as the JSON of a service account.
    #[error("the file {path} is not a service account's JSON (line {line}, column {column})")]
    Malformed {
        /// As configured.
        path: PathBuf,
        /// Where the parser stopped, from 1; 0 if the file was too long to be parsed.
        line: usize,
        /// Where it stopped within the line; 0 if the file was too long to be parsed.
        column: usize,
    },
    /// The file parses, but a member of it cannot be used.
    #[error("the file {path} has a bad \"{field}\": {rule}")]
    Field {
        /// As configured.
        path: PathBuf,
        /// The member's name in the JSON.
        field: &'static str,
        /// What the member must be.
        rule: &'static str,
    },
    /// The base URL is neither https nor http to this machine, or has a query or fragment.
    #[error("the base URL must be https (http only to this machine)")]
    BaseUrl,
    /// The library could not build the HTTP client.
    #[error("the HTTP client cannot be built: {0}")]
    Client(reqwest::Error),
}

impl OpenError {
    /// What is wrong, for readers who may not see the operator's paths.
    #[must_use]
    pub fn without_path(&self) -> String {
        match self {
            Self::Unreadable { .. } => "the file of fcm.service_account cannot be read".to_owned(),
            Self::Malformed { .. } => "the file of fcm.service_account is not a service account's JSON".to_owned(),
            Self::Field { field, rule, .. } => format!("the file of fcm.service_account has a bad \"{field}\": {rule}"),
            Self::BaseUrl => "fcm.base_url must be https".to_owned(),
            Self::Client(_) => "the HTTP client cannot be built".to_owned(),
        }
    }
}

/// The client of one Firebase project.
#[derive(Debug)]
pub struct Fcm {
    http: Client,
    access: Access,
    send_url: Url,
    quota_pause: Duration,
}

impl Fcm {
    /// Reads the service account and tries its key, without using the network.
    pub fn open(service_account: &Path, settings: &Settings) -> Result<Self, OpenError> {
        let base = safe_url(&settings.base_url).ok_or(OpenError::BaseUrl)?;
        let access = Access::read(service_account)?;
        let send_url =
            format!("{}/v1/projects/{}/messages:send", base.as_str().trim_end_matches('/'), access.project());
        let send_url = Url::parse(&send_url).map_err(|_| OpenError::BaseUrl)?;
        let http = Client::builder()
            .timeout(settings.timeout)
            .connect_timeout(settings.timeout)
            .redirect(Policy::none())
            .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
            .build()
            .map_err(OpenError::Client)?;
        Ok(Self { http, access, send_url, quota_pause: settings.quota_pause })
    }

    /// Sends to one device. A refused access token is replaced once.
    pub async fn send(&self, token: &str, push: &Push) -> Outcome {
        let message = message(token, push);
        let mut bearer = match self.access.token(&self.http, None).await {
            Ok(bearer) => bearer,
            Err(error) => return no_access(error),
        };
        let mut outcome = self.post(bearer.as_str(), &message).await;
        if outcome.is_none() {
            bearer = match self.access.token(&self.http, Some(&bearer)).await {
                Ok(bearer) => bearer,
                Err(error) => return no_access(error),
            };
            outcome = self.post(bearer.as_str(), &message).await;
        }
        outcome.unwrap_or_else(|| Outcome::RetryLater {
            after: None,
            scope: Scope::All,
            reason: "401 with a new access token".to_owned(),
        })
    }

    /// Sends one request; none when FCM does not accept the access token.
    async fn post(&self, bearer: &str, message: &Value) -> Option<Outcome> {
        let sent = self.http.post(self.send_url.clone()).bearer_auth(bearer).json(message).send().await;
        let response = match sent {
            Ok(response) => response,
            Err(error) => return Some(retry(&error)),
        };
        let status = response.status();
        let after = response.headers().get(RETRY_AFTER).and_then(|v| v.to_str().ok()).and_then(answer::retry_after);
        let body = match capped(response).await {
            Ok(body) => body,
            Err(error) => return Some(retry(&error)),
        };
        let answer = answer::Answer::parse(&body);
        if status == StatusCode::UNAUTHORIZED && !answer.is_third_party() {
            return None;
        }
        Some(answer.outcome(status.as_u16(), after, self.quota_pause))
    }
}

/// Without an access token no send can succeed.
fn no_access(NoAccess { after, reason }: NoAccess) -> Outcome {
    Outcome::RetryLater { after, scope: Scope::All, reason }
}

/// FCM may or may not have accepted the push: it is sent again.
fn retry(error: &reqwest::Error) -> Outcome {
    Outcome::RetryLater { after: None, scope: Scope::Push, reason: failure(error).to_owned() }
}

/// The kind of failure. The error itself would name the URL, and so the project.
fn failure(error: &reqwest::Error) -> &'static str {
    if error.is_timeout() {
        "no answer in time"
    } else if error.is_connect() {
        "no connection"
    } else {
        "the answer broke off"
    }
}

/// The first bytes of the body, up to the bound.
async fn capped(mut response: Response) -> Result<Vec<u8>, reqwest::Error> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        let room = ANSWER_BYTES_MAX - body.len();
        body.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if chunk.len() >= room {
            break;
        }
    }
    Ok(body)
}

/// A URL to which a secret may be sent: https, or this machine.
fn safe_url(text: &str) -> Option<Url> {
    let url = Url::parse(text).ok()?;
    let loopback = match url.host_str()? {
        "localhost" | "[::1]" => true,
        host => host.parse::<std::net::Ipv4Addr>().is_ok_and(|ip| ip.is_loopback()),
    };
    let safe = url.scheme() == "https" || (url.scheme() == "http" && loopback);
    (safe && url.query().is_none() && url.fragment().is_none()).then_some(url)
}

/// The request body, with the names of FCM's discovery document.
fn message(token: &str, push: &Push) -> Value {
    let key = push.collapse_key();
    json!({"message": {
        "token": token,
        "notification": {"title": push.title, "body": push.body},
        "data": push.data(),
        "android": {"priority": "HIGH", "collapseKey": key, "notification": {"tag": key}},
        "apns": {
            "headers": {"apns-collapse-id": key, "apns-priority": "10"},
            "payload": {"aps": {"sound": "default", "thread-id": key}},
        },
    }})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::push::tests::chat;

    #[test]
    fn the_longest_message_fits_with_room_for_the_token() {
        for unit in ["a", "가", "\"", "\u{1}"] {
            let mut push = Push::new(&chat(&unit.repeat(8_000)));
            push.sender_id = i64::MIN.into();
            push.receiver_id = i64::MIN.into();
            push.chatroom_id = i64::MIN.into();
            push.chat_id = i64::MIN.into();
            push.seq = i64::MIN.into();
            let bytes = message(&"t".repeat(384), &push).to_string().len();
            assert!(bytes <= 4_096, "{unit:?}: {bytes}");
        }
    }

    #[test]
    fn a_secret_is_sent_only_over_tls_or_to_this_machine() {
        for good in ["https://fcm.googleapis.com", "http://127.0.0.1:9/x", "http://localhost:1", "http://[::1]:1/"] {
            assert!(safe_url(good).is_some(), "{good}");
        }
        for bad in ["http://fcm.googleapis.com", "http://127.0.0.1.example.com", "ftp://127.0.0.1", "x", "https://a?b"]
        {
            assert!(safe_url(bad).is_none(), "{bad}");
        }
    }
}
