//! The upgrades of the two sockets: they check token, origin and room, and refuse as HTTP before the upgrade.

use std::sync::Arc;

use actix::{Actor, StreamHandler};
use actix_web::{HttpRequest, HttpResponse, web};
use serde::Deserialize;

use super::State;
use super::extract::{Viewer, address, bearer, id};
#[cfg(test)]
use super::openapi::{GIVEN_TOKEN, Refusals, TOKEN, of};
use crate::connections::Connection;
use crate::connections::chatroom::{ChatroomConnection, Subscription};
use crate::connections::registry::TooManyUnsigned;
use crate::connections::socket::Socket;
use crate::delivery::order::Head;
use crate::problem::{Code, Problem};
use crate::sessions::Session;
use crate::websocket::out_queue::OutQueue;
use crate::websocket::transport::{Incoming, Refused, accept, offered};

/// The parameters of the socket of one room.
#[derive(Deserialize)]
#[cfg_attr(test, derive(utoipa::IntoParams), into_params(parameter_in = Query))]
pub(super) struct ChatroomSocketQuery {
    /// The token, for browsers, which cannot set a header.
    jwt: Option<String>,
    /// `1`: also sends edits and deletions, as frames with `event`.
    events: Option<String>,
}

/// Open the socket of one room
///
/// The last slash is optional. `/api/asyncapi.json` describes its frames, readable at `/docs/socket`.
#[cfg_attr(
    test,
    utoipa::path(
        get, path = "/ws/chatrooms/{id}/", operation_id = "open_chatroom_socket", tag = "Sockets",
        params(("id" = i64, Path, description = "The room's id."), ChatroomSocketQuery),
        responses(
            (status = 101, description = "The connection is a WebSocket now."),
            Refusals<{
                TOKEN
                    | of(&[Code::Malformed, Code::OriginRefused, Code::NotFound, Code::UpgradeRequired, Code::Draining])
            }>
        )
    )
)]
pub(super) async fn chatroom(
    request: HttpRequest,
    state: web::Data<State>,
    path: web::Path<String>,
    query: web::Query<ChatroomSocketQuery>,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    may_connect(&request, &state)?;
    let token = bearer(&request)?.or_else(|| query.jwt.clone());
    let token =
        token.ok_or_else(|| Problem::new(Code::TokenMissing, "Send Authorization: Bearer TOKEN, or ?jwt=TOKEN."))?;
    let viewer = Viewer::claimed(&state, &token, address(&request, state.rules.proxy_hops)).await?;
    let room = viewer.admitted(&state, id(&path, "chatroom")?).await?;

    let (out, body) = OutQueue::new(state.rules.socket_queue_bytes);
    let response = accept(&request, &[], body).map_err(refused)?;
    let all_changes = query.events.as_deref() == Some("1");
    let subscription = if all_changes { Subscription::AllChanges } else { Subscription::NewChats };
    let socket = Socket::new(out, state.delivery_metrics.clone());
    let connection = ChatroomConnection::new(viewer.chatter_id, viewer.grant, room.id, subscription, socket);
    let connection = Arc::new(connection);
    // Made first: when it is dropped on any way out of here, it takes the connection out of the registry.
    let session = Session::chatroom(connection.clone(), state.sessions.clone(), viewer.expires_at);
    state.sessions.admission.admit(Connection::Chatroom(connection.clone())).await;
    // A sign-out or a deletion of the room since the first check has not found this socket.
    let room = viewer.admitted(&state, room.id).await?;
    // If the socket has fallen behind meanwhile, the session reads the room as it starts.
    connection.joined(Head { version: room.version, seq: room.last_seq });
    let incoming = Incoming::new(payload, state.rules.frame_bytes);
    Session::create(|ctx| {
        Session::add_stream(incoming, ctx);
        session
    });
    Ok(response)
}

/// The device socket's subprotocol.
const SUBPROTOCOL: &str = "hyper-chat.v1";
/// The prefix of a token among the subprotocols; browsers cannot set a header.
const BEARER: &str = "bearer.";

/// The parameters of the device socket.
#[derive(Deserialize)]
#[cfg_attr(test, derive(utoipa::IntoParams), into_params(parameter_in = Query))]
pub(super) struct DeviceQuery {
    /// The token, for clients that cannot set a header.
    jwt: Option<String>,
}

/// Open the device socket: one socket for all rooms
///
/// The token comes in the header, among the subprotocols, in the query, or in the first frame. `/api/asyncapi.json`
/// describes the frames, readable at `/docs/socket`.
#[cfg_attr(
    test,
    utoipa::path(
        get, path = "/ws", operation_id = "open_device_socket", tag = "Sockets", security((), ("bearer" = [])),
        params(
            DeviceQuery,
            (
                "Sec-WebSocket-Protocol" = Option<String>, Header, example = "hyper-chat.v1, bearer.TOKEN",
                description = "`hyper-chat.v1`, and from browsers the token after `bearer.`; \
                    the answer never repeats the token."
            )
        ),
        responses(
            (
                status = 101,
                description = "The connection is a WebSocket now, with `hyper-chat.v1` if the request offered it."
            ),
            Refusals<{
                GIVEN_TOKEN
                    | of(&[Code::RateLimited])
                    | of(&[Code::Malformed, Code::OriginRefused, Code::UpgradeRequired, Code::Draining])
            }>
        )
    )
)]
pub(super) async fn device(
    request: HttpRequest,
    state: web::Data<State>,
    query: web::Query<DeviceQuery>,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    may_connect(&request, &state)?;
    let offers = Offered::of(&request);
    if offers.protocols && !offers.ours {
        return Err(Problem::new(Code::Malformed, format!("Offer the subprotocol {SUBPROTOCOL}, or none.")));
    }
    let from = address(&request, state.rules.proxy_hops);
    let claims = match bearer(&request)?.or(offers.token).or_else(|| query.jwt.clone()) {
        Some(token) => Some(Viewer::of_token(&state, &token, from).await?.claims()),
        None => None,
    };
    let (out, body) = OutQueue::new(state.rules.socket_queue_bytes);
    let response = accept(&request, &[SUBPROTOCOL], body).map_err(refused)?;
    let incoming = Incoming::new(payload, state.rules.frame_bytes);
    let (socket, parts) = (Socket::new(out, state.delivery_metrics.clone()), state.sessions.clone());
    let session = match claims {
        Some(claims) => Session::device(socket, parts, claims),
        None => Session::unsigned(socket, parts, from).map_err(|TooManyUnsigned| {
            let detail = "Too many sockets of this address have not signed in. Send the token with the upgrade.";
            Problem::new(Code::RateLimited, detail)
        })?,
    };
    Session::create(|ctx| {
        Session::add_stream(incoming, ctx);
        session
    });
    Ok(response)
}

/// What the subprotocols that the request offers mean to this server.
#[derive(Default)]
struct Offered {
    protocols: bool,
    ours: bool,
    token: Option<String>,
}

impl Offered {
    fn of(request: &HttpRequest) -> Self {
        let mut found = Self::default();
        for protocol in offered(request) {
            found.protocols = true;
            found.ours |= protocol == SUBPROTOCOL;
            if let Some(token) = protocol.strip_prefix(BEARER) {
                found.token = Some(token.to_owned());
            }
        }
        found
    }
}

fn may_connect(request: &HttpRequest, state: &State) -> Result<(), Problem> {
    if !state.drain.takes_sockets() {
        return Err(Problem::new(Code::Draining, "This instance is shutting down; connect again."));
    }
    state.rules.origins.check(request)
}

fn refused(refused: Refused) -> Problem {
    match refused {
        Refused::NotWebSocket => Problem::new(Code::UpgradeRequired, "Connect with WebSocket version 13."),
        Refused::Malformed => Problem::new(Code::Malformed, "The WebSocket handshake is not complete."),
    }
}
