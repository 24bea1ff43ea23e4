//! The chats of a room: its history, and the changes above a version.

use actix_web::{HttpRequest, HttpResponse, web};
use serde::Deserialize;

use super::State;
use super::chatrooms::room_of;
use super::extract::Viewer;
#[cfg(test)]
use super::openapi::{Refusals, TOKEN, of};
use super::paging;
use super::paging::{Reader, STREAM_PAGE};
use crate::domain::chatroom::Chatroom;
use crate::domain::{Seq, Version};
use crate::problem::{Code, Problem};
use crate::protocol::requests::whole_number;
use crate::protocol::rest::{ChangeBody, ChangesBody, ChatBody};
use crate::rooms::command::Command;
use crate::store::chats::{History, Page};
use crate::store::epoch::EpochNumber;
use crate::store::writer::WatermarkUpdate;

/// The parameters of the history.
#[derive(Deserialize)]
#[cfg_attr(test, derive(utoipa::IntoParams), into_params(parameter_in = Query))]
pub(super) struct HistoryQuery {
    /// Chats on a page; more than 200 gives 200. Without another parameter: the newest chats.
    #[cfg_attr(test, param(minimum = 1))]
    #[serde(default, deserialize_with = "whole_number")]
    limit: Option<i64>,
    /// The chats right before this `seq`.
    #[serde(default, deserialize_with = "whole_number")]
    before: Option<Seq>,
    /// The chats right after this `seq`.
    #[serde(default, deserialize_with = "whole_number")]
    after: Option<Seq>,
    /// The chats around this `seq`.
    #[serde(default, deserialize_with = "whole_number")]
    around: Option<Seq>,
}

/// Read the history, ascending by `seq`
///
/// Without parameters the whole history is streamed; otherwise it is a page. `before`, `after` and `around` exclude
/// each other. A page has fewer chats than `limit` where they are large: the list goes on while there is a `Link` to
/// the next page. A history that includes the newest chat marks all chats as received.
#[cfg_attr(
    test,
    utoipa::path(
        get, path = "/api/chatrooms/{id}/chats", operation_id = "list_chats", tag = "Chats",
        params(("id" = i64, Path, description = "The room's id."), HistoryQuery),
        responses(
            (status = 200, description = "The chats.", body = Vec<ChatBody>, headers(("Link" = String))),
            Refusals<{ TOKEN | of(&[Code::Malformed, Code::NotFound, Code::RateLimited, Code::Busy]) }>
        )
    )
)]
pub(super) async fn history(
    request: HttpRequest,
    state: web::Data<State>,
    viewer: Viewer,
    path: web::Path<String>,
    query: web::Query<HistoryQuery>,
) -> Result<HttpResponse, Problem> {
    let room = room_of(&state, viewer, &path).await?;
    let page = match (query.before, query.after, query.around) {
        (None, None, None) => query.limit.map(|_| Page::Before(Seq::MAX)),
        (Some(seq), None, None) => Some(Page::Before(seq)),
        (None, Some(seq), None) => Some(Page::After(seq)),
        (None, None, Some(seq)) => Some(Page::Around(seq)),
        _ => return Err(Problem::new(Code::Malformed, "before, after and around exclude each other.")),
    };
    let mut reader = Reader::chatter(&request, &state, viewer);
    let _turn = reader.begin().await?;
    let Some(page) = page else { return whole_history(reader, state, viewer, room).await };
    let limit = paging::limit(query.limit)?;
    let History { chats, next } = state.store.history(&room, page, limit).await?;
    if chats.last().is_some_and(|chat| chat.seq >= room.last_seq) {
        received(&state, viewer, &room, room.last_seq);
    }
    let side = if matches!(page, Page::Before(_)) { "before" } else { "after" };
    let bodies: Vec<ChatBody<'_>> = chats.iter().map(ChatBody::new).collect();
    paging::page(&reader, &request, &bodies, limit, next.map(|seq| format!("{side}={seq}")))
}

async fn whole_history(
    reader: Reader,
    state: web::Data<State>,
    viewer: Viewer,
    room: Chatroom,
) -> Result<HttpResponse, Problem> {
    let epoch = state.store.epochs().number();
    paging::everything(reader, Seq::ZERO, move |after| {
        let (state, room) = (state.clone(), room.clone());
        async move {
            in_epoch(&state, epoch)?;
            let History { chats, next } = state.store.history(&room, Page::After(after), STREAM_PAGE).await?;
            if next.is_none() {
                received(&state, viewer, &room, room.last_seq);
            }
            Ok((chats.iter().map(|chat| paging::encode(&ChatBody::new(chat))).collect(), next))
        }
    })
    .await
}

/// Ends a list that has outlived its epoch: the room of the next page could be that of others.
pub(super) fn in_epoch(state: &State, epoch: EpochNumber) -> Result<(), Problem> {
    if state.store.epochs().number() == epoch { Ok(()) } else { Err(Problem::unavailable()) }
}

/// Marks the history as received up to here. If the room is too busy, the mark is lost; the next read sets it.
fn received(state: &State, viewer: Viewer, room: &Chatroom, seq: Seq) {
    let (chatter_id, steps) = (viewer.chatter_id, [Some(WatermarkUpdate::Delivered(seq)), None]);
    let _ = state.registry.send(room.id, Command::Watermark { chatter_id, steps, reply_to: None });
}

/// The parameters of the changes.
#[derive(Deserialize)]
#[cfg_attr(test, derive(utoipa::IntoParams), into_params(parameter_in = Query))]
pub(super) struct ChangesQuery {
    /// The version up to which the client has everything; 0 at the beginning.
    #[cfg_attr(test, param(value_type = Option<i64>, minimum = 0))]
    #[serde(default, deserialize_with = "whole_number")]
    since: Option<Version>,
    /// The epoch of `since`, from an earlier answer or from `ready`.
    epoch: Option<String>,
    /// Changes on a page; more than 200 gives 200.
    #[cfg_attr(test, param(minimum = 1))]
    #[serde(default, deserialize_with = "whole_number")]
    limit: Option<i64>,
}

/// List the chats that are new, edited or deleted above a version
///
/// Ordered by version. While `has_more` is true, repeat the request with the `version` of the answer; a page has fewer
/// changes than `limit` where they are large. Versions have gaps, since an edited chat leaves its older version.
///
/// `epoch_changed` says that the database was set back since the client read `since`: drop what there is of the room,
/// read `version` of the room, then its history, and go on from that version without an epoch.
#[cfg_attr(
    test,
    utoipa::path(
        get, path = "/api/chatrooms/{id}/changes", operation_id = "list_changes", tag = "Chats",
        params(("id" = i64, Path, description = "The room's id."), ChangesQuery),
        responses(
            (status = 200, description = "The changes.", body = ChangesBody),
            Refusals<{ TOKEN | of(&[Code::Malformed, Code::NotFound, Code::EpochChanged, Code::RateLimited, Code::Busy]) }>
        )
    )
)]
pub(super) async fn changes(
    request: HttpRequest,
    state: web::Data<State>,
    viewer: Viewer,
    path: web::Path<String>,
    query: web::Query<ChangesQuery>,
) -> Result<HttpResponse, Problem> {
    let epochs = state.store.epochs();
    let (number, epoch) = (epochs.number(), epochs.name());
    let room = room_of(&state, viewer, &path).await?;
    let since = query.since.unwrap_or_default();
    if since < Version::ZERO {
        return Err(Problem::new(Code::Malformed, "since must be a version of this room, or 0."));
    }
    let mut reader = Reader::chatter(&request, &state, viewer);
    let _turn = reader.begin().await?;
    let found = state.store.changes(&room, since, paging::limit(query.limit)?).await?;
    let found = found.ok_or_else(|| Problem::not_found("chatroom"))?;
    if epochs.number() != number {
        return Err(Problem::unavailable());
    }
    // A room's version only grows within an epoch.
    if since > found.version || query.epoch.as_ref().is_some_and(|named| **named != *epoch) {
        let detail = "The database was set back since this version was read; read the room and its history anew.";
        return Err(Problem::new(Code::EpochChanged, detail));
    }
    let changes = found.chats.iter().map(ChangeBody::new).collect();
    let body = ChangesBody { changes, version: found.version, epoch: &epoch, has_more: found.has_more };
    reader.answer(HttpResponse::Ok(), paging::encode(&body))
}
