//! The parts of a request that handlers take: the viewer, ids, JSON bodies, the client's address.

use std::future::Future;
use std::net::{IpAddr, Ipv4Addr};
use std::pin::Pin;
use std::time::Duration;

use actix_web::dev::Payload;
use actix_web::http::header;
use actix_web::{FromRequest, HttpRequest, web};
use bytes::BytesMut;
use futures_util::StreamExt;
use serde::de::DeserializeOwned;

use super::State;
use crate::auth::token::Claims;
use crate::domain::chatroom::Chatroom;
use crate::domain::clock::Micros;
use crate::domain::{ChatroomId, ChatterId, SignInId};
use crate::problem::{Code, Problem};

/// The time that a body may take to arrive.
const BODY_TIME_MAX: Duration = Duration::from_secs(10);

type Extracting<T> = Pin<Box<dyn Future<Output = Result<T, Problem>>>>;

/// The chatter of the request: its token is valid, and sign-in and account still exist.
#[derive(Clone, Copy, Debug)]
pub(super) struct Viewer {
    pub chatter_id: ChatterId,
    pub sign_in_id: Option<SignInId>,
    pub expires_at: Micros,
}

impl Viewer {
    /// Checks a token, first its signature and claims, then the database.
    pub(super) async fn of_token(state: &State, token: &str) -> Result<Self, Problem> {
        let viewer = Self::claimed(state, token)?;
        state.store.standing(viewer.chatter_id, viewer.sign_in_id).await??;
        Ok(viewer)
    }

    /// Checks only signature and claims of a token; the sign-in may have ended.
    pub(super) fn claimed(state: &State, token: &str) -> Result<Self, Problem> {
        let claims = state.tokens.verify(token)?;
        Ok(Self { chatter_id: claims.chatter_id, sign_in_id: claims.sign_in_id, expires_at: claims.expires_at })
    }

    /// The claims of the token.
    #[must_use]
    pub(super) fn claims(self) -> Claims {
        Claims { chatter_id: self.chatter_id, sign_in_id: self.sign_in_id, expires_at: self.expires_at }
    }

    /// The room, if the viewer may open a socket in it now.
    pub(super) async fn admitted(self, state: &State, chatroom: ChatroomId) -> Result<Chatroom, Problem> {
        let (standing, room) = state.store.admission(self.chatter_id, self.sign_in_id, chatroom).await?;
        standing?;
        room.ok_or_else(|| Problem::not_found("chatroom"))
    }
}

impl FromRequest for Viewer {
    type Error = Problem;
    type Future = Extracting<Self>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let (state, token) = (state_of(request), bearer(request));
        Box::pin(async move {
            let token = token?
                .ok_or_else(|| Problem::new(Code::TokenMissing, "Send the header Authorization: Bearer TOKEN."))?;
            let state = state?;
            Self::of_token(&state, &token).await
        })
    }
}

/// The token of the Authorization header, if there is one.
pub(super) fn bearer(request: &HttpRequest) -> Result<Option<String>, Problem> {
    let Some(value) = request.headers().get(header::AUTHORIZATION) else { return Ok(None) };
    let invalid = || Problem::new(Code::TokenInvalid, "Send the header Authorization: Bearer TOKEN.");
    let (scheme, token) = value.to_str().ok().and_then(|text| text.split_once(' ')).ok_or_else(invalid)?;
    if scheme.eq_ignore_ascii_case("bearer") { Ok(Some(token.trim().to_owned())) } else { Err(invalid()) }
}

/// The shared state of the request's app.
pub(super) fn state_of(request: &HttpRequest) -> Result<web::Data<State>, Problem> {
    request.app_data::<web::Data<State>>().cloned().ok_or_else(Problem::internal)
}

/// An id in the path. A text that is not an id names nothing, so it is not found.
pub(super) fn id<Id: From<i64>>(text: &str, what: &str) -> Result<Id, Problem> {
    let digits = !text.is_empty() && text.len() <= 16 && text.bytes().all(|b| b.is_ascii_digit());
    let id = if digits { text.parse().unwrap_or(0) } else { 0 };
    if id > 0 { Ok(id.into()) } else { Err(Problem::not_found(what)) }
}

/// A JSON body, limited in size and time.
pub(super) struct Json<T>(pub T);

impl<T: DeserializeOwned + 'static> FromRequest for Json<T> {
    type Error = Problem;
    type Future = Extracting<Self>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let state = state_of(request);
        let json = is_json(request);
        let encoded = request.headers().contains_key(header::CONTENT_ENCODING);
        let payload = payload.take();
        Box::pin(async move {
            let state = state?;
            if !state.drain.takes_chats() {
                return Err(Problem::new(
                    Code::Draining,
                    "This instance is shutting down; send the same request again.",
                ));
            }
            if !json || encoded {
                return Err(Problem::new(
                    Code::UnsupportedMediaType,
                    "Send plain JSON with the header Content-Type: application/json.",
                ));
            }
            let late = |_| Problem::new(Code::Timeout, "The body did not arrive within ten seconds.");
            let body =
                tokio::time::timeout(BODY_TIME_MAX, read(payload, state.rules.body_bytes)).await.map_err(late)??;
            serde_json::from_slice(&body).map(Json).map_err(|error| malformed(&error))
        })
    }
}

fn is_json(request: &HttpRequest) -> bool {
    let value = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let mut parts = value.split(';').map(str::trim);
    let json = parts.next().is_some_and(|essence| essence.eq_ignore_ascii_case("application/json"));
    json && parts.all(|p| {
        !p.to_ascii_lowercase().starts_with("charset=") || p.trim_matches('"').to_ascii_lowercase().ends_with("utf-8")
    })
}

async fn read(mut payload: Payload, bytes_max: usize) -> Result<BytesMut, Problem> {
    let mut body = BytesMut::new();
    while let Some(chunk) = payload.next().await {
        let chunk =
            chunk.map_err(|_| Problem::new(Code::Malformed, "The body ended too early or is encoded wrongly."))?;
        if body.len() + chunk.len() > bytes_max {
            return Err(Problem::new(Code::TooLarge, format!("A body may have at most {bytes_max} bytes.")));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// Names the place and, where it is missing or doubled, the key; the detail never repeats values.
fn malformed(error: &serde_json::Error) -> Problem {
    let text = error.to_string();
    let detail = if text.starts_with("missing field") || text.starts_with("duplicate field") {
        text
    } else {
        format!("This is not the JSON expected here, at line {} column {}.", error.line(), error.column())
    };
    Problem::new(Code::Malformed, detail)
}

/// The client's address, for rate limits: the peer's, or the one that the trusted proxies in front have added.
pub(super) fn address(request: &HttpRequest, proxy_hops: usize) -> IpAddr {
    let peer = request.peer_addr().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.ip());
    let forwarded = request.headers().get_all("x-forwarded-for").filter_map(|value| value.to_str().ok());
    let hops: Vec<&str> = forwarded.flat_map(|value| value.split(',')).map(str::trim).collect();
    let Some(at) = hops.len().checked_sub(proxy_hops) else { return peer };
    hops.get(at).and_then(|text| text.parse().ok()).unwrap_or(peer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ChatId;
    use actix_web::test::TestRequest;

    #[test]
    fn what_is_no_id_is_not_found() {
        assert_eq!(id("7", "chat"), Ok(ChatId::new(7)));
        for bad in ["", "0", "-1", "+1", "1e3", "٣", "9223372036854775808", "1 ", "\0"] {
            assert!(id::<ChatId>(bad, "chat").is_err(), "{bad}");
        }
    }

    #[test]
    fn a_forwarded_address_counts_only_behind_trusted_proxies() {
        let request = TestRequest::default()
            .peer_addr(([127, 0, 0, 1], 9).into())
            .insert_header(("x-forwarded-for", "6.6.6.6, 10.0.0.1"))
            .to_http_request();
        assert_eq!(address(&request, 0).to_string(), "127.0.0.1");
        assert_eq!(address(&request, 1).to_string(), "10.0.0.1");
        assert_eq!(address(&request, 2).to_string(), "6.6.6.6");
        assert_eq!(address(&request, 3).to_string(), "127.0.0.1");
    }
}
