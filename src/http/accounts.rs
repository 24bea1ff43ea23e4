//! `/api/chatters`: the directory, and the viewer's own account.

use actix_web::{HttpRequest, HttpResponse, web};
use serde::Deserialize;

use super::State;
use super::account_update::account_update;
use super::body::Json;
use super::extract::{Viewer, address, id};
#[cfg(test)]
use super::openapi::{BODY, GIVEN_TOKEN, Refusals, TOKEN, of};
use super::paging;
use super::paging::Reader;
use super::sign_in::{VERIFICATIONS_MAX, password_is_changing};
use crate::domain::ChatterId;
use crate::domain::chatter::username_key;
use crate::problem::{Code, Problem};
use crate::protocol::requests::{ChangeChatter, whole_number};
#[cfg(test)]
use crate::protocol::rest::ChatterBody;
use crate::protocol::rest::Message;
use crate::telemetry::audit::{Event, Facts};

/// Chatters of one query while the whole directory is streamed. The longest nicknames make it no longer than a page may
/// be.
const DIRECTORY_PAGE: u64 = 250;

/// The parameters of the directory.
#[derive(Deserialize)]
#[cfg_attr(test, derive(utoipa::IntoParams), into_params(parameter_in = Query))]
pub(super) struct DirectoryQuery {
    /// The beginning of usernames, in any case.
    query: Option<String>,
    /// Chatters on a page; more than 200 gives 200.
    #[cfg_attr(test, param(minimum = 1))]
    #[serde(default, deserialize_with = "whole_number")]
    limit: Option<i64>,
    /// Only chatters with an id above this one, as `Link` gives it.
    #[serde(default, deserialize_with = "whole_number")]
    after: Option<ChatterId>,
}

/// List all chatters, or those whose username begins with `query`
///
/// Ordered by id. Without `limit` and `after` the whole list is streamed; with one of them it is a page. Needs no
/// token, unless `accounts.public_directory` is `false`; a token that is sent must be valid all the same. Without one,
/// an address gets at most 120 pages a minute (`limits.open_pages_per_min`); the whole list counts by its pages.
#[cfg_attr(
    test,
    utoipa::path(
        get, path = "/api/chatters", operation_id = "list_chatters", tag = "Accounts", security((), ("bearer" = [])),
        params(DirectoryQuery),
        responses(
            (status = 200, description = "The chatters.", body = Vec<ChatterBody>, headers(("Link" = String))),
            Refusals<{
                GIVEN_TOKEN
                    | of(&[Code::Malformed, Code::DirectoryClosed, Code::Invalid, Code::RateLimited, Code::Busy])
            }>
        )
    )
)]
pub(super) async fn directory(
    request: HttpRequest,
    state: web::Data<State>,
    query: web::Query<DirectoryQuery>,
) -> Result<HttpResponse, Problem> {
    let viewer = viewer_if_any(&request, &state).await?;
    if !state.rules.public_directory && viewer.is_none() {
        return Err(Problem::new(Code::DirectoryClosed, "Sign in to list chatters."));
    }
    let anonymous = viewer.is_none().then(|| address(&request, state.rules.proxy_hops));
    if let Some(from) = anonymous {
        state.limits.open_page(from).map_err(|wait| {
            Problem::new(Code::RateLimited, "Too many lists without a token. Sign in, or wait.").retry_after(wait)
        })?;
    }
    if query.query.as_deref().is_some_and(|text| text.contains('\0')) {
        return Err(Problem::invalid("query", "It must not have a NUL character."));
    }
    let prefix = query.query.as_deref().map(username_key);
    let mut reader = Reader::new(&request, &state, viewer);
    let _turn = reader.begin().await?;
    if query.limit.is_some() || query.after.is_some() {
        let limit = paging::limit(query.limit)?;
        let found = state.store.directory(prefix.as_deref(), query.after, limit).await?;
        let full = found.len() as u64 == limit;
        let prefix_again = query.query.as_deref().map(|q| format!("&query={}", escape(q))).unwrap_or_default();
        let next = found.last().filter(|_| full).map(|last| format!("after={}{prefix_again}", last.id));
        let bodies = state.service.accounts(viewer, &found).await?;
        return paging::page(&reader, &request, &bodies, limit, next);
    }
    paging::everything(reader, None, move |after| {
        let (state, prefix) = (state.clone(), prefix.clone());
        async move {
            // The first page was counted above.
            if let Some(from) = anonymous.filter(|_| after.is_some()) {
                state.limits.further_open_page(from);
            }
            let found = state.store.directory(prefix.as_deref(), after, DIRECTORY_PAGE).await?;
            let next = found.last().filter(|_| found.len() as u64 == DIRECTORY_PAGE).map(|last| Some(last.id));
            Ok((state.service.accounts(viewer, &found).await?.iter().map(paging::encode).collect(), next))
        }
    })
    .await
}

/// Show the viewer's own account
#[cfg_attr(
    test,
    utoipa::path(
        get, path = "/api/chatters/me", operation_id = "show_me", tag = "Accounts",
        responses((status = 200, description = "The viewer's own account.", body = ChatterBody), Refusals<{ TOKEN }>)
    )
)]
pub(super) async fn me(state: web::Data<State>, viewer: Viewer) -> Result<HttpResponse, Problem> {
    Ok(HttpResponse::Ok().json(state.service.own_account(viewer.chatter_id).await?))
}

/// Show one chatter
#[cfg_attr(
    test,
    utoipa::path(
        get, path = "/api/chatters/{id}", operation_id = "show_chatter", tag = "Accounts",
        params(("id" = i64, Path, description = "The chatter's id.")),
        responses(
            (status = 200, description = "The chatter.", body = ChatterBody),
            Refusals<{ TOKEN | of(&[Code::NotFound]) }>
        )
    )
)]
pub(super) async fn show(
    state: web::Data<State>,
    viewer: Viewer,
    path: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    let chatter_id: ChatterId = id(&path, "chatter")?;
    if chatter_id == viewer.chatter_id {
        return me(state, viewer).await;
    }
    Ok(HttpResponse::Ok().json(state.service.account(viewer.chatter_id, chatter_id).await?))
}

/// Change the viewer's own account
///
/// A key that is left out or null changes nothing. A new password needs the current one and ends all other sign-ins.
/// Checks of the current password count as attempts to sign in. A `fcm_reg_id` that another account has moves to this
/// one, at most five times a day (`limits.token_moves_per_day`); the other's devices get `device_removed`.
#[cfg_attr(
    test,
    utoipa::path(
        put, path = "/api/chatters", operation_id = "change_me", tag = "Accounts", request_body = ChangeChatter,
        responses(
            (status = 200, description = "The account after the change.", body = ChatterBody),
            Refusals<{ TOKEN | BODY | of(&[Code::Invalid, Code::NotFound, Code::RateLimited, Code::Busy]) }>
        )
    )
)]
pub(super) async fn change(
    request: HttpRequest,
    state: web::Data<State>,
    viewer: Viewer,
    Json(body): Json<ChangeChatter>,
) -> Result<HttpResponse, Problem> {
    for _ in 0..VERIFICATIONS_MAX {
        let update = account_update(&request, &state, viewer, &body).await?;
        let new_password = update.password.is_some();
        if let Some(changed) = state.service.change_account(viewer.chatter_id, viewer.grant, update).await? {
            let from = address(&request, state.rules.proxy_hops);
            if new_password {
                state.audit.done(Event::PasswordChange, from, viewer.facts());
            }
            if let Some(owner) = changed.token_taken_from {
                let facts = Facts { former_owner: Some(owner), ..viewer.facts() };
                state.audit.done(Event::TokenMove, from, facts);
            }
            return Ok(HttpResponse::Ok().json(state.service.own_account(viewer.chatter_id).await?));
        }
        // The account or the sign-in has ended, the password was replaced while it was verified, or another account has
        // registered the push token meanwhile.
        state.store.standing(viewer.chatter_id, viewer.grant).await??;
    }
    Err(password_is_changing())
}

/// Delete the viewer's own account
///
/// The answer comes after its tokens are revoked and its sockets closed (4401); those on other instances follow a
/// moment later. Unless `accounts.deletion` is `cascade`, the other person of each room keeps the conversation, and
/// this account is shown as `deleted-N`.
#[cfg_attr(
    test,
    utoipa::path(
        delete, path = "/api/chatters", operation_id = "delete_me", tag = "Accounts",
        responses(
            (
                status = 200, description = "Deleted.",
                body = Message, example = json!({"message": "Success Delete Chatter"})
            ),
            Refusals<{ TOKEN | of(&[Code::NotFound]) }>
        )
    )
)]
pub(super) async fn delete(
    request: HttpRequest,
    state: web::Data<State>,
    viewer: Viewer,
) -> Result<HttpResponse, Problem> {
    state.service.delete_account(viewer.chatter_id, state.rules.deletion).await?;
    state.audit.done(Event::AccountDeletion, address(&request, state.rules.proxy_hops), viewer.facts());
    Ok(HttpResponse::Ok().json(Message { message: "Success Delete Chatter" }))
}

/// The viewer, where the request has a token; a token that is not valid is refused.
async fn viewer_if_any(request: &HttpRequest, state: &State) -> Result<Option<ChatterId>, Problem> {
    match super::extract::bearer(request)? {
        Some(token) => {
            let from = address(request, state.rules.proxy_hops);
            Ok(Some(Viewer::of_token(state, &token, from).await?.chatter_id))
        }
        None => Ok(None),
    }
}

/// Percent-encodes a value of a query string (RFC 3986 section 2.1).
fn escape(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}
