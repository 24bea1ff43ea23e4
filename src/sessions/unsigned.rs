//! A device socket on which no chatter has signed in yet: it waits for a token, and refuses every other frame.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::fut::{ActorFutureExt, wrap_future};
use actix::{AsyncContext, Context};
use bytes::Bytes;

use super::device::Device;
use super::refusals::{BadFrames, close_for};
use super::{Next, Parts, Session, State};
use crate::auth::token::Claims;
use crate::connections::registry::TooManyUnsigned;
use crate::connections::socket::Socket;
use crate::connections::unsigned::UnsignedConnection;
use crate::limits::Sender;
use crate::problem::{Code, Problem};
use crate::protocol::device::Ref;
use crate::protocol::device::client::{Body, ClientFrame, Unreadable};
use crate::websocket::framing::Close;

/// A socket on which no chatter has signed in after this time is closed.
const SIGN_IN_MAX: Duration = Duration::from_secs(10);

/// The state of a device socket before sign-in.
pub(super) struct Unsigned {
    parts: Arc<Parts>,
    connection: Arc<UnsignedConnection>,
    /// The address whose limits apply.
    address: IpAddr,
    bad_frames: BadFrames,
    /// The database is being asked for the standing of a token.
    is_checking: bool,
}

impl Unsigned {
    pub(super) fn new(socket: Socket, parts: Arc<Parts>, address: IpAddr) -> Result<Self, TooManyUnsigned> {
        let connection = Arc::new(UnsignedConnection::new(socket));
        parts.connections.add_unsigned(address, connection.clone())?;
        let bad_frames = BadFrames::new(Instant::now());
        Ok(Self { parts, connection, address, bad_frames, is_checking: false })
    }

    /// Starts the time that the client has to send its token.
    pub(super) fn start(ctx: &mut Context<Session>) {
        ctx.run_later(SIGN_IN_MAX, |session, ctx| {
            if matches!(session.state, State::Unsigned(_)) {
                session.close(Close::TOKEN_REFUSED, ctx);
            }
        });
    }

    pub(super) fn socket(&self) -> &Socket {
        self.connection.socket()
    }

    /// Takes the socket out of the registry.
    pub(super) fn leave(&self) {
        self.parts.connections.remove_unsigned(self.address, self.socket().id());
    }

    pub(super) fn on_text(&mut self, text: &Bytes, ctx: &mut Context<Session>) -> Next {
        let (reference, problem) = match ClientFrame::parse(text) {
            Ok(ClientFrame { reference, body: Body::Auth { token } }) => match self.count_frame() {
                Ok(()) => return self.authenticate(&token, reference, ctx),
                Err(too_fast) => (reference, too_fast),
            },
            Ok(ClientFrame { reference, .. }) => {
                let unsigned =
                    Problem::new(Code::TokenMissing, "Sign in first: {\"type\": \"auth\", \"token\": \"…\"}.");
                (reference, self.refusal(unsigned))
            }
            Err(Unreadable { reference, foreign, detail }) => {
                if foreign && self.bad_frames.foreign_is_too_high() {
                    return Next::Close(Close::BROKEN);
                }
                (reference, self.refusal(Problem::new(Code::Malformed, detail)))
            }
        };
        self.refuse(reference, &problem)
    }

    fn refuse(&self, reference: Option<Ref>, problem: &Problem) -> Next {
        self.connection.refuse(reference, problem);
        if problem.code == Code::RateLimited { Next::CountRefusal } else { Next::Continue }
    }

    /// The refusal of an invalid frame: this problem, or `rate_limited` where there are too many.
    fn refusal(&mut self, problem: Problem) -> Problem {
        let problem = self.bad_frames.refusal(problem);
        self.count_frame().err().unwrap_or(problem)
    }

    fn count_frame(&self) -> Result<(), Problem> {
        self.parts.count_frame(Sender::Address(self.address))
    }

    fn authenticate(&mut self, token: &str, reference: Option<Ref>, ctx: &mut Context<Session>) -> Next {
        if self.is_checking {
            let problem = Problem::new(Code::Busy, "A token is being checked; wait for the answer.");
            return self.refuse(reference, &problem);
        }
        self.is_checking = true;
        let (parts, token, from) = (self.parts.clone(), token.to_owned(), self.address);
        let check = async move {
            let claims = parts.bearers.verify(&token, from).await?;
            let _turn = parts.turn(claims.chatter_id).await;
            parts.check_standing(&claims).await.map(|()| claims)
        };
        ctx.spawn(wrap_future::<_, Session>(check).map(|checked, session, ctx| {
            let State::Unsigned(unsigned) = &mut session.state else { return };
            unsigned.is_checking = false;
            match checked {
                Ok(claims) => session.sign_in(claims, ctx),
                Err(problem) => {
                    unsigned.connection.refuse(reference, &problem);
                    session.close(close_for(&problem), ctx);
                }
            }
        }));
        Next::Continue
    }
}

impl Session {
    /// The token is valid: the session becomes that of a chatter's device.
    fn sign_in(&mut self, claims: Claims, ctx: &mut Context<Self>) {
        let State::Unsigned(unsigned) = &mut self.state else { return };
        let connection = unsigned.connection.sign_in(claims.chatter_id, claims.grant);
        let bad_frames = std::mem::replace(&mut unsigned.bad_frames, BadFrames::new(Instant::now()));
        let mut device = Box::new(Device::signed_in(connection, unsigned.parts.clone(), claims, bad_frames));
        device.socket().attach(ctx.address().recipient());
        device.start(ctx);
        // Only now, so that the socket is in the registry all the time.
        unsigned.leave();
        self.state = State::Device(device);
        self.schedule(ctx);
    }
}
