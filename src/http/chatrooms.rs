//! `/api/chatrooms`: creating, listing, showing and deleting rooms; receipts.

use std::collections::HashSet;
use std::sync::Arc;

use actix_web::{HttpRequest, HttpResponse, web};
use parking_lot::Mutex;
use serde::Deserialize;

use super::State;
use super::body::Json;
use super::extract::{Viewer, address, id};
use super::history::in_epoch;
#[cfg(test)]
use super::openapi::{BODY, Refusals, TOKEN, of};
use super::paging;
use super::paging::{Reader, STREAM_PAGE};
use crate::domain::ChatroomId;
use crate::domain::chatroom::Chatroom;
use crate::domain::clock::Micros;
use crate::problem::{Code, Problem};
use crate::protocol::requests::{CreateChatroom, Receipt, whole_number};
use crate::protocol::rest::{ChatroomBody, Message};
use crate::rooms::command::Command;
use crate::service::chatrooms::ShownChatroom;
use crate::store::room_views::RoomCursor;
use crate::store::writer::WatermarkUpdate;
use crate::telemetry::audit::{Event, Facts};

/// Create the room with another chatter, or one for notes
///
/// Two chatters have one room; if it exists, 409 names it. A chatter creates at most 60 rooms an hour
/// (`limits.rooms_per_hour`). With the viewer's own id the room is for notes to oneself.
#[cfg_attr(
    test,
    utoipa::path(
        post, path = "/api/chatrooms", operation_id = "create_chatroom", tag = "Rooms", request_body = CreateChatroom,
        responses(
            (status = 201, description = "The new room.", body = ChatroomBody),
            Refusals<{
                TOKEN | BODY | of(&[Code::Invalid, Code::ChatroomExists, Code::NotFound, Code::RateLimited])
            }>
        )
    )
)]
pub(super) async fn create(
    state: web::Data<State>,
    viewer: Viewer,
    Json(body): Json<CreateChatroom>,
) -> Result<HttpResponse, Problem> {
    if let Err(wait) = state.limits.room(viewer.chatter_id) {
        let existing = state.store.chatroom_of([viewer.chatter_id, body.opponent_id]).await?;
        let detail = "You are creating rooms too fast; wait before the next one.";
        let too_fast = || Problem::new(Code::RateLimited, detail).retry_after(wait);
        return Err(existing.map_or_else(too_fast, Problem::chatroom_exists));
    }
    let created = state.service.create_chatroom(viewer.chatter_id, body.opponent_id).await;
    let room = created.inspect_err(|_| state.limits.no_room(viewer.chatter_id))?;
    Ok(HttpResponse::Created().json(room.body()))
}

/// The parameters of the list of rooms.
#[derive(Deserialize)]
#[cfg_attr(test, derive(utoipa::IntoParams), into_params(parameter_in = Query))]
pub(super) struct RoomsQuery {
    /// Rooms on a page; more than 200 gives 200.
    #[cfg_attr(test, param(minimum = 1))]
    #[serde(default, deserialize_with = "whole_number")]
    limit: Option<i64>,
    /// Where the page begins, as `Link` gives it.
    #[cfg_attr(test, param(format = "cursor"))]
    after: Option<String>,
}

/// List the viewer's rooms, newest chat first
///
/// Without `limit` and `after` the whole list is streamed; with one of them it is a page. A page has fewer rooms than
/// `limit` where their last chats are large: the list goes on while there is a `Link` to the next page. Rooms that get
/// a chat while the pages are read come on the last pages, and may have come before: the later one is newer.
#[cfg_attr(
    test,
    utoipa::path(
        get, path = "/api/chatrooms", operation_id = "list_chatrooms", tag = "Rooms", params(RoomsQuery),
        responses(
            (status = 200, description = "The rooms.", body = Vec<ChatroomBody>, headers(("Link" = String))),
            Refusals<{ TOKEN | of(&[Code::Malformed, Code::RateLimited, Code::Busy]) }>
        )
    )
)]
pub(super) async fn list(
    request: HttpRequest,
    state: web::Data<State>,
    viewer: Viewer,
    query: web::Query<RoomsQuery>,
) -> Result<HttpResponse, Problem> {
    let (me, mut reader) = (viewer.chatter_id, Reader::chatter(&request, &state, viewer));
    let _turn = reader.begin().await?;
    if query.limit.is_some() || query.after.is_some() {
        let limit = paging::limit(query.limit)?;
        let from = query.after.as_deref().map(cursor).transpose()?.unwrap_or_default();
        let page = state.store.rooms_of(me, from, limit).await?;
        let next = page.next.map(|next| format!("after={}", text(next)));
        let views = state.service.chatrooms(me, page.rooms).await?;
        let bodies: Vec<ChatroomBody<'_>> = views.iter().map(ShownChatroom::body).collect();
        return paging::page(&reader, &request, &bodies, limit, next);
    }
    let epoch = state.store.epochs().number();
    let listed: Arc<Mutex<HashSet<ChatroomId>>> = Arc::default();
    paging::everything(reader, RoomCursor::default(), move |from| {
        let (state, listed) = (state.clone(), listed.clone());
        async move {
            in_epoch(&state, epoch)?;
            let mut page = state.store.rooms_of(me, from, STREAM_PAGE).await?;
            page.rooms.retain(|view| listed.lock().insert(view.room.id));
            let views = state.service.chatrooms(me, page.rooms).await?;
            Ok((views.iter().map(|view| paging::encode(&view.body())).collect(), page.next))
        }
    })
    .await
}

/// Show one room
#[cfg_attr(
    test,
    utoipa::path(
        get, path = "/api/chatrooms/{id}", operation_id = "show_chatroom", tag = "Rooms",
        params(("id" = i64, Path, description = "The room's id.")),
        responses(
            (status = 200, description = "The room.", body = ChatroomBody),
            Refusals<{ TOKEN | of(&[Code::NotFound, Code::RateLimited, Code::Busy]) }>
        )
    )
)]
pub(super) async fn show(
    request: HttpRequest,
    state: web::Data<State>,
    viewer: Viewer,
    path: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    let room = room_of(&state, viewer, &path).await?;
    let room = state.service.chatroom(viewer.chatter_id, room.id).await?;
    Reader::chatter(&request, &state, viewer).answer(HttpResponse::Ok(), paging::encode(&room.body()))
}

/// Delete a room, for both chatters
///
/// Its chats are deleted with it, and its sockets are closed with 4404.
#[cfg_attr(
    test,
    utoipa::path(
        delete, path = "/api/chatrooms/{id}", operation_id = "delete_chatroom", tag = "Rooms",
        params(("id" = i64, Path, description = "The room's id.")),
        responses(
            (
                status = 200, description = "Deleted.",
                body = Message, example = json!({"message": "Success Delete Chatroom"})
            ),
            Refusals<{ TOKEN | of(&[Code::NotFound, Code::Busy]) }>
        )
    )
)]
pub(super) async fn delete(
    request: HttpRequest,
    state: web::Data<State>,
    viewer: Viewer,
    path: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    let room = room_of(&state, viewer, &path).await?;
    state.service.delete_chatroom(room.id, viewer.chatter_id).await?;
    let facts = Facts { chatroom: Some(room.id), ..viewer.facts() };
    state.audit.done(Event::RoomDeletion, address(&request, state.rules.proxy_hops), facts);
    Ok(HttpResponse::Ok().json(Message { message: "Success Delete Chatroom" }))
}

/// Say how far the viewer has received and read
///
/// The marks only move forward: an older `seq` changes nothing. What is read counts as received.
#[cfg_attr(
    test,
    utoipa::path(
        put, path = "/api/chatrooms/{id}/receipt", operation_id = "move_receipt", tag = "Rooms", request_body = Receipt,
        params(("id" = i64, Path, description = "The room's id.")),
        responses(
            (
                status = 200, description = "Accepted.",
                body = Message, example = json!({"message": "Success Move Receipt"})
            ),
            Refusals<{ TOKEN | BODY | of(&[Code::NotFound, Code::Invalid, Code::Busy]) }>
        )
    )
)]
pub(super) async fn receipt(
    state: web::Data<State>,
    viewer: Viewer,
    path: web::Path<String>,
    Json(body): Json<Receipt>,
) -> Result<HttpResponse, Problem> {
    let room = room_of(&state, viewer, &path).await?;
    Problem::check_seq("delivered_seq", body.delivered_seq, room.last_seq)?;
    Problem::check_seq("read_seq", body.read_seq, room.last_seq)?;
    let steps = [body.delivered_seq.map(WatermarkUpdate::Delivered), body.read_seq.map(WatermarkUpdate::Read)];
    state.registry.send(room.id, Command::Watermark { chatter_id: viewer.chatter_id, steps, reply_to: None })?;
    Ok(HttpResponse::Ok().json(Message { message: "Success Move Receipt" }))
}

/// The room of this path; not found unless the viewer is in it.
pub(super) async fn room_of(state: &State, viewer: Viewer, path: &str) -> Result<Chatroom, Problem> {
    let room = state.store.chatroom(id(path, "chatroom")?).await?;
    room.filter(|room| room.has(viewer.chatter_id)).ok_or_else(|| Problem::not_found("chatroom"))
}

/// A cursor as clients get it: the last room, then what the cursor remembers of the beginning of the list.
fn text(cursor: RoomCursor) -> String {
    let (time, id) = cursor.after.unwrap_or((Micros(0), ChatroomId::new(0)));
    let newest = cursor.newest.map(|newest| format!("-{}", newest.0)).unwrap_or_default();
    format!("{}-{id}-{}{newest}", time.0, cursor.since.0)
}

fn cursor(text: &str) -> Result<RoomCursor, Problem> {
    let numbers: Result<Vec<i64>, _> = text.split('-').map(str::parse).collect();
    let (time, id, since, newest) = match numbers.as_deref() {
        Ok([time, id]) => (*time, *id, 0, None),
        Ok([time, id, since]) => (*time, *id, *since, None),
        Ok([time, id, since, newest]) => (*time, *id, *since, Some(Micros(*newest))),
        _ => return Err(Problem::new(Code::Malformed, "after must be a value that a Link header has given.")),
    };
    let after = (time > 0).then_some((Micros(time), ChatroomId::new(id)));
    Ok(RoomCursor { after, since: Micros(since), newest })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_as_it_was_written_and_those_of_older_servers_too() {
        let after = Some((Micros(7), ChatroomId::new(3)));
        for (written, expected) in [
            (RoomCursor { after, since: Micros(2), newest: Some(Micros(9)) }, "7-3-2-9"),
            (RoomCursor { since: Micros(9), ..RoomCursor::default() }, "0-0-9"),
        ] {
            assert_eq!(text(written), expected);
            assert_eq!(cursor(expected), Ok(written));
        }
        assert_eq!(cursor("7-3"), Ok(RoomCursor { after, ..RoomCursor::default() }));
        for bad in ["", "7", "7-", "7-x", "1-2-3-4-5", "-7-3"] {
            assert!(cursor(bad).is_err(), "{bad}");
        }
    }
}
