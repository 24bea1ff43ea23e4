//! One live socket of a chatter: what its frames mean, its heartbeat, its end.
//!
//! Started by `http::socket` after the upgrade; lives on the worker that accepted the connection. It tells rooms,
//! through the registry, and never waits for them: what they answer goes into its out-queue.

pub mod event;
pub mod frame;
pub mod link;
pub mod messages;
pub mod out_queue;
pub mod receipt_proof;
pub mod socket;

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::{Actor, ActorContext, AsyncContext, Context, Handler, SpawnHandle, StreamHandler};
use bytes::Bytes;

use super::SESSION_MAILBOX;
use super::registry::Registry;
use super::room::messages::{Command, Post, Reply};
use super::sessions::Sessions;
use crate::domain::Broken;
use crate::domain::chat::{ClientId, Content};
use crate::domain::clock::Micros;
use crate::error::{Code, Problem};
use crate::limits::Limits;
use crate::store::writer::Move;
use crate::wire::seed::ClientFrame;
use frame::{Close, Message, pong_frame};
use link::Link;
use messages::{ProofWanted, Shut};
use socket::Heard;

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
    pub registry: Arc<Registry>,
    pub sessions: Arc<Sessions>,
    pub limits: Arc<Limits>,
}

/// One live socket.
pub struct Session {
    link: Arc<Link>,
    parts: Parts,
    /// When its token ends.
    expires_at: Micros,
    /// When the peer was last heard.
    heard: Instant,
    pinged: Instant,
    refusals: u32,
    refusals_since: Instant,
    /// Ends a fragmented message that takes too long.
    unfinished: Option<SpawnHandle>,
}

impl Session {
    /// A session for this socket; the link must be in `sessions` already, so that it misses nothing.
    #[must_use]
    pub fn new(link: Arc<Link>, parts: Parts, expires_at: Micros) -> Self {
        let now = Instant::now();
        Self { link, parts, expires_at, heard: now, pinged: now, refusals: 0, refusals_since: now, unfinished: None }
    }

    /// Sleeps until the next ping, the end of patience or of the token, whichever comes first.
    fn schedule(&self, ctx: &mut Context<Self>) {
        let ping = HEARTBEAT.saturating_sub(self.pinged.elapsed());
        let patience = SILENCE_MAX.saturating_sub(self.heard.elapsed());
        let token = Duration::from_micros(u64::try_from(self.expires_at.0 - Micros::now().0).unwrap_or(0));
        let wait = ping.min(patience).min(token) + Duration::from_millis(5);
        ctx.run_later(wait, |session, ctx| session.tick(ctx));
    }

    fn tick(&mut self, ctx: &mut Context<Self>) {
        if self.link.out.is_closing() {
            return;
        }
        if Micros::now() >= self.expires_at {
            return self.close(Close::TOKEN_REFUSED, ctx);
        }
        if self.heard.elapsed() >= SILENCE_MAX {
            return self.close(Close::SILENT, ctx);
        }
        if self.pinged.elapsed() >= HEARTBEAT {
            self.pinged = Instant::now();
            self.link.out.heartbeat();
        }
        self.schedule(ctx);
    }

    fn close(&self, close: Close, ctx: &mut Context<Self>) {
        self.link.out.close(Some((close.code, close.reason)));
        Self::end_soon(ctx);
    }

    /// The close frame is queued: the peer may answer it, but not for long.
    fn end_soon(ctx: &mut Context<Self>) {
        ctx.run_later(CLOSE_WAIT, |_, ctx| ctx.stop());
    }

    fn on_message(&mut self, message: Message, ctx: &mut Context<Self>) {
        match message {
            Message::Close(code) => {
                self.link.out.close(code.map(|code| (code, "")));
                ctx.stop();
            }
            _ if self.link.out.is_closing() => {}
            Message::Text(text) => self.on_text(&text, ctx),
            Message::Binary(_) => self.close(Close::UNSUPPORTED, ctx),
            Message::Ping(payload) => self.link.push(pong_frame(&payload)),
            Message::Pong(payload) => self.on_pong(&payload, ctx),
        }
    }

    fn on_pong(&mut self, payload: &[u8], ctx: &mut Context<Self>) {
        if let Some((from, to)) = self.link.out.pong(payload) {
            let step = Command::Watermark { chatter_id: self.link.chatter_id, step: Move::Received { from, to } };
            // A room that is too busy loses only this proof; the next one covers it.
            let _ = self.parts.registry.tell(self.link.chatroom_id, step);
        }
        if self.link.out.prove() {
            Self::prove_soon(ctx);
        }
    }

    /// Pings for a proof have a pause between them; what came meanwhile is asked for after it.
    fn prove_soon(ctx: &mut Context<Self>) {
        ctx.run_later(receipt_proof::PING_PAUSE, |session, ctx| {
            if session.link.out.prove_after_pause() {
                Self::prove_soon(ctx);
            }
        });
    }

    fn on_text(&mut self, text: &Bytes, ctx: &mut Context<Self>) {
        let frame = match serde_json::from_slice::<ClientFrame>(text) {
            Ok(frame) => frame,
            Err(_) => {
                let detail = "Send {\"message\": \"text\"}, optionally with a \"client_id\".";
                return self.link.refuse(&Problem::new(Code::Malformed, detail), None);
            }
        };
        let client_id = frame.client_id.clone();
        if let Err(problem) = self.post(frame) {
            self.link.refuse(&problem, client_id.as_deref());
            if problem.code == Code::RateLimited {
                self.count_refusal(ctx);
            }
        }
    }

    fn post(&self, frame: ClientFrame) -> Result<(), Problem> {
        let field = |e: Broken| {
            Problem::invalid(if e.field == "content" { "message" } else { e.field }, format!("It {}.", e.rule))
        };
        let content = Content::parse(frame.message).map_err(field)?;
        let client_id = frame.client_id.map(ClientId::parse).transpose().map_err(field)?;
        if !self.parts.sessions.takes_chats() {
            return Err(Problem::new(
                Code::Draining,
                "This instance is shutting down; connect again and send the same client_id.",
            ));
        }
        self.parts.limits.send(self.link.chatter_id).map_err(Problem::sending_too_fast)?;
        let reply = Reply::Link(self.link.clone(), client_id.as_ref().map(|id| id.as_str().into()));
        let post = Post { sender_id: self.link.chatter_id, receiver_id: None, content, client_id, reply };
        self.parts.registry.tell(self.link.chatroom_id, Command::Post(post))
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
        self.link.attach(ctx.address());
        if self.link.out.is_closing() {
            Self::end_soon(ctx);
        }
        self.schedule(ctx);
    }

    fn stopped(&mut self, _: &mut Self::Context) {
        self.parts.sessions.remove(&self.link);
        self.link.out.end();
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
