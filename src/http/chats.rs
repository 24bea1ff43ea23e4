//! `/api/chatrooms/{id}/chats` and `/api/chats/{id}`: history, sending, search, changes, editing, deleting.

use actix_web::{HttpRequest, HttpResponse, web};
use serde::Deserialize;
use tokio::sync::oneshot;

use super::State;
use super::extract::{Json, Viewer, id};
use super::paging::{self, STREAM_PAGE};
use super::rooms::{answered, room_of};
use crate::actors::room::messages::{Alter, Command, Post, Reply};
use crate::domain::chat::{Chat, ClientId, Content, fold};
use crate::domain::chatroom::Chatroom;
use crate::domain::{Broken, Seq};
use crate::error::{Code, Problem};
use crate::store::chats::Page;
use crate::store::writer::{Change, Move, Stored};
use crate::wire::rest::{ChangeBody, ChangesBody, ChatBody, EditChat, Message, PostChat, Search, whole_number};

/// The longest search, in bytes.
const QUERY_BYTES_MAX: usize = 1_024;

/// `POST /api/chatrooms/{id}/chats`: 201, or 200 for a `client_id` that is stored already.
pub async fn post(
    request: HttpRequest,
    state: web::Data<State>,
    viewer: Viewer,
    path: web::Path<String>,
    Json(body): Json<PostChat>,
) -> Result<HttpResponse, Problem> {
    let chatroom_id = id(&path, "chatroom")?;
    let content = Content::parse(body.content)?;
    let client_id = client_id(&request, body.client_id)?;
    state.limits.send(viewer.chatter_id).map_err(Problem::sending_too_fast)?;
    let (reply, answer) = oneshot::channel();
    let reply = Reply::Rest(reply);
    let post = Post { sender_id: viewer.chatter_id, receiver_id: body.receiver_id, content, client_id, reply };
    state.registry.tell(chatroom_id, Command::Post(post))?;
    match answered(answer).await? {
        Stored::New { chat, .. } => Ok(HttpResponse::Created().json(ChatBody::new(&chat))),
        Stored::Again(chat) | Stored::Edited(chat) | Stored::Deleted(chat) => {
            Ok(HttpResponse::Ok().json(ChatBody::new(&chat)))
        }
    }
}

/// The sender's name for the chat: in the body, as `Idempotency-Key`, or both the same.
fn client_id(request: &HttpRequest, body: Option<String>) -> Result<Option<ClientId>, Problem> {
    let header = match request.headers().get("idempotency-key") {
        Some(value) => Some(
            value
                .to_str()
                .map_err(|_| Broken { field: "client_id", rule: "must be 1 to 64 printable ASCII characters" })?,
        ),
        None => None,
    };
    if let (Some(header), Some(body)) = (header, &body)
        && header != body
    {
        return Err(Problem::new(
            Code::Malformed,
            "Idempotency-Key and client_id differ; send one, or the same twice.",
        ));
    }
    Ok(body.or(header.map(str::to_owned)).map(ClientId::parse).transpose()?)
}

/// How the history is asked.
#[derive(Deserialize)]
pub struct HistoryQuery {
    #[serde(default, deserialize_with = "whole_number")]
    limit: Option<i64>,
    #[serde(default, deserialize_with = "whole_number")]
    before: Option<Seq>,
    #[serde(default, deserialize_with = "whole_number")]
    after: Option<Seq>,
    #[serde(default, deserialize_with = "whole_number")]
    around: Option<Seq>,
}

/// `GET /api/chatrooms/{id}/chats`: ascending by seq; everything, or one page. Reading up to the end counts as received.
pub async fn history(
    request: HttpRequest,
    state: web::Data<State>,
    viewer: Viewer,
    path: web::Path<String>,
    asked: web::Query<HistoryQuery>,
) -> Result<HttpResponse, Problem> {
    let room = room_of(&state, viewer, &path).await?;
    let page = match (asked.before, asked.after, asked.around) {
        (None, None, None) => asked.limit.map(|_| Page::Before(Seq::MAX)),
        (Some(seq), None, None) => Some(Page::Before(seq)),
        (None, Some(seq), None) => Some(Page::After(seq)),
        (None, None, Some(seq)) => Some(Page::Around(seq)),
        _ => return Err(Problem::new(Code::Malformed, "before, after and around exclude each other.")),
    };
    let Some(page) = page else { return whole_history(state, viewer, room).await };
    let limit = paging::limit(asked.limit)?;
    let chats = state.store.history(&room, page, limit).await?;
    if chats.last().is_some_and(|chat| chat.seq >= room.last_seq) {
        received(&state, viewer, &room, room.last_seq);
    }
    let full = chats.len() as u64 == limit;
    let next = match page {
        Page::Before(_) => chats.first().map(|first| format!("before={}", first.seq)),
        Page::After(_) | Page::Around(_) => chats.last().map(|last| format!("after={}", last.seq)),
    };
    let bodies: Vec<ChatBody<'_>> = chats.iter().map(ChatBody::new).collect();
    Ok(paging::page(&request, &bodies, limit, next.filter(|_| full)))
}

async fn whole_history(state: web::Data<State>, viewer: Viewer, room: Chatroom) -> Result<HttpResponse, Problem> {
    paging::everything(0, move |after| {
        let (state, room) = (state.clone(), room.clone());
        async move {
            let chats = state.store.history(&room, Page::After(after), STREAM_PAGE).await?;
            let next = chats.last().filter(|_| chats.len() as u64 == STREAM_PAGE).map(|last| last.seq);
            if next.is_none() {
                received(&state, viewer, &room, room.last_seq);
            }
            Ok((chats.iter().map(|chat| paging::encode(&ChatBody::new(chat))).collect(), next))
        }
    })
    .await
}

/// The viewer has the history up to here; a room that is too busy to hear it loses only a hint.
fn received(state: &State, viewer: Viewer, room: &Chatroom, seq: Seq) {
    let (chatter_id, steps) = (viewer.chatter_id, [Some(Move::Delivered(seq)), None]);
    let _ = state.registry.tell(room.id, Command::Watermark { chatter_id, steps, asker: None });
}

/// How a search is paged.
#[derive(Deserialize)]
pub struct SearchQuery {
    #[serde(default, deserialize_with = "whole_number")]
    limit: Option<i64>,
    #[serde(default, deserialize_with = "whole_number")]
    before: Option<Seq>,
}

/// `POST /api/chatrooms/{id}/chats/search`: newest first.
pub async fn search(
    request: HttpRequest,
    state: web::Data<State>,
    viewer: Viewer,
    path: web::Path<String>,
    asked: web::Query<SearchQuery>,
    Json(body): Json<Search>,
) -> Result<HttpResponse, Problem> {
    let room = room_of(&state, viewer, &path).await?;
    if body.query.is_empty() || body.query.len() > QUERY_BYTES_MAX || body.query.contains('\0') {
        return Err(Problem::invalid("query", "It must have 1 to 1024 bytes and no NUL character."));
    }
    let folded = fold(&body.query).into_owned();
    if asked.limit.is_some() || asked.before.is_some() {
        let limit = paging::limit(asked.limit)?;
        let (chats, next) = search_page(&state, &room, &folded, asked.before, limit).await?;
        let bodies: Vec<ChatBody<'_>> = chats.iter().map(ChatBody::new).collect();
        return Ok(paging::page(&request, &bodies, limit, next.map(|before| format!("before={before}"))));
    }
    paging::everything(None, move |before| {
        let (state, room, folded) = (state.clone(), room.clone(), folded.clone());
        async move {
            let found = state.store.search(&room, &folded, before, STREAM_PAGE).await?;
            let items = found.chats.iter().map(|chat| paging::encode(&ChatBody::new(chat))).collect();
            Ok((items, found.before.map(Some)))
        }
    })
    .await
}

/// Looks on, one bounded query after another, until the page is full or the room is searched through.
async fn search_page(
    state: &State,
    room: &Chatroom,
    folded: &str,
    before: Option<Seq>,
    limit: u64,
) -> Result<(Vec<Chat>, Option<Seq>), Problem> {
    let mut chats = Vec::new();
    let mut next = before;
    loop {
        let found = state.store.search(room, folded, next, limit - chats.len() as u64).await?;
        chats.extend(found.chats);
        next = found.before;
        if next.is_none() || chats.len() as u64 >= limit {
            return Ok((chats, next));
        }
    }
}

/// How changes are asked for.
#[derive(Deserialize)]
pub struct ChangesQuery {
    #[serde(default, deserialize_with = "whole_number")]
    since: Option<i64>,
    #[serde(default, deserialize_with = "whole_number")]
    limit: Option<i64>,
}

/// `GET /api/chatrooms/{id}/changes`: what changed above a version.
pub async fn changes(
    state: web::Data<State>,
    viewer: Viewer,
    path: web::Path<String>,
    asked: web::Query<ChangesQuery>,
) -> Result<HttpResponse, Problem> {
    let room = room_of(&state, viewer, &path).await?;
    let since = asked.since.unwrap_or(0);
    if since < 0 {
        return Err(Problem::new(Code::Malformed, "since must be a version of this room, or 0."));
    }
    let found = state.store.changes(&room, since, paging::limit(asked.limit)?).await?;
    let found = found.ok_or_else(|| Problem::not_found("chatroom"))?;
    let changes = found.chats.iter().map(ChangeBody::new).collect();
    Ok(HttpResponse::Ok().json(ChangesBody { changes, version: found.version, has_more: found.has_more }))
}

/// `GET /api/chats/{id}`.
pub async fn show(state: web::Data<State>, viewer: Viewer, path: web::Path<String>) -> Result<HttpResponse, Problem> {
    let (chat, _) = chat_of(&state, viewer, &path).await?;
    Ok(HttpResponse::Ok().json(ChatBody::new(&chat)))
}

/// `PUT /api/chats/{id}`.
pub async fn edit(
    state: web::Data<State>,
    viewer: Viewer,
    path: web::Path<String>,
    Json(body): Json<EditChat>,
) -> Result<HttpResponse, Problem> {
    let content = Content::parse(body.content)?;
    let chat = altered(&state, viewer, &path, Change::Edit(content)).await?;
    Ok(HttpResponse::Ok().json(ChatBody::new(&chat)))
}

/// `DELETE /api/chats/{id}`: a tombstone stays.
pub async fn delete(state: web::Data<State>, viewer: Viewer, path: web::Path<String>) -> Result<HttpResponse, Problem> {
    altered(&state, viewer, &path, Change::Delete).await?;
    Ok(HttpResponse::Ok().json(Message { message: "Success Delete Chat" }))
}

async fn altered(state: &State, viewer: Viewer, path: &str, change: Change) -> Result<Chat, Problem> {
    let (chat, room) = chat_of(state, viewer, path).await?;
    state.limits.send(viewer.chatter_id).map_err(|wait| {
        Problem::new(Code::RateLimited, "You are changing chats too fast; wait before the next change.")
            .retry_after(wait)
    })?;
    let (reply, answer) = oneshot::channel();
    let alter = Alter { by: viewer.chatter_id, chat_id: chat.id, change, reply: Reply::Rest(reply) };
    state.registry.tell(room.id, Command::Alter(alter))?;
    match answered(answer).await? {
        Stored::New { chat, .. } | Stored::Again(chat) | Stored::Edited(chat) | Stored::Deleted(chat) => Ok(chat),
    }
}

/// A chat that the viewer may see: in a room of theirs, and not deleted.
async fn chat_of(state: &State, viewer: Viewer, path: &str) -> Result<(Chat, Chatroom), Problem> {
    let found = state.store.chat(id(path, "chat")?).await?;
    let visible = |(chat, room): &(Chat, Chatroom)| room.has(viewer.chatter_id) && chat.delete_time.is_none();
    found.filter(visible).ok_or_else(|| Problem::not_found("chat"))
}
