//! `/api/chatrooms`: making, listing, showing and deleting rooms; receipts.

use std::collections::HashMap;

use actix_web::{HttpRequest, HttpResponse, web};
use serde::Deserialize;
use tokio::sync::oneshot;

use super::extract::{Json, Viewer, id};
use super::openapi::{BODY, Refusals, TOKEN, of};
use super::paging;
use super::paging::STREAM_PAGE;
use super::{ROOM_DEADLINE, State};
use crate::broker::ClusterMessage;
use crate::connections::device::RoomAnnouncement;
use crate::domain::chatroom::Chatroom;
use crate::domain::chatter::Chatter;
use crate::domain::clock::Micros;
use crate::domain::{ChatroomId, ChatterId, Seq};
use crate::problem::{Code, Problem};
use crate::protocol::device::server::ServerFrame;
use crate::protocol::requests::{CreateChatroom, Receipt, whole_number};
use crate::protocol::rest::{ChatroomBody, ChatterBody, Message};
use crate::rooms::command::Command;
use crate::store::chatrooms::{Created, RoomCursor, RoomView};
use crate::store::writer::WatermarkUpdate;
use crate::websocket::framing::text_frame;

/// Open the room with somebody, or with oneself
///
/// Two chatters have one room; if it exists, 409 names it. One's own id opens a room for notes.
#[utoipa::path(
    post, path = "/api/chatrooms", operation_id = "create_chatroom", tag = "Rooms", request_body = CreateChatroom,
    responses(
        (status = 201, description = "The new room.", body = ChatroomBody),
        Refusals<{ TOKEN | BODY | of(&[Code::Invalid, Code::ChatroomExists, Code::NotFound]) }>
    )
)]
pub async fn create(
    state: web::Data<State>,
    viewer: Viewer,
    Json(body): Json<CreateChatroom>,
) -> Result<HttpResponse, Problem> {
    match state.store.create_chatroom(viewer.chatter_id, body.opponent_id).await? {
        Created::New(room) => {
            let other = room.other(viewer.chatter_id);
            let of_other = match other != viewer.chatter_id && state.connections.is_connected_here(other) {
                true => ViewOf::one(&state, other, room.id).await.ok(),
                false => None,
            };
            let own = ViewOf::one(&state, viewer.chatter_id, room.id).await;
            for (chatter, view) in
                of_other.iter().map(|view| (other, view)).chain(own.iter().map(|own| (viewer.chatter_id, own)))
            {
                state.connections.announce_room(chatter, room.id, &created(view));
            }
            let chatters = [viewer.chatter_id, other];
            state.broker.publish(ClusterMessage::RoomCreated { chatroom_id: room.id, chatters });
            Ok(HttpResponse::Created().json(own?.body()))
        }
        Created::NoOpponent => Err(Problem::invalid("opponent_id", "There is no chatter with this id.")),
        Created::Exists(id) => {
            let detail = format!("You two have chatroom {id} already.");
            Err(Problem { chatroom_id: Some(id), ..Problem::new(Code::ChatroomExists, detail) })
        }
    }
}

fn created(view: &ViewOf) -> RoomAnnouncement {
    let frame = text_frame(&ServerFrame::ChatroomCreated { chatroom: &view.body() });
    RoomAnnouncement { frame, version: view.view.room.version }
}

/// What a chatter's devices are told of a new room; none where the room is gone or cannot be read.
pub async fn made(state: &State, viewer: ChatterId, room: ChatroomId) -> Option<RoomAnnouncement> {
    ViewOf::one(state, viewer, room).await.ok().map(|view| created(&view))
}

/// How the rooms are asked for.
#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct RoomsQuery {
    /// Rooms on a page; more than 200 gives 200.
    #[serde(default, deserialize_with = "whole_number")]
    limit: Option<i64>,
    /// `TIME_US-ID` of the last room seen, as `Link` gives it.
    after: Option<String>,
}

/// List one's rooms, newest chat first
///
/// Without `limit` and `after` everything is streamed; with one of them it is a page.
#[utoipa::path(
    get, path = "/api/chatrooms", operation_id = "list_chatrooms", tag = "Rooms", params(RoomsQuery),
    responses(
        (status = 200, description = "The rooms.", body = Vec<ChatroomBody>, headers(("Link" = String))),
        Refusals<{ TOKEN | of(&[Code::Malformed]) }>
    )
)]
pub async fn list(
    request: HttpRequest,
    state: web::Data<State>,
    viewer: Viewer,
    asked: web::Query<RoomsQuery>,
) -> Result<HttpResponse, Problem> {
    let me = viewer.chatter_id;
    if asked.limit.is_some() || asked.after.is_some() {
        let limit = paging::limit(asked.limit)?;
        let after = asked.after.as_deref().map(cursor).transpose()?;
        let views = state.store.rooms_of(me, after, limit).await?;
        let full = views.len() as u64 == limit;
        let next =
            views.last().filter(|_| full).map(|view| format!("after={}-{}", view.room.last_chat_time.0, view.room.id));
        let views = with_people(&state, me, views).await?;
        let bodies: Vec<ChatroomBody<'_>> = views.iter().map(ViewOf::body).collect();
        return Ok(paging::page(&request, &bodies, limit, next));
    }
    paging::everything(None, move |after| {
        let state = state.clone();
        async move {
            let views = state.store.rooms_of(me, after, STREAM_PAGE).await?;
            let full = views.len() as u64 == STREAM_PAGE;
            let last = views
                .last()
                .filter(|_| full)
                .map(|v| RoomCursor { last_chat_time: v.room.last_chat_time, id: v.room.id });
            let views = with_people(&state, me, views).await?;
            Ok((views.iter().map(|view| paging::encode(&view.body())).collect(), last.map(Some)))
        }
    })
    .await
}

/// Show one room
#[utoipa::path(
    get, path = "/api/chatrooms/{id}", operation_id = "show_chatroom", tag = "Rooms",
    params(("id" = i64, Path, description = "The room's id.")),
    responses((status = 200, description = "The room.", body = ChatroomBody), Refusals<{ TOKEN | of(&[Code::NotFound]) }>)
)]
pub async fn show(state: web::Data<State>, viewer: Viewer, path: web::Path<String>) -> Result<HttpResponse, Problem> {
    let room = room_of(&state, viewer, &path).await?;
    Ok(HttpResponse::Ok().json(ViewOf::one(&state, viewer.chatter_id, room.id).await?.body()))
}

/// Delete a room, for both
///
/// With all its chats. The room's sockets are closed with 4404.
#[utoipa::path(
    delete, path = "/api/chatrooms/{id}", operation_id = "delete_chatroom", tag = "Rooms",
    params(("id" = i64, Path, description = "The room's id.")),
    responses(
        (status = 200, description = "It is gone.", body = Message, example = json!({"message": "Success Delete Chatroom"})),
        Refusals<{ TOKEN | of(&[Code::NotFound, Code::Busy]) }>
    )
)]
pub async fn delete(state: web::Data<State>, viewer: Viewer, path: web::Path<String>) -> Result<HttpResponse, Problem> {
    let room = room_of(&state, viewer, &path).await?;
    let (reply, answer) = oneshot::channel();
    state.registry.send(room.id, Command::Delete { by: viewer.chatter_id, reply })?;
    answered(answer).await?;
    Ok(HttpResponse::Ok().json(Message { message: "Success Delete Chatroom" }))
}

/// Say how far one has received and read
///
/// Marks move forward only: an older one changes nothing. Reading includes receiving.
#[utoipa::path(
    put, path = "/api/chatrooms/{id}/receipt", operation_id = "move_receipt", tag = "Rooms", request_body = Receipt,
    params(("id" = i64, Path, description = "The room's id.")),
    responses(
        (status = 200, description = "Taken.", body = Message, example = json!({"message": "Success Move Receipt"})),
        Refusals<{ TOKEN | BODY | of(&[Code::NotFound, Code::Invalid, Code::Busy]) }>
    )
)]
pub async fn receipt(
    state: web::Data<State>,
    viewer: Viewer,
    path: web::Path<String>,
    Json(body): Json<Receipt>,
) -> Result<HttpResponse, Problem> {
    let room = room_of(&state, viewer, &path).await?;
    check_seq("delivered_seq", body.delivered_seq, &room)?;
    check_seq("read_seq", body.read_seq, &room)?;
    let steps = [body.delivered_seq.map(WatermarkUpdate::Delivered), body.read_seq.map(WatermarkUpdate::Read)];
    state.registry.send(room.id, Command::Watermark { chatter_id: viewer.chatter_id, steps, reply_to: None })?;
    Ok(HttpResponse::Ok().json(Message { message: "Success Move Receipt" }))
}

/// A room that the viewer is in; any other is not found.
pub async fn room_of(state: &State, viewer: Viewer, path: &str) -> Result<Chatroom, Problem> {
    let room = state.store.chatroom(id(path, "chatroom")?).await?;
    room.filter(|room| room.has(viewer.chatter_id)).ok_or_else(|| Problem::not_found("chatroom"))
}

/// Waits for a room's answer.
pub async fn answered<T>(answer: oneshot::Receiver<Result<T, Problem>>) -> Result<T, Problem> {
    match tokio::time::timeout(ROOM_DEADLINE, answer).await {
        Ok(Ok(answer)) => answer,
        // The room failed, or the database is slower than the deadline: what became of it is not known.
        Ok(Err(_)) | Err(_) => Err(Problem::unavailable()),
    }
}

fn check_seq(field: &'static str, seq: Option<Seq>, room: &Chatroom) -> Result<(), Problem> {
    match seq {
        Some(seq) if seq < Seq::ZERO || seq > room.last_seq => {
            Err(Problem::invalid(field, "It must be the seq of a chat in this room."))
        }
        _ => Ok(()),
    }
}

fn cursor(text: &str) -> Result<RoomCursor, Problem> {
    let parsed = text.split_once('-').and_then(|(time, id)| Some((time.parse().ok()?, id.parse().ok()?)));
    let (time, id): (i64, ChatroomId) = parsed
        .ok_or_else(|| Problem::new(Code::Malformed, "after must be taken from the Link header of the page before."))?;
    Ok(RoomCursor { last_chat_time: Micros(time), id })
}

/// A room with the two in it, for one viewer: never the same for both.
pub(crate) struct ViewOf {
    view: RoomView,
    owner: ChatterBody,
    opponent: ChatterBody,
}

impl ViewOf {
    /// The room as this viewer sees it now; not found if it is gone.
    pub(crate) async fn one(state: &State, viewer: ChatterId, room: ChatroomId) -> Result<Self, Problem> {
        let view = state.store.room_view(viewer, room).await?;
        let views = with_people(state, viewer, view.into_iter().collect()).await?;
        views.into_iter().next().ok_or_else(|| Problem::not_found("chatroom"))
    }

    /// The body that REST and the sockets give.
    pub(crate) fn body(&self) -> ChatroomBody<'_> {
        let receipts = self.view.receipts.iter().map(|(id, marks)| (*id, *marks));
        let (owner, opponent) = (self.owner.clone(), self.opponent.clone());
        ChatroomBody::new(
            &self.view.room,
            owner,
            opponent,
            self.view.last_chat.as_ref(),
            self.view.unread_count,
            receipts,
        )
    }
}

async fn with_people(state: &State, viewer: ChatterId, views: Vec<RoomView>) -> Result<Vec<ViewOf>, Problem> {
    let mut ids: Vec<ChatterId> = views.iter().flat_map(|view| [view.room.owner_id, view.room.opponent_id]).collect();
    ids.sort_unstable();
    ids.dedup();
    let others: Vec<ChatterId> = ids.iter().filter(|id| **id != viewer).copied().collect();
    let (people, connected) = tokio::join!(
        async { if ids.is_empty() { Ok(HashMap::new()) } else { state.store.chatters_by_id(ids).await } },
        state.broadcaster.connected(&others)
    );
    let people = people?;
    let own_token = if views.is_empty() { None } else { state.store.account_token(viewer).await? };
    let body = |id: ChatterId| {
        let person = people.get(&id).cloned().unwrap_or_else(|| Chatter::gone(id));
        if id == viewer {
            return ChatterBody::own(&person, own_token.clone());
        }
        ChatterBody::known(&person, connected.contains(&id))
    };
    let with = |view: RoomView| ViewOf { owner: body(view.room.owner_id), opponent: body(view.room.opponent_id), view };
    Ok(views.into_iter().map(with).collect())
}
