//! What the frames of a device socket mean: signing in, sending and changing chats in any room, receipts, typing, catching up.

mod catch_up;
mod edits;
mod jobs;

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::{AsyncContext, Context};
use bytes::Bytes;

use super::{Parts, Session};
use crate::auth::token::Claims;
use crate::connections::connection::{Connection, NOT_SIGNED_IN, ReplyTo};
use crate::domain::chat::{ClientId, Content};
use crate::domain::clock::Micros;
use crate::domain::{ChatId, ChatroomId, Seq};
use crate::limits::Sender;
use crate::problem::{Code, Problem};
use crate::protocol::device::client::{Body, ClientFrame, Unreadable};
use crate::protocol::device::server::ServerFrame;
use crate::rooms::command::{Command, Reply, TypingChange};
use crate::store::writer::{Mutation, WatermarkUpdate};
use crate::websocket::framing::{Close, text_frame};
use crate::websocket::out_queue::OutQueue;
use edits::PendingEdit;
use jobs::Job;

/// Whoever has not signed in by then is sent away.
const SIGN_IN_MAX: Duration = Duration::from_secs(10);
/// Frames that are none, within [`FOREIGN_WINDOW`], before the peer is taken for somebody who speaks something else.
const FOREIGN_MAX: u32 = 10;
const FOREIGN_WINDOW: Duration = Duration::from_secs(60);
/// Resumes that wait; a chatter with 5,000 rooms sends ten.
const WORK_MAX: usize = 64;
/// The largest `seq`. The session does not know the newest chat of the room; the writer limits a receipt to it.
const SEQ_MAX: Seq = Seq::new((1 << 53) - 1);

/// What only a device socket has.
pub struct Device {
    /// The address that an unsigned socket counts against.
    address: IpAddr,
    /// What has to be read from the database, one after the other.
    work: VecDeque<Job>,
    working: bool,
    /// A timer will try again to read what could not be read.
    retrying: bool,
    alters: VecDeque<PendingEdit>,
    altering: bool,
    foreign: u32,
    foreign_since: Instant,
}

/// What a frame asks for, its content checked.
enum DeviceRequest {
    Chat(ChatroomId, Content, ClientId),
    Mutate(ChatId, Mutation),
    Other(Body),
}

impl Session {
    /// A session for this device socket. `claims` are those of a token that came with the upgrade and is good; none where
    /// the token is still to come and too many others of this address wait for theirs.
    #[must_use]
    pub fn device(out: OutQueue, parts: Parts, address: IpAddr, claims: Option<Claims>) -> Option<Self> {
        let mut device = Device {
            address,
            work: VecDeque::new(),
            working: false,
            retrying: false,
            alters: VecDeque::new(),
            altering: false,
            foreign: 0,
            foreign_since: Instant::now(),
        };
        let connection = Arc::new(Connection::device(NOT_SIGNED_IN, None, out));
        let taken = claims.is_some() || parts.connections.add_unsigned(address, connection.clone());
        device.work.extend(claims.map(|claims| Job::SignIn(claims, None)));
        taken.then(|| Self::new(connection, parts, Micros(i64::MAX), Some(Box::new(device))))
    }

    /// A token that came with the upgrade signs in now; one that did not has some time to come.
    pub(super) fn start_device(&mut self, ctx: &mut Context<Self>) {
        let Some(device) = &mut self.device else { return };
        match device.work.pop_front() {
            Some(Job::SignIn(claims, _)) => self.signed_in(claims, ctx),
            _ => drop(ctx.run_later(SIGN_IN_MAX, |session, ctx| {
                if !session.is_signed_in() {
                    session.close(Close::TOKEN_REFUSED, ctx);
                }
            })),
        }
    }

    pub(super) fn stop_device(&self) {
        if let Some(device) = &self.device {
            self.parts.connections.remove_unsigned(device.address, &self.connection);
        }
    }

    fn is_signed_in(&self) -> bool {
        self.connection.chatter_id != NOT_SIGNED_IN
    }

    pub(super) fn on_device_text(&mut self, text: &Bytes, ctx: &mut Context<Self>) {
        let refused = match ClientFrame::parse(text) {
            Ok(ClientFrame { reference, body }) => {
                let asker = ReplyTo { connection: self.connection.clone(), reference };
                let problem = match self.checked(body) {
                    Ok(wish) => self.carry_out(wish, &asker, ctx).err(),
                    Err(problem) => Some(self.count_frame().err().unwrap_or(problem)),
                };
                problem.map(|problem| (asker.reference, problem))
            }
            Err(Unreadable { reference, foreign, detail }) => {
                if foreign && self.count_foreign() {
                    return self.close(Close::BROKEN, ctx);
                }
                let too_fast = self.count_frame().err();
                Some((reference, too_fast.unwrap_or_else(|| Problem::new(Code::Malformed, detail))))
            }
        };
        if let Some((reference, problem)) = refused {
            self.connection.refuse_frame(reference, &problem);
            if problem.code == Code::RateLimited {
                self.count_refusal(ctx);
            }
        }
    }

    /// What a frame asks for, if it may be asked for now. Chats and their changes count against the chatter's rate, however
    /// they come; everything else against the rate of frames.
    fn checked(&self, body: Body) -> Result<DeviceRequest, Problem> {
        if !self.is_signed_in() && !matches!(body, Body::Auth { .. }) {
            return Err(Problem::new(Code::TokenMissing, "Sign in first: {\"type\": \"auth\", \"token\": \"…\"}."));
        }
        Ok(match body {
            Body::Send { chatroom_id, client_id, content } => {
                DeviceRequest::Chat(chatroom_id, Content::parse(content)?, ClientId::parse(client_id)?)
            }
            Body::Edit { chat_id, content } => DeviceRequest::Mutate(chat_id, Mutation::Edit(Content::parse(content)?)),
            Body::Delete { chat_id } => DeviceRequest::Mutate(chat_id, Mutation::Delete),
            other => DeviceRequest::Other(other),
        })
    }

    fn carry_out(&mut self, wanted: DeviceRequest, asker: &ReplyTo, ctx: &mut Context<Self>) -> Result<(), Problem> {
        let body = match wanted {
            DeviceRequest::Chat(chatroom_id, content, client_id) => {
                return self.post(chatroom_id, content, Some(client_id), Reply::Device(asker.clone()));
            }
            DeviceRequest::Mutate(chat_id, mutation) => {
                return self.alter(PendingEdit { chat_id, mutation, asker: asker.clone() }, ctx);
            }
            DeviceRequest::Other(body) => body,
        };
        self.count_frame()?;
        match body {
            Body::Auth { token } => self.authenticate(&token, asker, ctx),
            Body::Receipt { chatroom_id, delivered_seq, read_seq } => {
                self.receipt(chatroom_id, delivered_seq, read_seq, asker)
            }
            Body::Typing { chatroom_id, typing } => {
                let (change, reply_to) = (TypingChange::from_flag(typing), asker.clone());
                self.parts.registry.send(chatroom_id, Command::Typing { change, reply_to })
            }
            Body::Resume { chatrooms } => {
                let rooms: Vec<ChatroomId> = chatrooms.iter().map(|(room, _)| *room).collect();
                self.add_work(Job::Resume(asker.reference.clone(), chatrooms), ctx)?;
                self.connection.cursors(|cursors| rooms.iter().for_each(|room| cursors.hold_known(*room)));
                Ok(())
            }
            Body::Ping => {
                self.connection.push(text_frame(&ServerFrame::Pong { reference: asker.reference.clone() }));
                Ok(())
            }
            Body::Send { .. } | Body::Edit { .. } | Body::Delete { .. } => Ok(()),
        }
    }

    fn authenticate(&mut self, token: &str, asker: &ReplyTo, ctx: &mut Context<Self>) -> Result<(), Problem> {
        let claims = match self.parts.tokens.verify(token) {
            Ok(claims) => claims,
            Err(error) if self.is_signed_in() => return Err(error.into()),
            Err(error) => {
                self.connection.refuse_frame(asker.reference.clone(), &error.into());
                self.close(Close::TOKEN_REFUSED, ctx);
                return Ok(());
            }
        };
        if self.is_signed_in() && claims.chatter_id != self.connection.chatter_id {
            let detail = "This is somebody else's token; they need a socket of their own.";
            return Err(Problem::new(Code::TokenInvalid, detail));
        }
        if self.is_signed_in() {
            self.replace_token(claims, asker.clone(), ctx);
            return Ok(());
        }
        // An unsigned socket has no other work.
        if self.device.as_ref().is_some_and(|device| device.working) {
            return Err(Problem::new(Code::Busy, "A token is being looked at; wait for the answer."));
        }
        self.add_work(Job::Admit(claims, asker.reference.clone()), ctx)
    }

    /// The token is good: from now on the socket is found by its chatter, and then the database is read.
    fn signed_in(&mut self, claims: Claims, ctx: &mut Context<Self>) {
        let unsigned = self.connection.clone();
        let connection = Arc::new(Connection::device(claims.chatter_id, claims.sign_in_id, unsigned.out.clone()));
        connection.attach(ctx.address());
        let heard = Box::pin(self.parts.connections.add(connection.clone()));
        self.stop_device();
        self.connection = connection;
        self.expires_at = claims.expires_at;
        self.schedule(ctx);
        if let Some(device) = &mut self.device {
            device.work.push_front(Job::SignIn(claims, Some(heard)));
        }
        self.work_on(ctx);
    }

    fn receipt(
        &self,
        room: ChatroomId,
        delivered: Option<Seq>,
        read: Option<Seq>,
        asker: &ReplyTo,
    ) -> Result<(), Problem> {
        Problem::check_seq("delivered_seq", delivered, SEQ_MAX)?;
        Problem::check_seq("read_seq", read, SEQ_MAX)?;
        let (chatter_id, reply_to) = (self.connection.chatter_id, Some(asker.clone()));
        let steps = [delivered.map(WatermarkUpdate::Delivered), read.map(WatermarkUpdate::Read)];
        self.parts.registry.send(room, Command::Watermark { chatter_id, steps, reply_to })
    }

    fn count_frame(&self) -> Result<(), Problem> {
        let Some(device) = &self.device else { return Ok(()) };
        let whose = if self.is_signed_in() {
            Sender::Chatter(self.connection.chatter_id)
        } else {
            Sender::Address(device.address)
        };
        let too_fast =
            |wait| Problem::new(Code::RateLimited, "Too many frames; wait before the next.").retry_after(wait);
        self.parts.limits.frame(whose).map_err(too_fast)
    }

    /// Counts a frame that is none; true for one too many.
    fn count_foreign(&mut self) -> bool {
        let Some(device) = &mut self.device else { return false };
        if device.foreign_since.elapsed() > FOREIGN_WINDOW {
            (device.foreign, device.foreign_since) = (0, Instant::now());
        }
        device.foreign += 1;
        device.foreign > FOREIGN_MAX
    }
}
