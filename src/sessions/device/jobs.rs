//! Reads of the database for a device socket, one after the other: listing rooms, resuming, catching up.

use std::collections::VecDeque;
use std::sync::Arc;

use actix::{AsyncContext, Context};
use futures_util::future::BoxFuture;

use super::catch_up::CatchUp;
use super::{Device, Next, Session, State, spawn};
use crate::auth::token::Claims;
use crate::domain::{ChatroomId, Version};
use crate::limits::Sender;
use crate::problem::{Code, Problem};
use crate::protocol::device::Ref;
use crate::protocol::device::server::ServerFrame;
use crate::sessions::refusals::close_for;
use crate::sessions::{Parts, RETRY_AFTER};
use crate::store::StoreError;
use crate::websocket::framing::{Close, text_frame};

/// Jobs that may wait; a client with 5,000 rooms sends ten resumes.
const JOBS_MAX: usize = 64;

/// One read.
pub(super) enum Job {
    /// List the rooms of a socket that has just signed in.
    SignIn {
        claims: Claims,
        /// Done when this instance receives what other instances publish for the chatter.
        subscribed: BoxFuture<'static, bool>,
    },
    /// Send what has changed in these rooms since these versions, which are of this epoch if the client has named one.
    Resume { reference: Option<Ref>, rooms: Vec<(ChatroomId, Version)>, epoch: Option<String> },
    /// Read the rooms of which the socket lacks changes.
    Requery,
}

/// The end of a job.
pub(super) enum JobResult {
    Finished,
    /// A resume has failed.
    Refused {
        reference: Option<Ref>,
        problem: Problem,
    },
    /// The job has failed, and the socket has to be closed.
    Closed {
        problem: Problem,
        close: Close,
    },
    /// Rooms could not be read: try again later.
    RetryLater,
}

impl Device {
    /// Reads the rooms of which the socket lacks changes.
    pub(in crate::sessions) fn catch_up(&mut self, ctx: &mut Context<Session>) {
        if !self.jobs.iter().any(|job| matches!(job, Job::Requery)) {
            self.jobs.push_back(Job::Requery);
        }
        self.start_next_job(ctx);
    }

    pub(super) fn add_job(&mut self, job: Job, ctx: &mut Context<Session>) -> Result<(), Problem> {
        if self.jobs.len() >= JOBS_MAX {
            return Err(Problem::new(
                Code::Busy,
                "Too much waits on this socket. Wait for the answers, then try again.",
            ));
        }
        self.jobs.push_back(job);
        self.start_next_job(ctx);
        Ok(())
    }

    pub(super) fn start_next_job(&mut self, ctx: &mut Context<Session>) {
        if self.is_working {
            return;
        }
        let Some(job) = self.jobs.pop_front() else { return };
        self.is_working = true;
        let catch_up = CatchUp::new(self.connection.clone(), self.parts.clone());
        let parts = self.parts.clone();
        spawn(ctx, run(job, catch_up, parts), |device, result, ctx| {
            device.is_working = false;
            let next = device.on_job_result(result, ctx);
            device.start_next_job(ctx);
            next
        });
    }

    fn on_job_result(&mut self, result: JobResult, ctx: &mut Context<Session>) -> Next {
        match result {
            JobResult::Finished if self.connection.cursors(|cursors| cursors.has_requeries()) => self.catch_up(ctx),
            JobResult::Finished | JobResult::RetryLater => self.catch_up_later(ctx),
            JobResult::Refused { reference, problem } => {
                self.connection.refuse(reference, &problem);
                self.refuse_resumes(&problem.without_cause());
                self.catch_up_later(ctx);
            }
            JobResult::Closed { problem, close } => {
                self.connection.refuse(None, &problem);
                return Next::Close(close);
            }
        }
        Next::Continue
    }

    /// The database did not answer one resume: those behind it do not wait for the same deadline again.
    fn refuse_resumes(&mut self, problem: &Problem) {
        let mut others = VecDeque::new();
        for job in std::mem::take(&mut self.jobs) {
            if let Job::Resume { reference, rooms, .. } = job {
                self.connection.cursors(|cursors| rooms.iter().for_each(|(room, _)| cursors.require_requery(*room)));
                self.connection.refuse(reference, problem);
            } else {
                others.push_back(job);
            }
        }
        self.jobs = others;
    }

    /// Starts a timer that catches up, if rooms wait for it and no such timer runs.
    fn catch_up_later(&mut self, ctx: &mut Context<Session>) {
        if self.is_retry_due || !self.connection.cursors(|cursors| cursors.is_waiting()) {
            return;
        }
        self.is_retry_due = true;
        ctx.run_later(RETRY_AFTER, |session, ctx| {
            if let State::Device(device) = &mut session.state {
                device.is_retry_due = false;
                device.catch_up(ctx);
            }
        });
    }
}

async fn run(job: Job, catch_up: CatchUp, parts: Arc<Parts>) -> JobResult {
    match job {
        Job::SignIn { claims, subscribed } => {
            subscribed.await;
            // Checked again now that the socket is found by its chatter: a sign-out since the first check has missed
            // it.
            let chatter = claims.chatter_id;
            let listed = if parts.limits.quick_socket(chatter).is_ok() {
                list_rooms(&claims, &catch_up, &parts, parts.turn(chatter).await).await
            } else {
                // A chatter who opens many sockets at once reads in bulk.
                list_rooms(&claims, &catch_up, &parts, parts.bulk.pass(Sender::Chatter(chatter)).await).await
            };
            listed.map_or_else(closed, |()| JobResult::Finished)
        }
        Job::Resume { reference, rooms, epoch } => match catch_up.resume(&rooms, epoch.as_deref()).await {
            Ok(()) => {
                catch_up.push(text_frame(&ServerFrame::Resumed { reference }));
                JobResult::Finished
            }
            Err(error) => JobResult::Refused { reference, problem: error.into() },
        },
        Job::Requery => match catch_up.requery().await {
            Ok(()) => JobResult::Finished,
            Err(StoreError::Unavailable(_)) => JobResult::RetryLater,
            Err(error) => closed(error.into()),
        },
    }
}

async fn list_rooms<T>(claims: &Claims, catch_up: &CatchUp, parts: &Parts, turn: T) -> Result<(), Problem> {
    parts.check_standing(claims).await?;
    catch_up.list_rooms(turn).await
}

fn closed(problem: Problem) -> JobResult {
    let close = close_for(&problem);
    JobResult::Closed { problem, close }
}
