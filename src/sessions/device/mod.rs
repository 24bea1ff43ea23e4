//! A device socket: sending and changing chats in any room, receipts, typing, catching up.

mod catch_up;
mod edits;
mod jobs;
mod pages;
mod request;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use actix::fut::{ActorFutureExt, wrap_future};
use actix::{AsyncContext, Context};
use bytes::Bytes;

use super::refusals::BadFrames;
use super::{Next, Parts, Session, State};
use crate::auth::token::Claims;
use crate::connections::Connection;
use crate::connections::device::{DeviceConnection, ReplyTo};
use crate::connections::socket::Socket;
use crate::domain::clock::Micros;
use crate::domain::{ChatroomId, Seq};
use crate::limits::Sender;
use crate::problem::{Code, Problem};
use crate::protocol::device::Ref;
use crate::protocol::device::client::{ClientFrame, Unreadable};
use crate::protocol::device::server::ServerFrame;
use crate::rooms::command::{Command, Reply, TypingChange};
use crate::store::writer::WatermarkUpdate;
use crate::websocket::framing::{Close, text_frame};
use edits::PendingEdit;
use jobs::Job;
use request::{Control, DeviceRequest};

/// The largest `seq`. The session does not know the newest chat of the room; the writer limits a receipt to it.
const SEQ_MAX: Seq = Seq::new((1 << 53) - 1);

/// The state of a device socket after sign-in.
pub(super) struct Device {
    parts: Arc<Parts>,
    connection: Arc<DeviceConnection>,
    expires_at: Micros,
    /// The claims of a socket that was not admitted to the registry yet.
    admission: Option<Claims>,
    bad_frames: BadFrames,
    /// Reads of the database that wait for the one under way.
    jobs: VecDeque<Job>,
    is_working: bool,
    /// A timer runs that tries a failed read again.
    is_retry_due: bool,
    /// Edits and deletions that wait for the one whose room is being looked up.
    edits: VecDeque<PendingEdit>,
    is_editing: bool,
}

impl Device {
    /// The state of a socket whose valid token came with the upgrade.
    pub(super) fn new(socket: Socket, parts: Arc<Parts>, claims: Claims) -> Self {
        let connection = DeviceConnection::new(claims.chatter_id, claims.grant, socket);
        Self::signed_in(connection, parts, claims, BadFrames::new(Instant::now()))
    }

    /// The state of a socket whose token came with its first frame.
    pub(super) fn signed_in(
        connection: DeviceConnection,
        parts: Arc<Parts>,
        claims: Claims,
        bad_frames: BadFrames,
    ) -> Self {
        Self {
            parts,
            connection: Arc::new(connection),
            expires_at: claims.expires_at,
            admission: Some(claims),
            bad_frames,
            jobs: VecDeque::new(),
            is_working: false,
            is_retry_due: false,
            edits: VecDeque::new(),
            is_editing: false,
        }
    }

    /// Adds the socket to the registry, and then reads the database for it.
    pub(super) fn start(&mut self, ctx: &mut Context<Session>) {
        let Some(claims) = self.admission.take() else { return };
        let subscribed = self.parts.admission.admit(Connection::Device(self.connection.clone()));
        self.jobs.push_front(Job::SignIn { claims, subscribed });
        self.start_next_job(ctx);
    }

    /// Takes the socket out of the registry.
    pub(super) fn leave(&self) {
        self.parts.admission.release(&Connection::Device(self.connection.clone()));
    }

    pub(super) fn socket(&self) -> &Socket {
        self.connection.socket()
    }

    pub(super) fn expires_at(&self) -> Micros {
        self.expires_at
    }

    pub(super) fn push(&self, frame: Bytes) {
        self.connection.push(frame);
    }

    pub(super) fn on_text(&mut self, text: &Bytes, ctx: &mut Context<Session>) -> Next {
        match ClientFrame::parse(text) {
            Ok(ClientFrame { reference, body }) => {
                let reply_to = ReplyTo { connection: self.connection.clone(), reference };
                let result = match DeviceRequest::parse(body) {
                    Ok(request) => self.carry_out(request, &reply_to, ctx),
                    Err(invalid) => Err(self.refusal(invalid)),
                };
                result.map_or_else(|problem| self.refuse(reply_to.reference, &problem), |()| Next::Continue)
            }
            Err(Unreadable { reference, foreign, detail }) => {
                if foreign && self.bad_frames.foreign_is_too_high() {
                    return Next::Close(Close::BROKEN);
                }
                let problem = self.refusal(Problem::new(Code::Malformed, detail));
                self.refuse(reference, &problem)
            }
        }
    }

    fn refuse(&self, reference: Option<Ref>, problem: &Problem) -> Next {
        self.connection.refuse(reference, problem);
        if problem.code == Code::RateLimited { Next::CountRefusal } else { Next::Continue }
    }

    /// Chats and their changes count against the chatter's rate of sending; everything else against the rate of frames.
    fn carry_out(
        &mut self,
        request: DeviceRequest,
        reply_to: &ReplyTo,
        ctx: &mut Context<Session>,
    ) -> Result<(), Problem> {
        match request {
            DeviceRequest::Post { chatroom_id, content, client_id } => {
                let reply = Reply::Device(reply_to.clone());
                self.parts.post(chatroom_id, self.connection.chatter_id, content, Some(client_id), reply)
            }
            DeviceRequest::Mutate { chat_id, mutation } => {
                self.edit(PendingEdit { chat_id, mutation, reply_to: reply_to.clone() }, ctx)
            }
            DeviceRequest::Control(control) => {
                self.count_frame()?;
                self.control(control, reply_to, ctx)
            }
        }
    }

    fn control(&mut self, control: Control, reply_to: &ReplyTo, ctx: &mut Context<Session>) -> Result<(), Problem> {
        match control {
            Control::Authenticate { token } => {
                self.replace_token(token, reply_to.clone(), ctx);
                Ok(())
            }
            Control::Receipt { chatroom_id, delivered_seq, read_seq } => {
                self.receipt(chatroom_id, delivered_seq, read_seq, reply_to)
            }
            Control::Typing { chatroom_id, typing } => {
                let (change, reply_to) = (TypingChange::from_flag(typing), reply_to.clone());
                self.parts.rooms.send(chatroom_id, Command::Typing { change, reply_to })
            }
            Control::Resume { rooms, epoch } => {
                let ids: Vec<ChatroomId> = rooms.iter().map(|(room, _)| *room).collect();
                self.add_job(Job::Resume { reference: reply_to.reference.clone(), rooms, epoch }, ctx)?;
                self.connection.cursors(|cursors| ids.iter().for_each(|room| cursors.buffer_if_known(*room)));
                Ok(())
            }
            Control::Ping => {
                self.push(text_frame(&ServerFrame::Pong { reference: reply_to.reference.clone() }));
                Ok(())
            }
        }
    }

    /// Replaces the current token by this one, if its sign-in still exists. Does not wait for other jobs, or the
    /// current token could expire meanwhile.
    fn replace_token(&self, token: String, reply_to: ReplyTo, ctx: &mut Context<Session>) {
        let (connection, parts) = (self.connection.clone(), self.parts.clone());
        let before = connection.grant();
        let check = async move {
            let claims = parts.bearers.verify_next(&token).await?;
            if claims.chatter_id != connection.chatter_id {
                let detail = "This is another chatter's token, which needs a socket of its own.";
                return Err(Problem::new(Code::TokenInvalid, detail));
            }
            parts.check_standing(&claims).await?;
            connection.set_grant(claims.grant);
            // Checked again: a sign-out since the first check has looked for the socket under its old sign-in.
            let standing = parts.check_standing(&claims).await;
            standing.map(|()| claims.expires_at).inspect_err(|_| connection.set_grant(before))
        };
        spawn(ctx, check, move |device, checked, _| match checked {
            Ok(expires_at) => {
                device.expires_at = expires_at;
                device.push(text_frame(&ServerFrame::Authenticated { reference: reply_to.reference }));
                Next::Reschedule
            }
            Err(problem) => {
                reply_to.refuse(&problem);
                Next::Continue
            }
        });
    }

    fn receipt(
        &self,
        room: ChatroomId,
        delivered: Option<Seq>,
        read: Option<Seq>,
        reply_to: &ReplyTo,
    ) -> Result<(), Problem> {
        Problem::check_seq("delivered_seq", delivered, SEQ_MAX)?;
        Problem::check_seq("read_seq", read, SEQ_MAX)?;
        let (chatter_id, reply_to) = (self.connection.chatter_id, Some(reply_to.clone()));
        let steps = [delivered.map(WatermarkUpdate::Delivered), read.map(WatermarkUpdate::Read)];
        self.parts.rooms.send(room, Command::Watermark { chatter_id, steps, reply_to })
    }

    /// The refusal of an invalid frame: this problem, or `rate_limited` where there are too many.
    fn refusal(&mut self, problem: Problem) -> Problem {
        let problem = self.bad_frames.refusal(problem);
        self.count_frame().err().unwrap_or(problem)
    }

    fn count_frame(&self) -> Result<(), Problem> {
        self.parts.count_frame(Sender::Chatter(self.connection.chatter_id))
    }
}

/// Runs a future for a device, which takes its output.
fn spawn<T: 'static>(
    ctx: &mut Context<Session>,
    future: impl Future<Output = T> + 'static,
    then: impl FnOnce(&mut Device, T, &mut Context<Session>) -> Next + 'static,
) {
    ctx.spawn(wrap_future::<_, Session>(future).map(move |output, session, ctx| {
        if let State::Device(device) = &mut session.state {
            let next = then(device, output, ctx);
            session.follow(next, ctx);
        }
    }));
}
