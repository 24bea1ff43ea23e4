//! `/api/auth/refresh`, `/api/auth/sessions` and signing out: the sessions of a chatter after their sign-in.

use actix_web::{HttpRequest, HttpResponse, web};

use super::State;
use super::body::Json;
use super::extract::{Viewer, address, id};
#[cfg(test)]
use super::openapi::{BODY, Refusals, STORE, TOKEN, of};
use super::sign_in::{asking, signed_in, too_many};
use crate::auth::refresh::RefreshToken;
use crate::domain::{Grant, SignInId};
use crate::problem::{Code, Problem};
use crate::protocol::requests::Refresh;
#[cfg(test)]
use crate::protocol::rest::SignedIn;
use crate::protocol::rest::{Message, Session};
use crate::service::sign_ins::{Refreshed, not_a_refresh_token, replayed};
use crate::telemetry::audit::{Event, Facts};

/// Refresh a token
///
/// Gives a new token and the next refresh token of the same session; the one that was sent counts no longer. For 15
/// seconds it gives the same answer again, so a client that lost the answer sends it once more. A refresh token that is
/// sent later was stolen, or the next one was: it ends the session, and its sockets close with 4401.
#[cfg_attr(
    test,
    utoipa::path(
        post, path = "/api/auth/refresh", operation_id = "refresh", tag = "Accounts", security(()),
        request_body = Refresh,
        responses(
            (status = 200, description = "The next tokens.", body = SignedIn),
            Refusals<{
                BODY | STORE | of(&[Code::RateLimited, Code::TokenInvalid, Code::TokenExpired, Code::TokenRevoked])
            }>
        )
    )
)]
pub(super) async fn refresh(
    request: HttpRequest,
    state: web::Data<State>,
    Json(body): Json<Refresh>,
) -> Result<HttpResponse, Problem> {
    let from = address(&request, state.rules.proxy_hops);
    let refused = |code: Code| state.audit.refused(Event::Refresh, from, Facts::because(code.as_str()));
    // One that this server has not issued counts against no session.
    let given = RefreshToken::parse(&body.refresh_token).filter(|given| state.tokens.refresh.is_ours(given));
    let Some(given) = given else {
        refused(Code::TokenInvalid);
        return Err(not_a_refresh_token());
    };
    let allowed = state.limits.refresh(from, given.sign_in_id());
    allowed.map_err(|wait| {
        refused(Code::RateLimited);
        too_many("refreshes").retry_after(wait)
    })?;
    let refreshed = state.service.refresh(&state.tokens.refresh, &given, &asking(&state, from, None)).await;
    let facts = |chatter, session| Facts { session: Some(session), ..Facts::of(chatter) };
    let session = match refreshed.inspect_err(|problem| refused(problem.code))? {
        Refreshed::Next(session) => session,
        Refreshed::Replayed(chatter) => {
            state.audit.done(Event::RefreshReplayed, from, facts(chatter, given.sign_in_id()));
            return Err(replayed());
        }
    };
    state.audit.done(Event::Refresh, from, facts(session.chatter, session.sign_in));
    signed_in(&state, session).await
}

/// Sign out
///
/// Ends this session: its tokens count no longer, and its sockets close with 4401. A token of your own backend or of your
/// identity provider belongs to no session; with such a one, all of these end that the chatter has got up to now.
#[cfg_attr(
    test,
    utoipa::path(
        delete, path = "/api/auth", operation_id = "sign_out", tag = "Accounts",
        responses(
            (
                status = 200, description = "Signed out.",
                body = Message, example = json!({"message": "Success Sign Out"})
            ),
            Refusals<{ TOKEN }>
        )
    )
)]
pub(super) async fn sign_out(
    request: HttpRequest,
    state: web::Data<State>,
    viewer: Viewer,
) -> Result<HttpResponse, Problem> {
    state.service.sign_out(viewer.chatter_id, viewer.grant).await?;
    state.audit.done(Event::SignOut, address(&request, state.rules.proxy_hops), viewer.facts());
    Ok(HttpResponse::Ok().json(Message { message: "Success Sign Out" }))
}

/// List the viewer's sessions
///
/// The one that was used last comes first; at most 1,000.
#[cfg_attr(
    test,
    utoipa::path(
        get, path = "/api/auth/sessions", operation_id = "list_sessions", tag = "Accounts",
        responses((status = 200, description = "The sessions.", body = Vec<Session>), Refusals<{ TOKEN }>)
    )
)]
pub(super) async fn list(state: web::Data<State>, viewer: Viewer) -> Result<HttpResponse, Problem> {
    let sessions = state.store.sign_ins(viewer.chatter_id).await?.into_iter().map(|one| Session {
        id: one.id,
        create_time: one.create_time,
        last_used: one.last_used,
        expires_at: one.expire_time,
        device_name: one.device_name,
        address_class: one.address_class,
        current: viewer.grant == Grant::SignIn(one.id),
    });
    Ok(HttpResponse::Ok().json(sessions.collect::<Vec<_>>()))
}

/// End one of the viewer's sessions
///
/// Its tokens count no longer, and its sockets close with 4401; those on other instances follow a moment later.
#[cfg_attr(
    test,
    utoipa::path(
        delete, path = "/api/auth/sessions/{id}", operation_id = "end_session", tag = "Accounts",
        params(("id" = i64, Path, description = "The session's id.")),
        responses(
            (
                status = 200, description = "Ended.",
                body = Message, example = json!({"message": "Success End Session"})
            ),
            Refusals<{ TOKEN | of(&[Code::NotFound]) }>
        )
    )
)]
pub(super) async fn end(
    request: HttpRequest,
    state: web::Data<State>,
    viewer: Viewer,
    path: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    let session: SignInId = id(&path, "session")?;
    if !state.service.end_sign_in(viewer.chatter_id, session).await? {
        return Err(Problem::not_found("session"));
    }
    let facts = Facts { session: Some(session), ..viewer.facts() };
    state.audit.done(Event::SessionEnd, address(&request, state.rules.proxy_hops), facts);
    Ok(HttpResponse::Ok().json(Message { message: "Success End Session" }))
}

/// End all other sessions of the viewer
///
/// All but the one whose token the request carries. Tokens of your own backend or of your identity provider belong to no
/// session: those end that were issued before, or, where the request carries one of them, before that one.
#[cfg_attr(
    test,
    utoipa::path(
        delete, path = "/api/auth/sessions", operation_id = "end_other_sessions", tag = "Accounts",
        responses(
            (
                status = 200, description = "Ended.",
                body = Message, example = json!({"message": "Success End Other Sessions"})
            ),
            Refusals<{ TOKEN }>
        )
    )
)]
pub(super) async fn end_all_but_this(
    request: HttpRequest,
    state: web::Data<State>,
    viewer: Viewer,
) -> Result<HttpResponse, Problem> {
    state.service.end_other_sign_ins(viewer.chatter_id, viewer.grant).await?;
    state.audit.done(Event::OtherSessionsEnd, address(&request, state.rules.proxy_hops), viewer.facts());
    Ok(HttpResponse::Ok().json(Message { message: "Success End Other Sessions" }))
}
