//! One live socket of a chatter: its heartbeat, its limits, its end. What its frames mean is the codec's: [`chatroom`] or
//! [`device`].
//!
//! Started by `http::socket` after the upgrade; lives on the worker that accepted the connection. It tells rooms,
//! through the registry, and never waits for them: what they answer goes into its out-queue.

mod chatroom;
pub mod device;
pub mod messages;

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::{Actor, ActorContext, AsyncContext, Context, Handler, SpawnHandle, StreamHandler};
use tokio::sync::Semaphore;

use crate::auth::token::Tokens;
use crate::connections::connection::Connection;
use crate::connections::registry::ConnectionRegistry;
use crate::domain::ChatroomId;
use crate::domain::chat::{ClientId, Content};
use crate::domain::clock::Micros;
use crate::limits::Limits;
use crate::problem::{Code, Problem};
use crate::rooms::command::{Command, Post, Reply};
use crate::rooms::registry::Registry;
use crate::store::Store;
use crate::store::writer::WatermarkUpdate;
use crate::websocket::framing::{Close, Message, pong_frame};
use crate::websocket::transport::Heard;
use device::Device;
use messages::{Behind, ProofWanted, Shut};

/// A session's mailbox: it carries "close" and little else.
pub const SESSION_MAILBOX: usize = 16;
/// A ping goes out this often.
pub const HEARTBEAT: Duration = Duration::from_secs(25);
/// A socket that was silent for so long is dead.
pub const SILENCE_MAX: Duration = Duration::from_secs(60);
/// How long the peer has to answer a close frame.
const CLOSE_WAIT: Duration = Duration::from_secs(2);
/// Frames refused as too fast, within [`REFUSALS_WINDOW`], before the socket is closed.
const REFUSALS_MAX: u32 = 100;
const REFUSALS_WINDOW: Duration = Duration::from_secs(10);

/// The parts of the instance that a session uses.
#[derive(Clone)]
pub struct Parts {
    pub store: Arc<Store>,
    pub registry: Arc<Registry>,
    pub connections: Arc<ConnectionRegistry>,
    pub limits: Arc<Limits>,
    pub tokens: Arc<Tokens>,
    /// Turns at reading the database for sockets that sign in or catch up.
    pub turns: Arc<Semaphore>,
}

/// One live socket.
pub struct Session {
    connection: Arc<Connection>,
    parts: Parts,
    /// When its token ends; far away while there is none.
    expires_at: Micros,
    /// What only a device socket has.
    device: Option<Box<Device>>,
    /// When the peer was last heard.
    heard: Instant,
    pinged: Instant,
    refusals: u32,
    refusals_since: Instant,
    /// Ends a fragmented message that takes too long.
    unfinished: Option<SpawnHandle>,
    next_tick: Option<SpawnHandle>,
    /// The room of a seed socket is being read.
    reading: bool,
}

impl Session {
    /// A session for this seed socket, which takes its link out of `connections` in the end. The link has to be put in before the
    /// database is read for it, so that it misses nothing.
    #[must_use]
    pub fn chatroom(connection: Arc<Connection>, parts: Parts, expires_at: Micros) -> Self {
        Self::new(connection, parts, expires_at, None)
    }

    fn new(connection: Arc<Connection>, parts: Parts, expires_at: Micros, device: Option<Box<Device>>) -> Self {
        let now = Instant::now();
        let (heard, pinged, refusals_since) = (now, now, now);
        Self {
            connection,
            parts,
            expires_at,
            device,
            heard,
            pinged,
            refusals: 0,
            refusals_since,
            unfinished: None,
            next_tick: None,
            reading: false,
        }
    }

    /// Sleeps until the next ping, the end of patience or of the token, whichever comes first.
    fn schedule(&mut self, ctx: &mut Context<Self>) {
        if let Some(tick) = self.next_tick.take() {
            ctx.cancel_future(tick);
        }
        let ping = HEARTBEAT.saturating_sub(self.pinged.elapsed());
        let patience = SILENCE_MAX.saturating_sub(self.heard.elapsed());
        let token = Duration::from_micros(u64::try_from(self.expires_at.0 - Micros::now().0).unwrap_or(0));
        let wait = ping.min(patience).min(token) + Duration::from_millis(5);
        self.next_tick = Some(ctx.run_later(wait, |session, ctx| session.tick(ctx)));
    }

    fn tick(&mut self, ctx: &mut Context<Self>) {
        self.next_tick = None;
        if self.connection.out.is_closing() {
            return Self::end_soon(ctx);
        }
        if Micros::now() >= self.expires_at {
            return self.close(Close::TOKEN_REFUSED, ctx);
        }
        if self.heard.elapsed() >= SILENCE_MAX {
            return self.close(Close::SILENT, ctx);
        }
        if self.pinged.elapsed() >= HEARTBEAT {
            self.pinged = Instant::now();
            self.connection.out.heartbeat();
        }
        self.schedule(ctx);
    }

    fn close(&self, close: Close, ctx: &mut Context<Self>) {
        self.connection.out.close_for(close);
        Self::end_soon(ctx);
    }

    /// The close frame is queued: the peer may answer it, but not for long.
    fn end_soon(ctx: &mut Context<Self>) {
        ctx.run_later(CLOSE_WAIT, |_, ctx| ctx.stop());
    }

    fn on_message(&mut self, message: Message, ctx: &mut Context<Self>) {
        match message {
            Message::Close(code) => {
                self.connection.out.close(code.map(|code| (code, "")));
                ctx.stop();
            }
            _ if self.connection.out.is_closing() => {}
            Message::Text(text) if self.device.is_some() => self.on_device_text(&text, ctx),
            Message::Text(text) => self.on_chatroom_text(&text, ctx),
            Message::Binary(_) => self.close(Close::UNSUPPORTED, ctx),
            Message::Ping(payload) => self.connection.push(pong_frame(&payload)),
            Message::Pong(payload) => self.on_pong(&payload, ctx),
        }
    }

    fn on_pong(&mut self, payload: &[u8], ctx: &mut Context<Self>) {
        if let Some((from, to)) = self.connection.out.pong(payload)
            && let Some(chatroom_id) = self.connection.chatroom_id()
        {
            let (chatter_id, step) = (self.connection.chatter_id, WatermarkUpdate::Received { from, to });
            // A room that is too busy loses only this proof; the next one covers it.
            let _ = self
                .parts
                .registry
                .send(chatroom_id, Command::Watermark { chatter_id, steps: [Some(step), None], reply_to: None });
        }
        if self.connection.out.prove() {
            Self::prove_soon(ctx);
        }
    }

    /// Pings for a proof have a pause between them; what came meanwhile is asked for after it.
    fn prove_soon(ctx: &mut Context<Self>) {
        ctx.run_later(crate::websocket::ping_proof::PING_PAUSE, |session, ctx| {
            if session.connection.out.prove_after_pause() {
                Self::prove_soon(ctx);
            }
        });
    }

    /// Hands a new chat to its room, if this chatter may send now.
    fn post(
        &self,
        chatroom_id: ChatroomId,
        content: Content,
        client_id: Option<ClientId>,
        reply: Reply,
    ) -> Result<(), Problem> {
        self.may_change()?;
        let post = Post { sender_id: self.connection.chatter_id, receiver_id: None, content, client_id, reply };
        self.parts.registry.send(chatroom_id, Command::Post(post))
    }

    /// Whether this chatter may send, edit or delete now.
    fn may_change(&self) -> Result<(), Problem> {
        if !self.parts.connections.takes_chats() {
            return Err(Problem::new(
                Code::Draining,
                "This instance is shutting down; connect again and send the same client_id.",
            ));
        }
        self.parts.limits.send(self.connection.chatter_id).map_err(Problem::sending_too_fast)
    }

    /// A client that does not listen to `rate_limited` costs only itself.
    fn count_refusal(&mut self, ctx: &mut Context<Self>) {
        if self.refusals_since.elapsed() > REFUSALS_WINDOW {
            (self.refusals, self.refusals_since) = (0, Instant::now());
        }
        self.refusals += 1;
        if self.refusals > REFUSALS_MAX {
            self.close(Close::TOO_FAST, ctx);
        }
    }
}

impl Actor for Session {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(SESSION_MAILBOX);
        self.connection.attach(ctx.address());
        if self.connection.out.is_closing() {
            Self::end_soon(ctx);
        }
        self.schedule(ctx);
        self.start_device(ctx);
        self.read_chatroom(ctx);
    }
}

/// Also of one that never ran, since its client went while it was let in.
impl Drop for Session {
    fn drop(&mut self) {
        self.parts.connections.remove(&self.connection);
        self.stop_device();
        self.connection.out.end();
    }
}

impl StreamHandler<Heard> for Session {
    fn handle(&mut self, heard: Heard, ctx: &mut Self::Context) {
        self.heard = Instant::now();
        match heard {
            Heard::Message(message) => self.on_message(message, ctx),
            Heard::Broken(close) => self.close(close, ctx),
            Heard::Unfinished(deadline) => {
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

    /// The peer is gone, or broke the protocol; a close frame that is queued may still be written.
    fn finished(&mut self, ctx: &mut Self::Context) {
        ctx.stop();
    }
}

impl Handler<Shut> for Session {
    type Result = ();

    fn handle(&mut self, _: Shut, ctx: &mut Self::Context) {
        Self::end_soon(ctx);
    }
}

impl Handler<ProofWanted> for Session {
    type Result = ();

    fn handle(&mut self, _: ProofWanted, ctx: &mut Self::Context) {
        Self::prove_soon(ctx);
    }
}

impl Handler<Behind> for Session {
    type Result = ();

    fn handle(&mut self, _: Behind, ctx: &mut Self::Context) {
        self.catch_up(ctx);
        self.read_chatroom(ctx);
    }
}
