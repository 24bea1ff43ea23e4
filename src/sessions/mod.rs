//! One live socket: its heartbeat, its limits, its end. What its frames mean depends on its state: `unsigned`,
//! `device` or `chatroom`.
//!
//! Started by `http::socket` after the upgrade; lives on the worker that accepted the connection. A session sends
//! commands to rooms and never waits for them: their answers go into the out-queue.

pub mod bulk;
mod chatroom;
mod device;
mod parts;
mod refusals;
pub mod turns;
mod unsigned;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::{Actor, ActorContext, AsyncContext, Context, Handler, SpawnHandle, StreamHandler};
use bytes::Bytes;

use crate::auth::token::Claims;
use crate::connections::chatroom::ChatroomConnection;
use crate::connections::registry::TooManyUnsigned;
use crate::connections::socket::{Socket, Wake};
use crate::domain::clock::Micros;
use crate::websocket::framing::{Close, Message};
use crate::websocket::out_queue::ProofPing;
use crate::websocket::ping_proof::PING_PAUSE;
use crate::websocket::transport::Received;
use chatroom::Chatroom;
use device::Device;
pub use parts::Parts;
use refusals::Refusals;
use unsigned::Unsigned;

/// A session's mailbox: it carries wake-ups, and no frames.
pub const SESSION_MAILBOX: usize = 16;
/// The time between two pings.
pub const HEARTBEAT: Duration = Duration::from_secs(25);
/// A peer that was silent for so long is dead.
pub const SILENCE_MAX: Duration = Duration::from_secs(60);
/// How long the peer has to answer a close frame.
const CLOSE_WAIT: Duration = Duration::from_secs(2);
/// When the database did not answer, the next try comes after this.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// One live socket.
pub struct Session {
    state: State,
    /// When the peer last sent bytes.
    last_received: Instant,
    pinged: Instant,
    refusals: Refusals,
    /// Closes the socket if a fragmented message takes too long.
    unfinished: Option<SpawnHandle>,
    next_tick: Option<SpawnHandle>,
}

/// Which protocol the socket speaks, and whether a chatter has signed in on it. An actor cannot change its type, so an
/// unsigned session becomes a device session by its state.
enum State {
    Unsigned(Box<Unsigned>),
    Device(Box<Device>),
    Chatroom(Chatroom),
}

/// What the session does after its state has handled an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Continue,
    /// Count a frame that was refused as too fast.
    CountRefusal,
    /// Close the socket with this code.
    Close(Close),
    /// Compute the next tick again, since the token was replaced.
    Reschedule,
}

impl Session {
    /// A session of this chatroom socket. The socket has to be admitted to the registry before the database is read for
    /// it; the session releases it in the end.
    #[must_use]
    pub fn chatroom(connection: Arc<ChatroomConnection>, parts: Arc<Parts>, expires_at: Micros) -> Self {
        Self::new(State::Chatroom(Chatroom::new(connection, parts, expires_at)))
    }

    /// A session of a device socket whose valid token came with the upgrade.
    #[must_use]
    pub fn device(socket: Socket, parts: Arc<Parts>, claims: Claims) -> Self {
        Self::new(State::Device(Box::new(Device::new(socket, parts, claims))))
    }

    /// A session of a device socket that waits for its token, unless too many sockets of this address do.
    pub fn unsigned(socket: Socket, parts: Arc<Parts>, address: IpAddr) -> Result<Self, TooManyUnsigned> {
        Ok(Self::new(State::Unsigned(Box::new(Unsigned::new(socket, parts, address)?))))
    }

    fn new(state: State) -> Self {
        let now = Instant::now();
        Self { state, last_received: now, pinged: now, refusals: Refusals::new(now), unfinished: None, next_tick: None }
    }

    fn socket(&self) -> &Socket {
        match &self.state {
            State::Unsigned(unsigned) => unsigned.socket(),
            State::Device(device) => device.socket(),
            State::Chatroom(chatroom) => chatroom.socket(),
        }
    }

    /// When the token expires, if there is one.
    fn expires_at(&self) -> Option<Micros> {
        match &self.state {
            State::Unsigned(_) => None,
            State::Device(device) => Some(device.expires_at()),
            State::Chatroom(chatroom) => Some(chatroom.expires_at()),
        }
    }

    /// Sleeps until the next ping, the end of the silence that is tolerated, or the expiry of the token.
    fn schedule(&mut self, ctx: &mut Context<Self>) {
        if let Some(tick) = self.next_tick.take() {
            ctx.cancel_future(tick);
        }
        let ping = HEARTBEAT.saturating_sub(self.pinged.elapsed());
        let silence = SILENCE_MAX.saturating_sub(self.last_received.elapsed());
        let expiry = self.expires_at().map_or(Duration::MAX, |at| {
            Duration::from_micros(u64::try_from(at.0.saturating_sub(Micros::now().0)).unwrap_or(0))
        });
        let wait = ping.min(silence).min(expiry) + Duration::from_millis(5);
        self.next_tick = Some(ctx.run_later(wait, |session, ctx| session.tick(ctx)));
    }

    fn tick(&mut self, ctx: &mut Context<Self>) {
        self.next_tick = None;
        if self.socket().out().is_closing() {
            return Self::end_soon(ctx);
        }
        if self.expires_at().is_some_and(|at| Micros::now() >= at) {
            return self.close(Close::TOKEN_REFUSED, ctx);
        }
        if self.last_received.elapsed() >= SILENCE_MAX {
            return self.close(Close::SILENT, ctx);
        }
        if self.pinged.elapsed() >= HEARTBEAT {
            self.pinged = Instant::now();
            self.socket().out().heartbeat();
        }
        self.schedule(ctx);
    }

    fn close(&self, close: Close, ctx: &mut Context<Self>) {
        self.socket().queue_close(close);
        Self::end_soon(ctx);
    }

    /// The close frame is queued: the peer may answer it, but not for long.
    fn end_soon(ctx: &mut Context<Self>) {
        ctx.run_later(CLOSE_WAIT, |_, ctx| ctx.stop());
    }

    fn follow(&mut self, next: Next, ctx: &mut Context<Self>) {
        match next {
            Next::Continue => {}
            Next::CountRefusal => {
                if self.refusals.count_is_too_high() {
                    self.close(Close::TOO_FAST, ctx);
                }
            }
            Next::Close(close) => self.close(close, ctx),
            Next::Reschedule => self.schedule(ctx),
        }
    }

    fn on_message(&mut self, message: Message, ctx: &mut Context<Self>) {
        match message {
            Message::Close(code) => {
                self.socket().out().close(code.map(|code| (code, "")));
                ctx.stop();
            }
            _ if self.socket().out().is_closing() => {}
            Message::Text(text) => self.on_text(&text, ctx),
            Message::Binary(_) => self.close(Close::UNSUPPORTED, ctx),
            Message::Ping(payload) => self.socket().out().push_pong(&payload),
            Message::Pong(payload) => self.on_pong(&payload, ctx),
        }
    }

    fn on_text(&mut self, text: &Bytes, ctx: &mut Context<Self>) {
        let next = match &mut self.state {
            State::Unsigned(unsigned) => unsigned.on_text(text, ctx),
            State::Device(device) => device.on_text(text, ctx),
            State::Chatroom(chatroom) => chatroom.on_text(text),
        };
        self.follow(next, ctx);
    }

    fn on_pong(&self, payload: &[u8], ctx: &mut Context<Self>) {
        let proven = self.socket().out().pong(payload);
        if let (State::Chatroom(chatroom), Some(proven)) = (&self.state, proven) {
            chatroom.on_proof(proven);
        }
        if self.socket().out().ask_for_proof() == ProofPing::AfterPause {
            Self::ask_for_proof_soon(ctx);
        }
    }

    /// Asks for a proof of all frames that were queued during the pause between two pings, at its end.
    fn ask_for_proof_soon(ctx: &mut Context<Self>) {
        ctx.run_later(PING_PAUSE, |session, ctx| {
            if session.socket().out().ask_for_proof_after_pause() == ProofPing::AfterPause {
                Self::ask_for_proof_soon(ctx);
            }
        });
    }
}

impl Actor for Session {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(SESSION_MAILBOX);
        self.socket().attach(ctx.address().recipient());
        if self.socket().out().is_closing() {
            Self::end_soon(ctx);
        }
        self.schedule(ctx);
        match &mut self.state {
            State::Unsigned(_) => Unsigned::start(ctx),
            State::Device(device) => device.start(ctx),
            State::Chatroom(chatroom) => chatroom.read_if_behind(ctx),
        }
    }
}

/// Also runs for a session that was never started, because its client went away during the upgrade.
impl Drop for Session {
    fn drop(&mut self) {
        match &self.state {
            State::Unsigned(unsigned) => unsigned.leave(),
            State::Device(device) => device.leave(),
            State::Chatroom(chatroom) => chatroom.leave(),
        }
        self.socket().out().end();
    }
}

impl StreamHandler<Received> for Session {
    fn handle(&mut self, received: Received, ctx: &mut Self::Context) {
        self.last_received = Instant::now();
        match received {
            Received::Message(message) => self.on_message(message, ctx),
            Received::Broken(close) => self.close(close, ctx),
            Received::Unfinished(deadline) => {
                if let Some(timer) = self.unfinished.take() {
                    ctx.cancel_future(timer);
                }
                self.unfinished = deadline.map(|at| {
                    let wait = at.saturating_duration_since(Instant::now());
                    ctx.run_later(wait, |session, ctx| session.close(Close::UNFINISHED, ctx))
                });
            }
        }
    }

    /// The connection ended or the peer broke the protocol; a close frame that is queued may still be written.
    fn finished(&mut self, ctx: &mut Self::Context) {
        ctx.stop();
    }
}

impl Handler<Wake> for Session {
    type Result = ();

    fn handle(&mut self, wake: Wake, ctx: &mut Self::Context) {
        match wake {
            Wake::Closing => Self::end_soon(ctx),
            Wake::ProofDue => Self::ask_for_proof_soon(ctx),
            Wake::Behind => match &mut self.state {
                // An unsigned socket is in no room.
                State::Unsigned(_) => {}
                State::Device(device) => device.catch_up(ctx),
                State::Chatroom(chatroom) => chatroom.read_if_behind(ctx),
            },
        }
    }
}
