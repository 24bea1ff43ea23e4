//! The upgrade of the seed socket: who, from where, into which room; refused as HTTP before the upgrade.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use actix::{Actor, StreamHandler};
use actix_web::{HttpRequest, HttpResponse, web};
use serde::Deserialize;

use super::State;
use super::extract::{Viewer, bearer, id};
use super::openapi::{Refusals, TOKEN, of};
use super::origin;
use crate::actors::session::Session;
use crate::actors::session::link::Link;
use crate::actors::session::out_queue::OutQueue;
use crate::actors::session::socket::{Incoming, Refused, accept};
use crate::error::{Code, Problem};

/// How a seed socket is asked for.
#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct SeedQuery {
    /// The token, where no header can be set (browsers).
    jwt: Option<String>,
    /// `1`: edits and deletions too, as frames with `event`.
    events: Option<String>,
}

/// Open the socket of one room
///
/// The last slash may be left out. What travels on it stands in `/api/asyncapi.json`, readable at `/docs/socket`.
#[utoipa::path(
    get, path = "/ws/chatrooms/{id}/", operation_id = "open_chatroom_socket", tag = "Sockets",
    params(("id" = i64, Path, description = "The room's id."), SeedQuery),
    responses(
        (status = 101, description = "WebSocket from here on."),
        Refusals<{
            TOKEN
                | of(&[Code::Malformed, Code::OriginRefused, Code::NotFound, Code::UpgradeRequired, Code::Draining])
        }>
    )
)]
pub async fn seed(
    request: HttpRequest,
    state: web::Data<State>,
    path: web::Path<String>,
    asked: web::Query<SeedQuery>,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    if state.draining.load(Ordering::Relaxed) {
        return Err(Problem::new(Code::Draining, "This instance is shutting down; connect again."));
    }
    origin::check(&request, &state.rules.allowed_origins)?;
    let token = bearer(&request)?.or_else(|| asked.jwt.clone());
    let token =
        token.ok_or_else(|| Problem::new(Code::TokenMissing, "Send Authorization: Bearer TOKEN, or ?jwt=TOKEN."))?;
    let viewer = Viewer::claimed(&state, &token)?;
    let room = viewer.admitted(&state, id(&path, "chatroom")?).await?;

    let (out, body) = OutQueue::new(state.rules.socket_queue_bytes);
    let response = accept(&request, body).map_err(|refused| match refused {
        Refused::NotWebSocket => Problem::new(Code::UpgradeRequired, "Connect with WebSocket version 13."),
        Refused::Malformed => Problem::new(Code::Malformed, "The WebSocket handshake is not complete."),
    })?;
    let events = asked.events.as_deref() == Some("1");
    let link = Arc::new(Link::new(viewer.chatter_id, viewer.sign_in_id, room.id, events, out));
    state.sessions.add(link.clone());
    // Signed out, or the room deleted, while this was asked for: then nobody has closed this socket.
    if let Err(problem) = viewer.admitted(&state, room.id).await {
        state.sessions.remove(&link);
        return Err(problem);
    }
    let incoming = Incoming::new(payload, state.rules.frame_bytes);
    let session = Session::new(link, state.session_parts(), viewer.expires_at);
    Session::create(|ctx| {
        Session::add_stream(incoming, ctx);
        session
    });
    Ok(response)
}
