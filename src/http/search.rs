//! Searching a room: pages, each after a bounded amount of work, or all matches as a stream.

use std::sync::Arc;

use actix_web::{HttpRequest, HttpResponse, web};
use serde::Deserialize;
use tokio::sync::Mutex;
use tokio::time::sleep;

use super::State;
use super::body::Json;
use super::chatrooms::room_of;
use super::extract::Viewer;
use super::history::in_epoch;
#[cfg(test)]
use super::openapi::{BODY, Refusals, TOKEN, of};
use super::paging;
use super::paging::{Reader, STREAM_PAGE};
use super::search_turns::Search as Turn;
use crate::domain::Seq;
use crate::domain::fold::Needle;
use crate::problem::{Code, Problem};
use crate::protocol::requests::{Search, whole_number};
use crate::protocol::rest::ChatBody;
use crate::store::search::{Examined, RoomSearch};

/// The bytes of contents that one page of an answer may examine, and the places in the room.
const WORK_BYTES: u64 = 4 * 1024 * 1024;
const WORK_PLACES: u64 = 50_000;

/// The bytes of contents at which a page of an answer is full.
const FOUND_BYTES: usize = 256 * 1024;

/// What a page of an answer has examined.
#[derive(Default)]
struct Work {
    bytes: u64,
    places: u64,
}

impl Work {
    fn add(&mut self, examined: &Examined) {
        self.bytes += examined.bytes;
        self.places += examined.places;
    }

    fn is_enough(&self) -> bool {
        self.bytes >= WORK_BYTES || self.places >= WORK_PLACES
    }
}

/// The parameters of a search.
#[derive(Deserialize)]
#[cfg_attr(test, derive(utoipa::IntoParams), into_params(parameter_in = Query))]
pub(super) struct SearchQuery {
    /// Chats on a page; more than 200 gives 200.
    #[cfg_attr(test, param(minimum = 1))]
    #[serde(default, deserialize_with = "whole_number")]
    limit: Option<i64>,
    /// Only chats before this `seq`, as `Link` gives it.
    #[serde(default, deserialize_with = "whole_number")]
    before: Option<Seq>,
}

/// Search the room, newest first
///
/// Finds a part of a chat, in any script, without regard to case, accents and invisible characters; `%` and `_` have no
/// special meaning. Without `limit` and `before` all matches are streamed; with one of them it is a page. A page
/// examines a bounded part of the room, so it may have few matches or none and still a `Link` to the next one.
#[cfg_attr(
    test,
    utoipa::path(
        post, path = "/api/chatrooms/{id}/chats/search", operation_id = "search_chats", tag = "Chats",
        request_body = Search, params(("id" = i64, Path, description = "The room's id."), SearchQuery),
        responses(
            (status = 200, description = "The chats.", body = Vec<ChatBody>, headers(("Link" = String))),
            Refusals<{ TOKEN | BODY | of(&[Code::NotFound, Code::Invalid, Code::RateLimited, Code::Busy]) }>
        )
    )
)]
pub(super) async fn search(
    request: HttpRequest,
    state: web::Data<State>,
    viewer: Viewer,
    path: web::Path<String>,
    query: web::Query<SearchQuery>,
    Json(body): Json<Search>,
) -> Result<HttpResponse, Problem> {
    let room = room_of(&state, viewer, &path).await?;
    let needle = Needle::parse(&body.query)?;
    let limit = match (query.limit, query.before) {
        (None, None) => None,
        (limit, _) => Some(paging::limit(limit)?),
    };
    state.limits.search(viewer.chatter_id).map_err(too_many)?;
    let turn = state.search_turns.begin(viewer.chatter_id).await?;
    let reader = Reader::chatter(&request, &state, viewer).with_own_turns();
    let search = RoomSearch::new(room, needle, query.before);
    match limit {
        Some(limit) => page(&reader, &request, &state, &turn, search, limit).await,
        None => everything(reader, state, turn, search, viewer).await,
    }
}

fn too_many(wait: std::time::Duration) -> Problem {
    Problem::new(Code::RateLimited, "You are searching too often; wait before the next search.").retry_after(wait)
}

/// Examines the room until the page is full or has been work enough.
async fn page(
    reader: &Reader,
    request: &HttpRequest,
    state: &State,
    turn: &Turn,
    mut search: RoomSearch,
    limit: u64,
) -> Result<HttpResponse, Problem> {
    let (mut chats, mut work, mut found_bytes) = (Vec::new(), Work::default(), 0);
    let before = loop {
        let examined = examine(state, turn, &mut search, limit as usize - chats.len()).await?;
        work.add(&examined);
        found_bytes += examined.chats.iter().map(|chat| chat.content.len()).sum::<usize>();
        chats.extend(examined.chats);
        let is_full = chats.len() as u64 >= limit || found_bytes >= FOUND_BYTES;
        if examined.before.is_none() || is_full || work.is_enough() {
            break examined.before;
        }
    };
    let bodies: Vec<ChatBody<'_>> = chats.iter().map(ChatBody::new).collect();
    paging::page(reader, request, &bodies, limit, before.map(|before| format!("before={before}")))
}

/// Streams all matches. A stream that examines more than a page of an answer counts as another search, and waits where
/// that one would be refused. It ends between two pages when the client has gone.
async fn everything(
    reader: Reader,
    state: web::Data<State>,
    turn: Turn,
    search: RoomSearch,
    viewer: Viewer,
) -> Result<HttpResponse, Problem> {
    let running = Arc::new(Mutex::new((turn, search, Work::default())));
    let epoch = state.store.epochs().number();
    // A stream that waits for its rate holds no turn.
    paging::everything(reader, (), move |()| {
        let (state, running) = (state.clone(), running.clone());
        async move {
            in_epoch(&state, epoch)?;
            let (turn, search, work) = &mut *running.lock().await;
            if work.is_enough() {
                *work = Work::default();
                while let Err(wait) = state.limits.search(viewer.chatter_id) {
                    sleep(wait).await;
                }
            }
            let examined = examine(&state, turn, search, STREAM_PAGE as usize).await?;
            work.add(&examined);
            let items = examined.chats.iter().map(|chat| paging::encode(&ChatBody::new(chat))).collect();
            Ok((items, examined.before.map(|_| ())))
        }
    })
    .await
}

/// Examines one page of the room, in turn with what other chatters read in bulk.
async fn examine(state: &State, turn: &Turn, search: &mut RoomSearch, limit: usize) -> Result<Examined, Problem> {
    let _turn = turn.page().await?;
    Ok(state.store.search(search, limit).await?)
}
