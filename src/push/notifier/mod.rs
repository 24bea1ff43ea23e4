//! The notifier, an actor: claims pending pushes, sends them, and writes the result of each.
//!
//! There is one per instance. It never waits inside a handler: claims, sends and writes run beside the mailbox, and
//! every claimed row is under a lease, so that nothing is lost when the actor or its instance dies. A live socket of
//! the receiver only delays a push. A push ends when FCM accepts or refuses it, or without a send when its chats were
//! confirmed or deleted, when it is too old, or when the receiver has no device; the metrics count each of these ends.

mod decision;
mod effect;
pub mod gauges;
pub mod messages;
mod outage_log;
mod settings;
mod state;
pub mod supervisor;

use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, ActorFutureExt, AsyncContext, Context, Handler, ResponseFuture, WrapFuture};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};

pub use self::settings::Settings;

use self::effect::{AfterSend, Effect, Job, LimitedDevice, Retry, Sent};
use self::messages::{Drain, PushHint};
use self::state::State;
use crate::domain::ChatterId;
use crate::metrics::PushMetrics;
use crate::push::pusher::Pusher;
use crate::push::{Outcome, Scope};
use crate::store::outbox::{Key, Lease, Outbox, PendingPush, Settlement};

/// The notifier's mailbox.
pub const NOTIFIER_MAILBOX: usize = 1_024;
/// A claim or a write of results that takes longer counts as failed.
const DATABASE_WAIT_MAX: Duration = Duration::from_secs(10);

/// Whether a chatter has a live socket on this instance.
pub type HasLiveSocket = Arc<dyn Fn(ChatterId) -> bool + Send + Sync>;

/// The actor.
pub struct Notifier {
    state: State,
    outbox: Outbox,
    pusher: Arc<Pusher>,
    live: HasLiveSocket,
    settings: Settings,
    /// Answers to `Drain` that are still to be given.
    drains: Vec<oneshot::Sender<()>>,
}

impl Notifier {
    /// A notifier of these parts. The metrics outlive it.
    #[must_use]
    pub fn new(
        outbox: Outbox,
        pusher: Arc<Pusher>,
        live: HasLiveSocket,
        settings: Settings,
        metrics: Arc<PushMetrics>,
    ) -> Self {
        let mut state = State::new(settings.clone(), metrics.clone());
        if let Some(reason) = pusher.off_reason() {
            metrics.trouble.set(format!("push_off: {reason}; pushes wait until a restart"));
            // Claims nothing, as in a drain.
            state.drain();
        }
        Self { state, outbox, pusher, live, settings, drains: Vec::new() }
    }

    /// Carries out the effects that the state gives; called after every event.
    fn run_effects(&mut self, ctx: &mut Context<Self>) {
        for effect in self.state.effects(Instant::now()) {
            match effect {
                Effect::Claim { hinted, due_max } => self.claim(hinted, due_max, ctx),
                Effect::Send(job) => {
                    let sent = send(Arc::clone(&self.pusher), job).into_actor(self);
                    ctx.spawn(sent.map(|sent, act, ctx| {
                        act.state.sent(sent, rand::random(), Instant::now());
                        act.run_effects(ctx);
                    }));
                }
                Effect::Write(settlements) => {
                    let written = write(self.outbox.clone(), settlements).into_actor(self);
                    ctx.spawn(written.map(|result, act, ctx| {
                        act.state.written(result);
                        act.run_effects(ctx);
                    }));
                }
                // A caller whose deadline has passed no longer waits for the answer.
                Effect::Drained => self.drains.drain(..).for_each(|answer| answer.send(()).unwrap_or_default()),
            }
        }
    }

    fn claim(&self, hinted: Vec<Key>, due_max: usize, ctx: &mut Context<Self>) {
        let claimed = claim(self.outbox.clone(), hinted, due_max, self.settings.lease).into_actor(self);
        ctx.spawn(claimed.map(move |claimed, act, ctx| {
            match claimed {
                Claimed::Rows(rows) => {
                    if due_max > 0 && rows.len() >= due_max {
                        act.state.poll_again();
                    }
                    act.state.claimed(rows, &*act.live, Instant::now());
                }
                Claimed::Unread(leases, error) => act.state.unread(leases, &error),
                Claimed::Nothing(error) => act.state.not_claimed(&error),
            }
            act.run_effects(ctx);
        }));
    }
}

impl Actor for Notifier {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(NOTIFIER_MAILBOX);
        ctx.run_interval(self.settings.poll, |act, ctx| {
            act.state.tick();
            act.run_effects(ctx);
        });
        self.run_effects(ctx);
    }
}

impl Handler<PushHint> for Notifier {
    type Result = ();

    fn handle(&mut self, message: PushHint, ctx: &mut Self::Context) {
        let key = Key { chatroom_id: message.chatroom_id, receiver_id: message.receiver_id };
        self.state.hinted(key, Instant::now());
        self.run_effects(ctx);
    }
}

impl Handler<Drain> for Notifier {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, _: Drain, ctx: &mut Self::Context) -> Self::Result {
        let (done, drained) = oneshot::channel();
        self.drains.push(done);
        self.state.drain();
        self.run_effects(ctx);
        Box::pin(async move {
            // An error means that the actor has stopped, which is a drain as well.
            let _ = drained.await;
        })
    }
}

/// The result of a claim.
enum Claimed {
    Rows(Vec<PendingPush>),
    /// Claimed, but the database could not be read after that.
    Unread(Vec<Lease>, String),
    Nothing(String),
}

async fn claim(outbox: Outbox, hinted: Vec<Key>, due_max: usize, lease: Duration) -> Claimed {
    let mut leases = Vec::new();
    match in_time(outbox.claim_fresh(&hinted, lease)).await {
        Ok(fresh) => leases.extend(fresh),
        Err(error) => return Claimed::Nothing(error),
    }
    if due_max > 0 {
        match in_time(outbox.claim_due(due_max as u64, lease)).await {
            Ok(due) => leases.extend(due),
            Err(error) => return Claimed::Unread(leases, error),
        }
    }
    match in_time(outbox.pending(&leases)).await {
        Ok(rows) => Claimed::Rows(rows),
        Err(error) => Claimed::Unread(leases, error),
    }
}

/// Gives the results back with the error where the database refused them.
async fn write(outbox: Outbox, settlements: Vec<Settlement>) -> Result<(), (Vec<Settlement>, String)> {
    in_time(outbox.release(&settlements)).await.map_err(|error| (settlements, error))
}

async fn in_time<T, E: std::fmt::Display>(visit: impl Future<Output = Result<T, E>>) -> Result<T, String> {
    match timeout(DATABASE_WAIT_MAX, visit).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("no answer in time".to_owned()),
    }
}

/// Sends to one device after another. A limited device waits alone; a failure that concerns all of them ends the round.
async fn send(pusher: Arc<Pusher>, job: Job) -> Sent {
    let mut accepted = Vec::new();
    let mut gone = Vec::new();
    let mut refused = Vec::new();
    let mut limited = Vec::new();
    let mut retry: Option<Retry> = None;
    let (mut unfinished, mut other_sender) = (false, false);
    for token in &job.tokens {
        if Instant::now() >= job.until || retry.as_ref().is_some_and(|r| r.scope == Scope::All) {
            unfinished = true;
            break;
        }
        match pusher.send(token.as_str(), &job.push).await {
            Outcome::Accepted => accepted.push(token.clone()),
            Outcome::TokenGone => gone.push(token.clone()),
            Outcome::Refused { reason } => refused.push(reason),
            Outcome::OtherSender { reason } => {
                refused.push(reason);
                other_sender = true;
            }
            Outcome::RetryLater { after, scope: scope @ (Scope::Device | Scope::DeviceOrProject), reason } => {
                let (wait, is_certain) = (after.unwrap_or_default(), scope == Scope::Device);
                limited.push(LimitedDevice { device: token.clone(), wait, is_certain, reason });
            }
            Outcome::RetryLater { after, scope, reason } => {
                let after = after.max(retry.and_then(|r| r.after));
                retry = Some(Retry { after, scope, reason });
            }
        }
    }
    let after = match retry {
        Some(retry) => AfterSend::Retry(retry),
        None if unfinished => AfterSend::Unfinished,
        None => AfterSend::Complete,
    };
    Sent { job, accepted, gone, limited, refused, other_sender, after }
}
