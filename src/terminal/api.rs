//! The REST half of the client: signs in, finds people and rooms, reads the history. Refusals keep the server's words.

use std::time::Duration;

use reqwest::{RequestBuilder, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::screen::clean;
use crate::domain::{ChatroomId, ChatterId, Seq};

const ANSWER_WITHIN: Duration = Duration::from_secs(15);
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
const RECENT: usize = 20;
const PAGE: usize = 200;

/// A chatter, as the server lists them.
#[derive(Clone, Deserialize)]
pub(super) struct Person {
    pub(super) id: ChatterId,
    pub(super) username: String,
}

/// A chat of the history.
#[derive(Deserialize)]
pub(super) struct Stored {
    pub(super) seq: Seq,
    pub(super) sender_id: ChatterId,
    pub(super) content: String,
    pub(super) create_time: String,
    pub(super) client_id: Option<String>,
}

/// A refusal, as the server explains it (RFC 9457).
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Refusal {
    pub(super) status: u16,
    pub(super) code: String,
    pub(super) detail: String,
    pub(super) chatroom_id: Option<ChatroomId>,
    pub(super) retry_after_s: Option<u64>,
}

impl Refusal {
    /// Reads the body of a refusal. A body that is no problem document still leaves the status.
    pub(super) fn read(status: StatusCode, body: &[u8]) -> Self {
        let mut refusal: Self = serde_json::from_slice(body).unwrap_or_default();
        refusal.status = status.as_u16();
        refusal
    }

    /// Whether the server failed at this request, and not for being busy.
    pub(super) fn is_failure(&self) -> bool {
        self.status >= 500 && self.status != 503
    }

    /// How long to wait before the same request may succeed; `None` if it never will.
    pub(super) fn retry_in(&self) -> Option<Duration> {
        let later = matches!(self.status, 408 | 429) || self.status >= 500;
        later.then(|| Duration::from_secs(self.retry_after_s.unwrap_or(1).clamp(1, 60)))
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.detail.is_empty() {
            return write!(f, "the server refused with status {}", self.status);
        }
        f.write_str(&clean(&self.detail))
    }
}

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    #[error("{0} is not the address of a server, as in http://127.0.0.1:8080")]
    Address(String),
    #[error("{server} cannot be reached")]
    Unreachable { server: String, source: reqwest::Error },
    #[error("{0} does not answer as a Hyper Chat server does")]
    Stranger(String),
    #[error("{0}")]
    Refused(Refusal),
    #[error("the password for {0} is wrong")]
    WrongPassword(String),
}

impl ApiError {
    /// How long to wait before the same request may succeed; `None` if it never will.
    pub(super) fn retry_in(&self) -> Option<Duration> {
        match self {
            Self::Refused(refusal) => refusal.retry_in(),
            Self::Unreachable { .. } => Some(Duration::from_secs(1)),
            Self::Address(_) | Self::Stranger(_) | Self::WrongPassword(_) => None,
        }
    }

    pub(super) fn has_code(&self, code: &str) -> bool {
        matches!(self, Self::Refused(refusal) if refusal.code == code)
    }
}

/// A signed-in client of one server.
pub(super) struct Api {
    http: reqwest::Client,
    /// Without a slash at the end.
    server: String,
    name: String,
    password: SecretString,
    token: Option<SecretString>,
    /// The newest one; good once.
    refresh_token: Option<SecretString>,
}

#[derive(Deserialize)]
struct SignedIn {
    token: SecretString,
    /// Servers of the first release give none.
    refresh_token: Option<SecretString>,
}

#[derive(Deserialize)]
struct Room {
    id: ChatroomId,
}

#[derive(Deserialize)]
struct Created {}

#[derive(Deserialize)]
struct Changes {
    epoch: Option<String>,
}

impl Api {
    pub(super) fn new(server: &str, name: &str, password: SecretString) -> Result<Self, ApiError> {
        let address = || ApiError::Address(clean(server));
        let url = reqwest::Url::parse(server).map_err(|_| address())?;
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() || url.query().is_some() {
            return Err(address());
        }
        let builder = reqwest::Client::builder().timeout(ANSWER_WITHIN).connect_timeout(CONNECT_WITHIN);
        let server = server.trim_end_matches('/').to_owned();
        let http = builder.build().map_err(|source| ApiError::Unreachable { server: server.clone(), source })?;
        Ok(Self { http, server, name: name.to_owned(), password, token: None, refresh_token: None })
    }

    /// The URL of the room's socket, and the token to open it with.
    pub(super) fn socket(&self, room: ChatroomId) -> (String, Option<&SecretString>) {
        // http becomes ws, https wss.
        (format!("ws{}/ws/chatrooms/{room}/", self.server.trim_start_matches("http")), self.token.as_ref())
    }

    /// Signs in, after creating the account if the username is free. Returns whether the account is new.
    pub(super) async fn sign_in_or_up(&mut self) -> Result<bool, ApiError> {
        match self.sign_in().await {
            Err(e) if e.has_code("credentials_wrong") => {}
            other => return other.map(|()| false),
        }
        let body = json!({"username": self.name, "password": self.password.expose_secret(), "nickname": self.name});
        match self.request::<Created>(self.http.post(self.url("/api/chatters")).json(&body)).await {
            Ok(Created {}) => self.sign_in().await.map(|()| true),
            Err(e) if e.has_code("username_taken") => Err(ApiError::WrongPassword(self.name.clone())),
            Err(e) => Err(e),
        }
    }

    /// Gets a new token with the password.
    async fn sign_in(&mut self) -> Result<(), ApiError> {
        let body = json!({
            "username": self.name, "password": self.password.expose_secret(), "device_name": "hyper-chat chat",
        });
        self.take_tokens("/api/auth", &body).await
    }

    /// Gets a new token for the same session; with the password only where the session has ended.
    pub(super) async fn refresh(&mut self) -> Result<(), ApiError> {
        let Some(refresh_token) = &self.refresh_token else { return self.sign_in().await };
        let body = json!({"refresh_token": refresh_token.expose_secret()});
        match self.take_tokens("/api/auth/refresh", &body).await {
            Err(ApiError::Refused(Refusal { status: 401, .. })) => {
                self.refresh_token = None;
                self.sign_in().await
            }
            other => other,
        }
    }

    /// Ends the session. Where the server cannot be reached, it ends by itself.
    pub(super) async fn sign_out(&self) {
        let _ = self.request::<Created>(self.http.delete(self.url("/api/auth"))).await;
    }

    async fn take_tokens(&mut self, path: &str, body: &serde_json::Value) -> Result<(), ApiError> {
        self.token = None;
        let signed_in: SignedIn = self.request(self.http.post(self.url(path)).json(body)).await?;
        (self.token, self.refresh_token) = (Some(signed_in.token), signed_in.refresh_token);
        Ok(())
    }

    /// The chatter of exactly this name, in any case.
    pub(super) async fn find(&self, name: &str) -> Result<Option<Person>, ApiError> {
        let request = self.http.get(self.query("/api/chatters", &[("query", name)])?);
        let people: Vec<Person> = self.request(request).await?;
        Ok(people.into_iter().find(|person| person.username.eq_ignore_ascii_case(name)))
    }

    /// The room with this chatter, created if there is none.
    pub(super) async fn chatroom_with(&self, other: ChatterId) -> Result<ChatroomId, ApiError> {
        let request = self.http.post(self.url("/api/chatrooms")).json(&json!({"opponent_id": other}));
        match self.request::<Room>(request).await {
            Ok(room) => Ok(room.id),
            Err(ApiError::Refused(Refusal { status: 409, chatroom_id: Some(id), .. })) => Ok(id),
            Err(e) => Err(e),
        }
    }

    /// The epoch of the server's database; refused with `epoch_changed` if it is another one than this. None from a
    /// server of an earlier release.
    pub(super) async fn epoch(&self, room: ChatroomId, known: Option<&str>) -> Result<Option<String>, ApiError> {
        let mut query = vec![("limit", "1")];
        query.extend(known.map(|known| ("epoch", known)));
        let path = format!("/api/chatrooms/{room}/changes");
        let changes: Changes = self.request(self.http.get(self.query(&path, &query)?)).await?;
        Ok(changes.epoch)
    }

    /// The room's last chats, oldest first.
    pub(super) async fn recent(&self, room: ChatroomId) -> Result<Vec<Stored>, ApiError> {
        self.chats(room, &[("limit", &RECENT.to_string())]).await
    }

    /// A page of the chats after this `seq`, oldest first; empty at the end.
    pub(super) async fn after(&self, room: ChatroomId, seq: Seq) -> Result<Vec<Stored>, ApiError> {
        self.chats(room, &[("after", &seq.to_string()), ("limit", &PAGE.to_string())]).await
    }

    async fn chats(&self, room: ChatroomId, page: &[(&str, &str)]) -> Result<Vec<Stored>, ApiError> {
        self.request(self.http.get(self.query(&format!("/api/chatrooms/{room}/chats"), page)?)).await
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.server)
    }

    fn query(&self, path: &str, pairs: &[(&str, &str)]) -> Result<reqwest::Url, ApiError> {
        reqwest::Url::parse_with_params(&self.url(path), pairs).map_err(|_| ApiError::Address(clean(&self.server)))
    }

    async fn request<T: DeserializeOwned>(&self, mut request: RequestBuilder) -> Result<T, ApiError> {
        if let Some(token) = &self.token {
            request = request.bearer_auth(token.expose_secret());
        }
        let unreachable = |source| ApiError::Unreachable { server: clean(&self.server), source };
        let answer = request.send().await.map_err(unreachable)?;
        let status = answer.status();
        let body = answer.bytes().await.map_err(unreachable)?;
        if !status.is_success() {
            return Err(ApiError::Refused(Refusal::read(status, &body)));
        }
        serde_json::from_slice(&body).map_err(|_| ApiError::Stranger(clean(&self.server)))
    }
}
