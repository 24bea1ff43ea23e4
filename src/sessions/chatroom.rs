//! A chatroom socket: its frames are chats for its one room.

use std::sync::Arc;
use std::time::Instant;

use actix::fut::{ActorFutureExt, wrap_future};
use actix::{AsyncContext, Context};
use bytes::Bytes;

use super::refusals::BadFrames;
use super::{Next, Parts, RETRY_AFTER, Session, State};
use crate::connections::Connection;
use crate::connections::chatroom::ChatroomConnection;
use crate::connections::socket::Socket;
use crate::delivery::event::{Batch, Source};
use crate::delivery::order::{Head, in_order};
use crate::domain::Broken;
use crate::domain::chat::{ClientId, Content};
use crate::domain::clock::Micros;
use crate::domain::{ChatroomId, ChatterId};
use crate::limits::Sender;
use crate::problem::{Code, Problem};
use crate::protocol::chatroom::{ClientFrame, Unreadable};
use crate::rooms::command::{Command, Reply};
use crate::store::writer::WatermarkUpdate;
use crate::store::{Store, StoreError};
use crate::websocket::framing::Close;
use crate::websocket::ping_proof::Proven;

/// Rows per query when a gap is read; large chats are fewer a query.
const READ_PAGE: u64 = 500;
/// The most queries and chats for one gap; a socket that is further behind is closed and reconnects.
const READ_PAGES_MAX: usize = 16;
const READ_CHATS_MAX: usize = 4_000;

/// The state of a chatroom socket.
pub(super) struct Chatroom {
    parts: Arc<Parts>,
    connection: Arc<ChatroomConnection>,
    expires_at: Micros,
    bad_frames: BadFrames,
    /// The room is being read.
    is_reading: bool,
}

impl Chatroom {
    pub(super) fn new(connection: Arc<ChatroomConnection>, parts: Arc<Parts>, expires_at: Micros) -> Self {
        let bad_frames = BadFrames::new(Instant::now());
        Self { parts, connection, expires_at, bad_frames, is_reading: false }
    }

    pub(super) fn socket(&self) -> &Socket {
        self.connection.socket()
    }

    pub(super) fn expires_at(&self) -> Micros {
        self.expires_at
    }

    /// Takes the socket out of the registry.
    pub(super) fn leave(&self) {
        self.parts.admission.release(&Connection::Chatroom(self.connection.clone()));
    }

    /// Reads the room of a socket that is behind, and delivers the changes that it lacks.
    pub(super) fn read_if_behind(&mut self, ctx: &mut Context<Session>) {
        if self.is_reading || !self.connection.is_behind() {
            return;
        }
        self.is_reading = true;
        self.socket().metrics().socket_gap_reads.add(1);
        let (parts, connection) = (self.parts.clone(), self.connection.clone());
        let read = async move {
            let _turn = parts.turn(connection.chatter_id).await;
            read_room(&parts.store, connection.chatter_id, connection.chatroom_id, connection.head()).await
        };
        ctx.spawn(wrap_future::<_, Session>(read).map(|read, session, ctx| {
            let State::Chatroom(chatroom) = &mut session.state else { return };
            let next = chatroom.on_read(read, ctx);
            session.follow(next, ctx);
        }));
    }

    fn on_read(&mut self, read: Result<Read, StoreError>, ctx: &mut Context<Session>) -> Next {
        self.is_reading = false;
        match read {
            Ok(Read::Changes(batch)) => {
                self.connection.caught_up(&batch);
                self.read_if_behind(ctx);
                Next::Continue
            }
            Ok(Read::Deleted) => Next::Close(Close::ROOM_GONE),
            Ok(Read::TooMany) => Next::Close(Close::TOO_SLOW),
            Err(error) => {
                tracing::debug!(error = &error as &dyn std::error::Error, "a socket waits for the database");
                ctx.run_later(RETRY_AFTER, |session, ctx| {
                    if let State::Chatroom(chatroom) = &mut session.state {
                        chatroom.read_if_behind(ctx);
                    }
                });
                Next::Continue
            }
        }
    }

    pub(super) fn on_text(&mut self, text: &Bytes) -> Next {
        match ClientFrame::parse(text) {
            Ok(frame) => {
                let client_id = frame.client_id.clone();
                self.post(frame).map_or_else(|problem| self.refuse(&problem, client_id), |()| Next::Continue)
            }
            Err(Unreadable { client_id }) => {
                let detail = "Send {\"message\": \"text\"}, optionally with a \"client_id\".";
                let problem = self.refusal(Problem::new(Code::Malformed, detail));
                self.refuse(&problem, client_id)
            }
        }
    }

    fn refuse(&self, problem: &Problem, client_id: Option<String>) -> Next {
        self.connection.refuse(problem, client_id.as_deref());
        if problem.code == Code::RateLimited { Next::CountRefusal } else { Next::Continue }
    }

    /// The refusal of an invalid frame: this problem, or `rate_limited` where there are too many.
    fn refusal(&mut self, problem: Problem) -> Problem {
        let problem = self.bad_frames.refusal(problem);
        self.parts.count_frame(Sender::Chatter(self.connection.chatter_id)).err().unwrap_or(problem)
    }

    fn post(&mut self, frame: ClientFrame) -> Result<(), Problem> {
        let (content, client_id) = checked(frame).map_err(|invalid| self.refusal(invalid))?;
        let connection = &self.connection;
        let reply = Reply::Chatroom(connection.clone(), client_id.as_ref().map(|id| id.as_str().into()));
        self.parts.post(connection.chatroom_id, connection.chatter_id, content, client_id, reply)
    }

    /// The peer has proven that it received these chats.
    pub(super) fn on_proof(&self, Proven { first, newest }: Proven) {
        let (chatroom_id, chatter_id) = (self.connection.chatroom_id, self.connection.chatter_id);
        let steps = [Some(WatermarkUpdate::Received { from: first, to: newest }), None];
        // If the room is too busy, this proof is lost; the next one covers it.
        let _ = self.parts.rooms.send(chatroom_id, Command::Watermark { chatter_id, steps, reply_to: None });
    }
}

/// The content of a frame, if it breaks no rule.
fn checked(frame: ClientFrame) -> Result<(Content, Option<ClientId>), Problem> {
    let invalid = |e: Broken| {
        let field = if e.field == "content" { "message" } else { e.field };
        Problem::invalid(field, Broken { field, ..e }.to_string())
    };
    let content = Content::parse(frame.message).map_err(invalid)?;
    let client_id = frame.client_id.map(ClientId::parse).transpose().map_err(invalid)?;
    Ok((content, client_id))
}

/// The changes of a room that its socket lacks.
enum Read {
    Changes(Arc<Batch>),
    /// The room was deleted.
    Deleted,
    TooMany,
}

async fn read_room(store: &Store, chatter: ChatterId, room: ChatroomId, head: Head) -> Result<Read, StoreError> {
    let Some(room) = store.rooms_among(chatter, &[room]).await?.pop() else { return Ok(Read::Deleted) };
    let (mut rows, mut version) = (Vec::new(), head.version);
    for _ in 0..READ_PAGES_MAX {
        let Some(page) = store.changes(&room, version, READ_PAGE).await? else { return Ok(Read::Deleted) };
        rows.extend(page.chats);
        version = page.version;
        if !page.has_more {
            let (events, _) = in_order(rows, head.seq);
            return Ok(Read::Changes(Arc::new(Batch::new(room.id, head.version, version, events, Source::Rows))));
        }
        if rows.len() >= READ_CHATS_MAX {
            break;
        }
    }
    Ok(Read::TooMany)
}
