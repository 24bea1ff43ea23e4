//! Sending a chat, and `/api/chats/{id}`: showing, editing and deleting one.

use actix_web::{HttpRequest, HttpResponse, web};
use tokio::sync::oneshot;

use super::State;
use super::body::Json;
use super::extract::{Viewer, id};
#[cfg(test)]
use super::openapi::{BODY, Refusals, TOKEN, of};
use super::paging;
use super::paging::Reader;
use crate::domain::Broken;
use crate::domain::chat::{Chat, ClientId, Content};
use crate::domain::chatroom::Chatroom;
use crate::problem::{Code, Problem};
use crate::protocol::requests::{EditChat, PostChat};
use crate::protocol::rest::{ChatBody, Message};
#[cfg(test)]
use crate::protocol::schema::StoredChat;
use crate::rooms::command::{Command, Mutate, Post, Reply};
use crate::service::answered;
use crate::store::writer::{Mutation, Stored};

/// Send a chat
///
/// The answer comes after the chat is stored. A chat with a `client_id` is stored once, however often it is sent: a
/// retry is answered 200 with the chat as it is now.
#[cfg_attr(
    test,
    utoipa::path(
        post, path = "/api/chatrooms/{id}/chats", operation_id = "post_chat", tag = "Chats", request_body = PostChat,
        params(
            ("id" = i64, Path, description = "The room's id."),
            (
                "Idempotency-Key" = Option<String>, Header, example = "a-1",
                min_length = 1, max_length = 64, pattern = "^[ -~]+$",
                description = "The `client_id` as a header; if both are sent, they must be equal."
            )
        ),
        responses(
            (status = 201, description = "Stored.", body = ChatBody),
            (
                status = 200, description = "This `client_id` was stored before; nothing new was stored.",
                body = StoredChat
            ),
            Refusals<{
                TOKEN
                    | BODY
                    | of(&[Code::Invalid, Code::NotFound, Code::ReceiverDeleted, Code::ClientIdConflict])
                    | of(&[Code::RateLimited, Code::Busy])
            }>
        )
    )
)]
pub(super) async fn post(
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
    state.registry.send(chatroom_id, Command::Post(post))?;
    match answered(answer).await? {
        Stored::New { chat, .. } => Ok(HttpResponse::Created().json(ChatBody::new(&chat))),
        Stored::Again(chat) | Stored::Edited(chat) | Stored::Deleted(chat) => {
            Ok(HttpResponse::Ok().json(ChatBody::new(&chat)))
        }
    }
}

/// The `client_id`: from the body, from `Idempotency-Key`, or equal in both.
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
            "Idempotency-Key and client_id differ; send one of them, or the same value in both.",
        ));
    }
    Ok(body.or(header.map(str::to_owned)).map(ClientId::parse).transpose()?)
}

/// Show one chat
#[cfg_attr(
    test,
    utoipa::path(
        get, path = "/api/chats/{id}", operation_id = "show_chat", tag = "Chats",
        params(("id" = i64, Path, description = "The chat's id.")),
        responses(
            (status = 200, description = "The chat.", body = ChatBody),
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
    let (chat, _) = chat_of(&state, viewer, &path).await?;
    Reader::chatter(&request, &state, viewer).answer(HttpResponse::Ok(), paging::encode(&ChatBody::new(&chat)))
}

/// Edit a chat
///
/// Only its sender may. The chat keeps its `seq` and gets the room's next `version`. An edit sends no push.
#[cfg_attr(
    test,
    utoipa::path(
        put, path = "/api/chats/{id}", operation_id = "edit_chat", tag = "Chats", request_body = EditChat,
        params(("id" = i64, Path, description = "The chat's id.")),
        responses(
            (status = 200, description = "The chat after the edit.", body = ChatBody),
            Refusals<{
                TOKEN | BODY
                    | of(&[Code::Invalid, Code::NotFound, Code::NotYours, Code::RateLimited, Code::Busy])
            }>
        )
    )
)]
pub(super) async fn edit(
    state: web::Data<State>,
    viewer: Viewer,
    path: web::Path<String>,
    Json(body): Json<EditChat>,
) -> Result<HttpResponse, Problem> {
    let content = Content::parse(body.content)?;
    let chat = mutated(&state, viewer, &path, Mutation::Edit(content)).await?;
    Ok(HttpResponse::Ok().json(ChatBody::new(&chat)))
}

/// Delete a chat
///
/// Only its sender may; the chat is deleted for both. A tombstone without content stays for devices that were offline.
#[cfg_attr(
    test,
    utoipa::path(
        delete, path = "/api/chats/{id}", operation_id = "delete_chat", tag = "Chats",
        params(("id" = i64, Path, description = "The chat's id.")),
        responses(
            (
                status = 200, description = "Deleted.",
                body = Message, example = json!({"message": "Success Delete Chat"})
            ),
            Refusals<{ TOKEN | of(&[Code::NotFound, Code::NotYours, Code::RateLimited, Code::Busy]) }>
        )
    )
)]
pub(super) async fn delete(
    state: web::Data<State>,
    viewer: Viewer,
    path: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    mutated(&state, viewer, &path, Mutation::Delete).await?;
    Ok(HttpResponse::Ok().json(Message { message: "Success Delete Chat" }))
}

async fn mutated(state: &State, viewer: Viewer, path: &str, mutation: Mutation) -> Result<Chat, Problem> {
    let (chat, room) = chat_of(state, viewer, path).await?;
    state.limits.send(viewer.chatter_id).map_err(|wait| {
        Problem::new(Code::RateLimited, "You are changing chats too fast; wait before the next change.")
            .retry_after(wait)
    })?;
    let (reply, answer) = oneshot::channel();
    let mutate = Mutate { by: viewer.chatter_id, chat_id: chat.id, mutation, reply: Reply::Rest(reply) };
    state.registry.send(room.id, Command::Mutate(mutate))?;
    match answered(answer).await? {
        Stored::New { chat, .. } | Stored::Again(chat) | Stored::Edited(chat) | Stored::Deleted(chat) => Ok(chat),
    }
}

/// The chat of this path and its room; not found if it is deleted or the viewer is not in the room.
async fn chat_of(state: &State, viewer: Viewer, path: &str) -> Result<(Chat, Chatroom), Problem> {
    let found = state.store.chat(id(path, "chat")?).await?;
    let visible = |(chat, room): &(Chat, Chatroom)| room.has(viewer.chatter_id) && chat.delete_time.is_none();
    found.filter(visible).ok_or_else(|| Problem::not_found("chat"))
}
