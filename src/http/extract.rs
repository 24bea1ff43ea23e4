//! The parts of a request that handlers take: the viewer, ids, the client's address.

use std::future::Future;
use std::net::{IpAddr, Ipv4Addr};
use std::pin::Pin;

use actix_web::dev::Payload;
use actix_web::http::header;
use actix_web::{FromRequest, HttpRequest, web};

use super::State;
use crate::auth::token::Claims;
use crate::domain::chatroom::Chatroom;
use crate::domain::clock::Micros;
use crate::domain::{ChatroomId, ChatterId, Grant};
use crate::problem::{Code, Problem};
use crate::telemetry::audit::Facts;

type Extracting<T> = Pin<Box<dyn Future<Output = Result<T, Problem>>>>;

/// The chatter of the request: its token is valid, and sign-in and account still exist.
#[derive(Clone, Copy, Debug)]
pub(super) struct Viewer {
    pub chatter_id: ChatterId,
    pub grant: Grant,
    pub expires_at: Micros,
}

impl Viewer {
    /// Checks a token, first its signature and claims, then the database.
    pub(super) async fn of_token(state: &State, token: &str, from: IpAddr) -> Result<Self, Problem> {
        let viewer = Self::claimed(state, token, from).await?;
        state.store.standing(viewer.chatter_id, viewer.grant).await??;
        Ok(viewer)
    }

    /// Checks only signature and claims of a token; what it is valid by may have ended.
    pub(super) async fn claimed(state: &State, token: &str, from: IpAddr) -> Result<Self, Problem> {
        let Claims { chatter_id, grant, expires_at } = state.bearers.verify(token, from).await?;
        Ok(Self { chatter_id, grant, expires_at })
    }

    /// Who acts, for the lines for audits.
    #[must_use]
    pub(super) fn facts(self) -> Facts {
        Facts { session: self.grant.sign_in_id(), ..Facts::of(self.chatter_id) }
    }

    /// The claims of the token.
    #[must_use]
    pub(super) fn claims(self) -> Claims {
        let Self { chatter_id, grant, expires_at } = self;
        Claims { chatter_id, grant, expires_at }
    }

    /// The room, if the viewer may open a socket in it now.
    pub(super) async fn admitted(self, state: &State, chatroom: ChatroomId) -> Result<Chatroom, Problem> {
        let (standing, room) = state.store.admission(self.chatter_id, self.grant, chatroom).await?;
        standing?;
        room.ok_or_else(|| Problem::not_found("chatroom"))
    }
}

impl FromRequest for Viewer {
    type Error = Problem;
    type Future = Extracting<Self>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let token = bearer(request);
        let state = state_of(request).map(|state| {
            let from = address(request, state.rules.proxy_hops);
            (state, from)
        });
        Box::pin(async move {
            let token = token?
                .ok_or_else(|| Problem::new(Code::TokenMissing, "Send the header Authorization: Bearer TOKEN."))?;
            let (state, from) = state?;
            Self::of_token(&state, &token, from).await
        })
    }
}

/// The token of the Authorization header (RFC 6750), if there is one. Another scheme is no token: a proxy or a browser
/// may have added it.
pub(super) fn bearer(request: &HttpRequest) -> Result<Option<String>, Problem> {
    let Some(value) = request.headers().get(header::AUTHORIZATION) else { return Ok(None) };
    let invalid = || Problem::new(Code::TokenInvalid, "Send the header Authorization: Bearer TOKEN.");
    let text = value.to_str().map_err(|_| invalid())?.trim();
    let (scheme, token) = text.split_once(' ').unwrap_or((text, ""));
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Ok(None);
    }
    if token.trim().is_empty() { Err(invalid()) } else { Ok(Some(token.trim().to_owned())) }
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

/// The client's address, for rate limits: the peer's, or the one that the trusted proxies in front have added.
pub(super) fn address(request: &HttpRequest, proxy_hops: usize) -> IpAddr {
    let peer = request.peer_addr().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.ip());
    let forwarded = request.headers().get_all("x-forwarded-for").filter_map(|value| value.to_str().ok());
    let hops: Vec<&str> = forwarded.flat_map(|value| value.split(',')).map(str::trim).collect();
    let Some(at) = hops.len().checked_sub(proxy_hops) else { return peer };
    hops.get(at).and_then(|text| forwarded_address(text)).unwrap_or(peer)
}

/// One entry of `X-Forwarded-For`: an address, which some proxies write with brackets or a port.
fn forwarded_address(text: &str) -> Option<IpAddr> {
    let text = text.trim_matches('"');
    let bracketed = text.strip_prefix('[').and_then(|rest| rest.split_once(']'));
    let (address, port) = match bracketed {
        Some((address, port)) => (address, port),
        // An IPv6 address with a port has brackets.
        None => match text.split_once(':') {
            Some((address, port)) if !port.contains(':') => (address, &text[address.len()..]),
            _ => (text, ""),
        },
    };
    let is_port = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if !port.is_empty() && !port.strip_prefix(':').is_some_and(is_port) {
        return None;
    }
    // The zone of a link-local address is of this machine alone.
    address.split('%').next().and_then(|address| address.parse().ok())
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

    #[test]
    fn c5_a_forwarded_address_may_have_a_port_and_brackets() {
        for (text, address) in [
            ("203.0.113.7", "203.0.113.7"),
            ("203.0.113.7:51234", "203.0.113.7"),
            ("2001:db8::1", "2001:db8::1"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("[2001:db8::1]:443", "2001:db8::1"),
            ("\"[2001:db8::1]:443\"", "2001:db8::1"),
            ("fe80::1%eth0", "fe80::1"),
            ("::ffff:203.0.113.7", "::ffff:203.0.113.7"),
        ] {
            assert_eq!(forwarded_address(text).map(|a| a.to_string()).as_deref(), Some(address), "{text}");
        }
        for bad in ["", "unknown", "_hidden", "203.0.113.7:", "203.0.113.7:x", "[2001:db8::1]443", "[2001:db8::1", ":1"]
        {
            assert_eq!(forwarded_address(bad), None, "{bad}");
        }
    }
}
