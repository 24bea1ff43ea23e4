//! What the frames of a device socket mean: signing in, sending and changing chats in any room, receipts, typing, catching up.

mod catch_up;
mod work;

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::fut::{ActorFutureExt, wrap_future};
use actix::{AsyncContext, Context};
use bytes::Bytes;

use super::frame::{Close, text_frame};
use super::link::{Asker, Link};
use super::out_queue::OutQueue;
use super::{Parts, Session};
use crate::actors::room::messages::{Alter, Command, Reply};
use crate::auth::token::Claims;
use crate::domain::chat::{ClientId, Content};
use crate::domain::clock::Micros;
use crate::domain::{ChatId, ChatroomId, Seq};
use crate::error::{Code, Problem};
use crate::limits::FrameRate;
use crate::store::writer::{Change, Move};
use crate::wire::device::client::{Body, ClientFrame, Unreadable};
use crate::wire::device::server::ServerFrame;
use work::Work;

/// Whoever has not signed in by then is sent away.
const SIGN_IN_MAX: Duration = Duration::from_secs(10);
/// Frames that are none, within [`FOREIGN_WINDOW`], before the peer is taken for somebody who speaks something else.
const FOREIGN_MAX: u32 = 10;
const FOREIGN_WINDOW: Duration = Duration::from_secs(60);
/// Resumes that wait; a chatter with 5,000 rooms sends ten.
const WORK_MAX: usize = 64;
/// Edits and deletions that wait for their room to be looked up.
const ALTERS_MAX: usize = 256;

/// What only a device socket has.
pub struct Device {
    /// The address that an unsigned socket counts against.
    address: IpAddr,
    /// What has to be read from the database, one after the other.
    work: VecDeque<Work>,
    working: bool,
    alters: VecDeque<Wish>,
    altering: bool,
    rate: FrameRate,
    foreign: u32,
    foreign_since: Instant,
}

/// An edit or deletion whose room is not known yet.
struct Wish {
    chat_id: ChatId,
    change: Change,
    asker: Asker,
}

impl Session {
    /// A session for this device socket. `claims` are those of a token that came with the upgrade and is good.
    #[must_use]
    pub fn device(out: OutQueue, parts: Parts, address: IpAddr, claims: Option<Claims>) -> Self {
        let mut device = Device {
            address,
            work: VecDeque::new(),
            working: false,
            alters: VecDeque::new(),
            altering: false,
            rate: parts.limits.frames(),
            foreign: 0,
            foreign_since: Instant::now(),
        };
        device.work.extend(claims.map(Work::SignIn));
        let link = Arc::new(Link::device(0, None, out));
        parts.sessions.add_unsigned(address, link.clone());
        Self::new(link, parts, Micros(i64::MAX), Some(Box::new(device)))
    }

    /// A token that came with the upgrade signs in now; one that did not has some time to come.
    pub(super) fn start_device(&mut self, ctx: &mut Context<Self>) {
        let Some(device) = &mut self.device else { return };
        match device.work.pop_front() {
            Some(Work::SignIn(claims)) => self.signed_in(claims, ctx),
            _ => drop(ctx.run_later(SIGN_IN_MAX, |session, ctx| {
                if !session.is_signed_in() {
                    session.close(Close::TOKEN_REFUSED, ctx);
                }
            })),
        }
    }

    pub(super) fn stop_device(&self) {
        if let Some(device) = &self.device {
            self.parts.sessions.remove_unsigned(device.address, &self.link);
        }
    }

    fn is_signed_in(&self) -> bool {
        self.link.chatter_id != 0
    }

    pub(super) fn on_device_text(&mut self, text: &Bytes, ctx: &mut Context<Self>) {
        let refused = match ClientFrame::parse(text) {
            Ok(ClientFrame { reference, body }) => {
                let asker = Asker { link: self.link.clone(), reference };
                self.carry_out(body, &asker, ctx).err().map(|problem| (asker.reference, problem))
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
            self.link.refuse_frame(reference, &problem);
            if problem.code == Code::RateLimited {
                self.count_refusal(ctx);
            }
        }
    }

    fn carry_out(&mut self, body: Body, asker: &Asker, ctx: &mut Context<Self>) -> Result<(), Problem> {
        // Chats and their changes count against the chatter's rate, wherever they come from; the rest against the socket's.
        if !matches!(body, Body::Send { .. } | Body::Edit { .. } | Body::Delete { .. }) {
            self.count_frame()?;
        }
        if let Body::Auth { token } = body {
            return self.authenticate(&token, asker, ctx);
        }
        if !self.is_signed_in() {
            return Err(Problem::new(Code::TokenMissing, "Sign in first: {\"type\": \"auth\", \"token\": \"…\"}."));
        }
        match body {
            Body::Auth { .. } => Ok(()),
            Body::Send { chatroom_id, client_id, content } => {
                let (content, client_id) = (Content::parse(content)?, ClientId::parse(client_id)?);
                self.post(chatroom_id, content, Some(client_id), Reply::Device(asker.clone()))
            }
            Body::Edit { chat_id, content } => {
                let change = Change::Edit(Content::parse(content)?);
                self.alter(Wish { chat_id, change, asker: asker.clone() }, ctx)
            }
            Body::Delete { chat_id } => self.alter(Wish { chat_id, change: Change::Delete, asker: asker.clone() }, ctx),
            Body::Receipt { chatroom_id, delivered_seq, read_seq } => {
                self.receipt(chatroom_id, delivered_seq, read_seq, asker)
            }
            Body::Typing { chatroom_id, typing } => {
                let asker = asker.clone();
                self.parts.registry.tell(chatroom_id, Command::Typing { typing, asker })
            }
            Body::Resume { chatrooms } => {
                for (room, _) in &chatrooms {
                    self.link.with_cursors(|cursors| (cursors.hold(*room), Vec::new()));
                }
                self.add_work(Work::Resume(asker.reference.clone(), chatrooms), ctx)
            }
            Body::Ping => {
                self.link.push(text_frame(&ServerFrame::Pong { reference: asker.reference.clone() }));
                Ok(())
            }
        }
    }

    fn authenticate(&mut self, token: &str, asker: &Asker, ctx: &mut Context<Self>) -> Result<(), Problem> {
        let claims = match self.parts.tokens.verify(token) {
            Ok(claims) => claims,
            Err(error) if self.is_signed_in() => return Err(error.into()),
            Err(error) => {
                self.link.refuse_frame(asker.reference.clone(), &error.into());
                self.close(Close::TOKEN_REFUSED, ctx);
                return Ok(());
            }
        };
        if !self.is_signed_in() {
            return self.add_work(Work::Admit(claims, asker.reference.clone()), ctx);
        }
        if claims.chatter_id != self.link.chatter_id {
            return Err(Problem::new(
                Code::TokenInvalid,
                "This is somebody else's token; they need a socket of their own.",
            ));
        }
        self.add_work(Work::Replace(claims, asker.reference.clone()), ctx)
    }

    /// The token is good: from now on the socket is found by its chatter, and then the database is read.
    fn signed_in(&mut self, claims: Claims, ctx: &mut Context<Self>) {
        let unsigned = self.link.clone();
        let link = Arc::new(Link::device(claims.chatter_id, claims.sign_in_id, unsigned.out.clone()));
        link.attach(ctx.address());
        self.stop_device();
        self.link = link.clone();
        self.expires_at = claims.expires_at;
        self.end_with_token(ctx);
        self.parts.sessions.add(link);
        if let Some(device) = &mut self.device {
            device.work.push_front(Work::SignIn(claims));
        }
        self.work_on(ctx);
    }

    /// Looks up the room of a chat and hands the change to it: one after the other, so that they keep their order.
    fn alter(&mut self, wish: Wish, ctx: &mut Context<Self>) -> Result<(), Problem> {
        self.may_change()?;
        let Some(device) = &mut self.device else { return Ok(()) };
        if device.alters.len() >= ALTERS_MAX {
            return Err(Problem::new(Code::Busy, "Too many changes wait; this one was not made. Try again."));
        }
        device.alters.push_back(wish);
        self.alter_next(ctx);
        Ok(())
    }

    fn alter_next(&mut self, ctx: &mut Context<Self>) {
        let Some(device) = self.device.as_mut().filter(|device| !device.altering) else { return };
        let Some(Wish { chat_id, change, asker }) = device.alters.pop_front() else { return };
        device.altering = true;
        let store = self.parts.store.clone();
        let look_up = async move { store.chatroom_of_chat(chat_id).await };
        ctx.spawn(wrap_future::<_, Self>(look_up).map(move |found, session, ctx| {
            let told = match found {
                Ok(Some(room)) => {
                    let reply = Reply::Device(asker.clone());
                    let alter = Alter { by: session.link.chatter_id, chat_id, change, reply };
                    session.parts.registry.tell(room, Command::Alter(alter))
                }
                Ok(None) => Err(Problem::not_found("chat")),
                Err(error) => Err(error.into()),
            };
            if let Err(problem) = told {
                asker.refuse(&problem);
            }
            if let Some(device) = &mut session.device {
                device.altering = false;
            }
            session.alter_next(ctx);
        }));
    }

    fn receipt(
        &self,
        room: ChatroomId,
        delivered: Option<Seq>,
        read: Option<Seq>,
        asker: &Asker,
    ) -> Result<(), Problem> {
        for (field, seq) in [("delivered_seq", delivered), ("read_seq", read)] {
            if seq.is_some_and(|seq| seq < 0) {
                return Err(Problem::invalid(field, "It must be the seq of a chat in this room."));
            }
        }
        let chatter_id = self.link.chatter_id;
        // One frame is refused once.
        let mut asker = Some(asker.clone());
        for step in [delivered.map(Move::Delivered), read.map(Move::Read)].into_iter().flatten() {
            self.parts.registry.tell(room, Command::Watermark { chatter_id, step, asker: asker.take() })?;
        }
        Ok(())
    }

    fn count_frame(&self) -> Result<(), Problem> {
        let Some(device) = &self.device else { return Ok(()) };
        let too_fast = |wait| {
            Problem::new(Code::RateLimited, "Too many frames on this socket; wait before the next.").retry_after(wait)
        };
        device.rate.check().map_err(too_fast)
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
