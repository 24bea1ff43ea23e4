//! What the frames of a seed socket mean: a chat for its one room.

use std::sync::Arc;
use std::time::Duration;

use actix::fut::{ActorFutureExt, wrap_future};
use actix::{AsyncContext, Context};
use bytes::Bytes;

use super::Session;
use crate::delivery::event::Batch;
use crate::delivery::order::{Head, in_order};
use crate::domain::Broken;
use crate::domain::chat::{ClientId, Content};
use crate::domain::{ChatroomId, ChatterId};
use crate::problem::{Code, Problem};
use crate::protocol::chatroom::ClientFrame;
use crate::rooms::command::Reply;
use crate::store::{Store, StoreError};
use crate::websocket::framing::Close;

/// Rows per question when a gap is read, and the most questions; a socket that is further behind comes back.
const READ_PAGE: u64 = 500;
const READ_PAGES_MAX: usize = 8;
/// When the database did not answer, the next try comes after this.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

impl Session {
    /// Reads the room of a seed socket that is behind, and gives it what it has not had.
    pub(super) fn read_chatroom(&mut self, ctx: &mut Context<Self>) {
        let Some((room, head)) = self.connection.chatroom_id().zip(self.connection.chatroom_head()) else { return };
        if self.reading || !self.connection.is_chatroom_behind() {
            return;
        }
        self.reading = true;
        self.connection.out.metrics().socket_gap_reads.add(1);
        let (store, turns, chatter) = (self.parts.store.clone(), self.parts.turns.clone(), self.connection.chatter_id);
        let read = async move {
            let _turn = turns.acquire().await;
            read_room(&store, chatter, room, head).await
        };
        ctx.spawn(wrap_future::<_, Self>(read).map(|read, session, ctx| {
            session.reading = false;
            match read {
                Ok(Read::Changes(batch)) => {
                    session.connection.joined(Head::default(), Some(batch));
                    session.read_chatroom(ctx);
                }
                Ok(Read::Gone) => session.close(Close::ROOM_GONE, ctx),
                Ok(Read::TooMuch) => session.close(Close::TOO_SLOW, ctx),
                Err(error) => {
                    tracing::debug!(error = &error as &dyn std::error::Error, "a socket waits for the database");
                    ctx.run_later(AGAIN_AFTER, |session, ctx| session.read_chatroom(ctx));
                }
            }
        }));
    }

    pub(super) fn on_chatroom_text(&mut self, text: &Bytes, ctx: &mut Context<Self>) {
        let Ok(frame) = serde_json::from_slice::<ClientFrame>(text) else {
            let detail = "Send {\"message\": \"text\"}, optionally with a \"client_id\".";
            return self.connection.refuse(&Problem::new(Code::Malformed, detail), None);
        };
        let client_id = frame.client_id.clone();
        if let Err(problem) = self.post_on_chatroom(frame) {
            self.connection.refuse(&problem, client_id.as_deref());
            if problem.code == Code::RateLimited {
                self.count_refusal(ctx);
            }
        }
    }

    fn post_on_chatroom(&self, frame: ClientFrame) -> Result<(), Problem> {
        let field = |e: Broken| {
            Problem::invalid(if e.field == "content" { "message" } else { e.field }, format!("It {}.", e.rule))
        };
        let content = Content::parse(frame.message).map_err(field)?;
        let client_id = frame.client_id.map(ClientId::parse).transpose().map_err(field)?;
        let Some(chatroom_id) = self.connection.chatroom_id() else { return Ok(()) };
        let reply = Reply::Chatroom(self.connection.clone(), client_id.as_ref().map(|id| id.as_str().into()));
        self.post(chatroom_id, content, client_id, reply)
    }
}

/// What a seed socket's room has that the socket has not.
enum Read {
    Changes(Arc<Batch>),
    Gone,
    TooMuch,
}

async fn read_room(store: &Store, chatter: ChatterId, room: ChatroomId, head: Head) -> Result<Read, StoreError> {
    let Some(room) = store.rooms_among(chatter, &[room]).await?.pop() else { return Ok(Read::Gone) };
    let (mut rows, mut version) = (Vec::new(), head.version);
    for _ in 0..READ_PAGES_MAX {
        let Some(page) = store.changes(&room, version, READ_PAGE).await? else { return Ok(Read::Gone) };
        rows.extend(page.chats);
        version = page.version;
        if !page.has_more {
            let (events, _) = in_order(rows, head.seq);
            return Ok(Read::Changes(Arc::new(Batch::new(room.id, head.version, version, events, true))));
        }
    }
    Ok(Read::TooMuch)
}
