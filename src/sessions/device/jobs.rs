//! What a device socket needs the database for, one thing after the other: admitting, listing rooms, catching up.

use std::collections::VecDeque;
use std::pin::Pin;
use std::time::Duration;

use actix::fut::{ActorFutureExt, wrap_future};
use actix::{AsyncContext, Context};

use super::catch_up::CatchUp;
use super::{Session, WORK_MAX};
use crate::auth::token::Claims;
use crate::connections::connection::ReplyTo;
use crate::domain::{ChatroomId, Version};
use crate::problem::{Code, Problem};
use crate::protocol::device::Ref;
use crate::protocol::device::server::ServerFrame;
use crate::store::StoreError;
use crate::websocket::framing::{Close, text_frame};

/// When the database did not answer, the next try comes after this.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// One thing to do.
pub(super) enum Job {
    /// Whether the token of an unsigned socket still counts.
    Admit(Claims, Option<Ref>),
    /// List the rooms to a socket that has just signed in, once this instance hears what others do for its chatter.
    SignIn(Claims, Option<Pin<Box<dyn Future<Output = bool>>>>),
    Resume(Option<Ref>, Vec<(ChatroomId, Version)>),
    /// Read the rooms that the socket is behind in.
    Fill,
}

/// What came of it.
enum JobResult {
    Admitted(Claims),
    Finished,
    Refused(Option<Ref>, Problem),
    /// Refused, and the socket is closed.
    Closed(Option<Ref>, Problem, Close),
    /// Rooms are still behind: try again later.
    Behind,
}

impl Session {
    /// Something was missing for this socket: read it.
    pub(in crate::sessions) fn catch_up(&mut self, ctx: &mut Context<Self>) {
        if let Some(device) = &mut self.device {
            if !device.work.iter().any(|work| matches!(work, Job::Fill)) {
                device.work.push_back(Job::Fill);
            }
            self.work_on(ctx);
        }
    }

    pub(super) fn add_work(&mut self, work: Job, ctx: &mut Context<Self>) -> Result<(), Problem> {
        let Some(device) = &mut self.device else { return Ok(()) };
        if device.work.len() >= WORK_MAX {
            return Err(Problem::new(
                Code::Busy,
                "Too much waits on this socket. Wait for the answers, then try again.",
            ));
        }
        device.work.push_back(work);
        self.work_on(ctx);
        Ok(())
    }

    pub(super) fn work_on(&mut self, ctx: &mut Context<Self>) {
        let Some(device) = self.device.as_mut().filter(|device| !device.working) else { return };
        let Some(work) = device.work.pop_front() else { return };
        device.working = true;
        let catch_up = CatchUp::new(self.connection.clone(), &self.parts);
        ctx.spawn(wrap_future::<_, Self>(carry_out(work, catch_up)).map(|done, session, ctx| {
            if let Some(device) = &mut session.device {
                device.working = false;
            }
            session.done(done, ctx);
            session.work_on(ctx);
        }));
    }

    fn done(&mut self, done: JobResult, ctx: &mut Context<Self>) {
        match done {
            JobResult::Admitted(claims) => self.signed_in(claims, ctx),
            JobResult::Finished => {
                if self.connection.cursors(|cursors| cursors.behind()) > 0 {
                    self.catch_up(ctx);
                } else {
                    self.catch_up_later(ctx);
                }
            }
            JobResult::Refused(reference, problem) => {
                problem.log_cause();
                self.connection.refuse_frame(reference, &problem);
                self.refuse_resumes(&problem);
                self.catch_up_later(ctx);
            }
            JobResult::Closed(reference, problem, close) => {
                problem.log_cause();
                self.connection.refuse_frame(reference, &problem);
                self.close(close, ctx);
            }
            JobResult::Behind => self.catch_up_later(ctx),
        }
    }

    /// The database did not answer: those that wait behind shall not each wait for as long again.
    fn refuse_resumes(&mut self, problem: &Problem) {
        let Some(device) = &mut self.device else { return };
        let (resumes, rest): (VecDeque<Job>, VecDeque<Job>) =
            std::mem::take(&mut device.work).into_iter().partition(|work| matches!(work, Job::Resume(..)));
        device.work = rest;
        for work in resumes {
            if let Job::Resume(reference, rooms) = work {
                self.connection.cursors(|cursors| rooms.iter().for_each(|(room, _)| cursors.still_behind(*room)));
                self.connection.refuse_frame(reference, problem);
            }
        }
    }

    /// Tries again to bring up what is behind; one timer, however often this is called.
    fn catch_up_later(&mut self, ctx: &mut Context<Self>) {
        let waits = self.connection.cursors(|cursors| cursors.waiting()) > 0;
        let Some(device) = self.device.as_mut().filter(|device| waits && !device.retrying) else { return };
        device.retrying = true;
        ctx.run_later(AGAIN_AFTER, |session, ctx| {
            if let Some(device) = &mut session.device {
                device.retrying = false;
            }
            session.catch_up(ctx);
        });
    }

    /// Replaces the token in use by this one, if it counts. Waits for no other work, or the token could end meanwhile.
    pub(super) fn replace_token(&mut self, claims: Claims, asker: ReplyTo, ctx: &mut Context<Self>) {
        let (connection, catch_up) = (self.connection.clone(), CatchUp::new(self.connection.clone(), &self.parts));
        let before = connection.sign_in_id();
        let check = async move {
            standing(&catch_up, &claims).await?;
            connection.set_sign_in_id(claims.sign_in_id);
            // Asked again: a sign-out since the first time has looked for the socket under its old sign-in.
            standing(&catch_up, &claims).await.inspect_err(|_| connection.set_sign_in_id(before))
        };
        ctx.spawn(wrap_future::<_, Self>(check).map(move |checked, session, ctx| match checked {
            Ok(()) => {
                session.expires_at = claims.expires_at;
                session.schedule(ctx);
                session.connection.push(text_frame(&ServerFrame::Authenticated { reference: asker.reference }));
            }
            Err(problem) => {
                problem.log_cause();
                asker.refuse(&problem);
            }
        }));
    }
}

async fn carry_out(work: Job, catch_up: CatchUp) -> JobResult {
    match work {
        Job::Admit(claims, reference) => match standing(&catch_up, &claims).await {
            Ok(()) => JobResult::Admitted(claims),
            Err(problem) => closed(reference, problem),
        },
        Job::SignIn(claims, heard) => {
            if let Some(heard) = heard {
                heard.await;
            }
            // Asked again now that the socket is found by its chatter: a sign-out since the first time has missed it.
            let listed = async {
                standing(&catch_up, &claims).await?;
                catch_up.list_rooms().await
            };
            match listed.await {
                Ok(()) => JobResult::Finished,
                Err(problem) => closed(None, problem),
            }
        }
        Job::Resume(reference, rooms) => match catch_up.resume(&rooms).await {
            Ok(()) => {
                catch_up.connection.push(text_frame(&ServerFrame::Resumed { reference }));
                JobResult::Finished
            }
            Err(error) => JobResult::Refused(reference, error.into()),
        },
        Job::Fill => match catch_up.fill().await {
            Ok(()) => JobResult::Finished,
            Err(StoreError::Unavailable(_)) => JobResult::Behind,
            Err(error) => closed(None, error.into()),
        },
    }
}

async fn standing(catch_up: &CatchUp, claims: &Claims) -> Result<(), Problem> {
    Ok(catch_up.ask(catch_up.store.standing(claims.chatter_id, claims.sign_in_id)).await??)
}

fn closed(reference: Option<Ref>, problem: Problem) -> JobResult {
    let close = if problem.code == Code::TokenRevoked { Close::TOKEN_REFUSED } else { Close::UNAVAILABLE };
    JobResult::Closed(reference, problem, close)
}
