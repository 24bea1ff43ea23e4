//! `/api/chatters`: the directory, and one's own account.

use std::collections::HashSet;

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use secrecy::SecretString;
use serde::Deserialize;

use super::extract::{Json, Viewer, id};
use super::openapi::{BODY, Refusals, STORE, TOKEN, of};
use super::paging;
use super::paging::STREAM_PAGE;
use super::{Deletion, State};
use crate::domain::ChatterId;
use crate::domain::chatter::{Chatter, fcm_reg_id, nickname, password, username_key};
use crate::problem::{Code, Problem};
use crate::protocol::device::server::ServerFrame;
use crate::protocol::requests::{ChangeChatter, whole_number};
use crate::protocol::rest::{ChatterBody, Message};
use crate::rooms::command::Command;
use crate::store::chatters::{ChatterUpdate, TokenUpdate};
use crate::store::sign_ins::SignInUpdate;
use crate::websocket::framing::text_frame;

/// How the directory is asked.
#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct DirectoryQuery {
    /// The beginning of usernames, in any case.
    query: Option<String>,
    /// Chatters on a page; more than 200 gives 200.
    #[serde(default, deserialize_with = "whole_number")]
    limit: Option<i64>,
    /// The id of the last chatter that is known.
    #[serde(default, deserialize_with = "whole_number")]
    after: Option<ChatterId>,
}

/// List everybody, or those whose username begins with `query`
///
/// Ordered by id. Without `limit` and `after` everything is streamed; with one of them it is a page. Needs no token,
/// unless `accounts.public_directory` is `false`; a token that is sent must be good all the same.
#[utoipa::path(
    get, path = "/api/chatters", operation_id = "list_chatters", tag = "Accounts", security((), ("bearer" = [])),
    params(DirectoryQuery),
    responses(
        (status = 200, description = "The chatters.", body = Vec<ChatterBody>, headers(("Link" = String))),
        Refusals<{
            STORE
                | of(&[Code::TokenInvalid, Code::TokenExpired, Code::TokenRevoked])
                | of(&[Code::Malformed, Code::DirectoryClosed, Code::Invalid])
        }>
    )
)]
pub async fn directory(
    request: HttpRequest,
    state: web::Data<State>,
    asked: web::Query<DirectoryQuery>,
) -> Result<HttpResponse, Problem> {
    let viewer = viewer_if_any(&request, &state).await?;
    if !state.rules.public_directory && viewer.is_none() {
        return Err(Problem::new(Code::DirectoryClosed, "Sign in to list chatters."));
    }
    if asked.query.as_deref().is_some_and(|query| query.contains('\0')) {
        return Err(Problem::invalid("query", "It must not have a NUL character."));
    }
    let prefix = asked.query.as_deref().map(username_key);
    if asked.limit.is_some() || asked.after.is_some() {
        let limit = paging::limit(asked.limit)?;
        let found = state.store.directory(prefix.as_deref(), asked.after, limit).await?;
        let full = found.len() as u64 == limit;
        let query = asked.query.as_deref().map(|q| format!("&query={}", escape(q))).unwrap_or_default();
        let next = found.last().filter(|_| full).map(|last| format!("after={}{query}", last.id));
        let bodies = bodies_for(&state, viewer, &found).await?;
        return Ok(paging::page(&request, &bodies, limit, next));
    }
    paging::everything(None, move |after| {
        let (state, prefix) = (state.clone(), prefix.clone());
        async move {
            let found = state.store.directory(prefix.as_deref(), after, STREAM_PAGE).await?;
            let next = found.last().filter(|_| found.len() as u64 == STREAM_PAGE).map(|last| Some(last.id));
            Ok((bodies_for(&state, viewer, &found).await?.iter().map(paging::encode).collect(), next))
        }
    })
    .await
}

/// Show oneself
#[utoipa::path(
    get, path = "/api/chatters/me", operation_id = "show_me", tag = "Accounts",
    responses((status = 200, description = "One's own account.", body = ChatterBody), Refusals<{ TOKEN }>)
)]
pub async fn me(state: web::Data<State>, viewer: Viewer) -> Result<HttpResponse, Problem> {
    Ok(HttpResponse::Ok().json(own(&state, viewer.chatter_id).await?))
}

/// Show one chatter
#[utoipa::path(
    get, path = "/api/chatters/{id}", operation_id = "show_chatter", tag = "Accounts",
    params(("id" = i64, Path, description = "The chatter's id.")),
    responses(
        (status = 200, description = "The chatter.", body = ChatterBody),
        Refusals<{ TOKEN | of(&[Code::NotFound]) }>
    )
)]
pub async fn show(state: web::Data<State>, viewer: Viewer, path: web::Path<String>) -> Result<HttpResponse, Problem> {
    let asked: ChatterId = id(&path, "chatter")?;
    if asked == viewer.chatter_id {
        return me(state, viewer).await;
    }
    let chatter = state.store.chatter(asked).await?.ok_or_else(|| Problem::not_found("chatter"))?;
    let shared = state.store.sharing(viewer.chatter_id, &[asked]).await?;
    let connected = state.broadcaster.connected(&shared.iter().copied().collect::<Vec<_>>()).await;
    Ok(HttpResponse::Ok().json(body_of_other(&chatter, &shared, &connected)))
}

/// Change oneself
///
/// What is left out or null stays. A new password needs the current one, and ends every other sign-in.
#[utoipa::path(
    put, path = "/api/chatters", operation_id = "change_me", tag = "Accounts", request_body = ChangeChatter,
    responses(
        (status = 200, description = "One's account as it is now.", body = ChatterBody),
        Refusals<{ TOKEN | BODY | of(&[Code::Invalid, Code::NotFound, Code::Busy]) }>
    )
)]
pub async fn change(
    state: web::Data<State>,
    viewer: Viewer,
    Json(body): Json<ChangeChatter>,
) -> Result<HttpResponse, Problem> {
    let nickname = body.nickname.as_deref().map(nickname).transpose()?.map(str::to_owned);
    let fcm_reg_id = match body.fcm_reg_id.as_deref().map(fcm_reg_id).transpose()? {
        None => TokenUpdate::Keep,
        Some(None) => TokenUpdate::Remove,
        Some(Some(token)) => TokenUpdate::Set(token.to_owned()),
    };
    let password_hash = match body.password {
        Some(new) => Some(new_password(&state, viewer.chatter_id, new, body.current_password).await?),
        None => None,
    };
    let password_changed = password_hash.is_some();
    let (show_last_seen, show_receipts) = (body.show_last_seen, body.show_receipts);
    let sign_ins = match viewer.sign_in_id {
        _ if !password_changed => SignInUpdate::Keep,
        Some(own) => SignInUpdate::EndOthers(own),
        None => SignInUpdate::EndAll,
    };
    let update = ChatterUpdate { nickname, fcm_reg_id, password_hash, sign_ins, show_last_seen, show_receipts };
    // Those who were shown it until now.
    let watchers = if show_last_seen == Some(false) { watchers(&state, viewer).await? } else { Vec::new() };
    if state.store.change_chatter(viewer.chatter_id, update).await?.is_none() {
        return Err(Problem::not_found("chatter"));
    }
    if !watchers.is_empty() {
        let (chatter_id, online, last_seen) = (viewer.chatter_id, false, None);
        let frame = text_frame(&ServerFrame::Presence { chatter_id, online, last_seen });
        watchers.iter().for_each(|watcher| state.broadcaster.send_durable(*watcher, &frame));
    }
    if show_last_seen == Some(true) {
        state.presence_changes.forget(&[viewer.chatter_id]);
    }
    if password_changed {
        state.broadcaster.end_sign_ins(viewer.chatter_id, viewer.sign_in_id);
    }
    Ok(HttpResponse::Ok().json(own(&state, viewer.chatter_id).await?))
}

/// Whose device sockets are told when this chatter comes and goes.
async fn watchers(state: &State, viewer: Viewer) -> Result<Vec<ChatterId>, Problem> {
    let pairs = state.store.watchers_of(&[viewer.chatter_id]).await?;
    Ok(pairs.into_iter().map(|(_, watcher)| watcher).collect())
}

/// Delete one's own account
///
/// Its tokens are dead and its sockets closed (4401) when this answers, those on other instances a moment later. Unless `accounts.deletion` is `cascade`, the other
/// side keeps the conversations, with somebody called `deleted-N`.
#[utoipa::path(
    delete, path = "/api/chatters", operation_id = "delete_me", tag = "Accounts",
    responses(
        (status = 200, description = "It is gone.", body = Message, example = json!({"message": "Success Delete Chatter"})),
        Refusals<{ TOKEN | of(&[Code::NotFound]) }>
    )
)]
pub async fn delete(state: web::Data<State>, viewer: Viewer) -> Result<HttpResponse, Problem> {
    let deleted = match state.rules.deletion {
        Deletion::Anonymise => state.store.anonymise_chatter(viewer.chatter_id).await?,
        Deletion::Cascade => state.store.cascade_chatter(viewer.chatter_id).await?,
    };
    let deleted = deleted.ok_or_else(|| Problem::not_found("chatter"))?;
    state.broadcaster.end_account(viewer.chatter_id);
    for (room, pair) in deleted.deleted_rooms {
        state.broadcaster.close_room(room, pair);
        state.registry.send_if_running(room, Command::Deleted);
    }
    Ok(HttpResponse::build(StatusCode::OK).json(Message { message: "Success Delete Chatter" }))
}

/// One's own body; a token whose account is gone is refused.
pub(super) async fn own(state: &State, chatter_id: ChatterId) -> Result<ChatterBody, Problem> {
    let chatter = state.store.chatter(chatter_id).await?.ok_or_else(Problem::account_gone)?;
    Ok(ChatterBody::own(&chatter, state.store.account_token(chatter_id).await?))
}

async fn new_password(
    state: &State,
    chatter_id: ChatterId,
    new: String,
    current: Option<String>,
) -> Result<String, Problem> {
    password(&new)?;
    let Some(current) = current else {
        return Err(Problem::invalid("current_password", "Send the current password along with the new one."));
    };
    let hash = state.store.password_hash(chatter_id).await?;
    if !state.passwords.verify(SecretString::from(current), hash).await?.matches {
        return Err(Problem::invalid("current_password", "It is not the current password."));
    }
    Ok(state.passwords.hash(SecretString::from(new)).await?)
}

/// The directory needs no token; one that is sent must be good all the same.
async fn viewer_if_any(request: &HttpRequest, state: &State) -> Result<Option<ChatterId>, Problem> {
    match super::extract::bearer(request)? {
        Some(token) => Ok(Some(Viewer::of_token(state, &token).await?.chatter_id)),
        None => Ok(None),
    }
}

/// Each as the viewer may see it; whoever shows no token is a stranger.
async fn bodies_for(
    state: &State,
    viewer: Option<ChatterId>,
    chatters: &[Chatter],
) -> Result<Vec<ChatterBody>, Problem> {
    let Some(viewer) = viewer else { return Ok(chatters.iter().map(ChatterBody::public).collect()) };
    let ids: Vec<ChatterId> = chatters.iter().map(|chatter| chatter.id).collect();
    let shared = state.store.sharing(viewer, &ids).await?;
    let others: Vec<ChatterId> = shared.iter().filter(|id| **id != viewer).copied().collect();
    let connected = state.broadcaster.connected(&others).await;
    let mut bodies = Vec::with_capacity(chatters.len());
    for chatter in chatters {
        bodies.push(if chatter.id == viewer {
            ChatterBody::own(chatter, state.store.account_token(viewer).await?)
        } else {
            body_of_other(chatter, &shared, &connected)
        });
    }
    Ok(bodies)
}

fn body_of_other(chatter: &Chatter, shared: &HashSet<ChatterId>, connected: &HashSet<ChatterId>) -> ChatterBody {
    if shared.contains(&chatter.id) {
        return ChatterBody::known(chatter, connected.contains(&chatter.id));
    }
    ChatterBody::public(chatter)
}

/// Percent-encodes a value of a query string (RFC 3986 section 2.1).
fn escape(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}
