//! Tells offline receivers: claims the pushes that are owed, sends them, writes down what came of each.
//!
//! One per instance. It never waits inside a handler: claims, sends and settlements run beside the mailbox, and every
//! row in hand is under a lease, so that nothing is lost when the actor or its instance dies. Presence here only moves
//! the time of a push; what cancels one is a watermark, a deletion, or an end that is counted.

mod decision;
mod effect;
pub mod messages;
mod outage_log;
mod state;
pub mod supervisor;

use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, ActorFutureExt, AsyncContext, Context, Handler, ResponseFuture, WrapFuture};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};

use self::effect::{Effect, Job, Retry, Sent};
use self::messages::{Drain, PushHint};
use self::outage_log::OutageLog;
use self::state::State;
use crate::domain::ChatterId;
pub use crate::metrics::push::Counters;
use crate::push::{Outcome, Pusher};
use crate::store::outbox::{Key, Lease, Outbox, PendingPush, Settlement};

/// The notifier's mailbox.
pub const NOTIFIER_MAILBOX: usize = 1_024;
/// The most that one visit to the database may take; then it counts as gone.
const DATABASE_WAIT_MAX: Duration = Duration::from_secs(10);

/// Tells whether a chatter has a live socket, as far as this instance knows.
pub type HasLiveSocket = Arc<dyn Fn(ChatterId) -> bool + Send + Sync>;

/// The push section of the configuration.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How often due rows are looked for.
    pub poll: Duration,
    /// How long a claim holds; longer than two sends that time out.
    pub lease: Duration,
    /// The most rows that are claimed at a time.
    pub rows_max: usize,
    /// The most sends at once.
    pub sends_max: usize,
    /// How long a chat waits for a confirmation while its receiver has a live socket.
    pub grace: Duration,
    /// The age at which a chat is not told of any more.
    pub expiry: Duration,
    /// The least time between two pushes of a room to a receiver.
    pub push_gap: Duration,
    /// The wait after a first failure.
    pub backoff_min: Duration,
    /// The longest wait after failures.
    pub backoff_max: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            poll: Duration::from_secs(1),
            lease: Duration::from_secs(60),
            rows_max: 64,
            sends_max: 16,
            grace: Duration::from_secs(3),
            expiry: Duration::from_secs(24 * 3_600),
            push_gap: Duration::from_secs(5),
            backoff_min: Duration::from_secs(1),
            backoff_max: Duration::from_secs(300),
        }
    }
}

/// The actor.
pub struct Notifier {
    state: State,
    outbox: Outbox,
    pusher: Arc<Pusher>,
    live: HasLiveSocket,
    settings: Settings,
    /// Who waits for the drain.
    drained: Vec<oneshot::Sender<()>>,
}

impl Notifier {
    /// Its parts; the counters are given so that they outlive it.
    #[must_use]
    pub fn new(
        outbox: Outbox,
        pusher: Arc<Pusher>,
        live: HasLiveSocket,
        settings: Settings,
        counters: Arc<Counters>,
    ) -> Self {
        let mut state = State::new(settings.clone(), counters);
        if matches!(*pusher, Pusher::Off) {
            // Claims nothing, as if it were about to end.
            state.drain();
        }
        Self { state, outbox, pusher, live, settings, drained: Vec::new() }
    }

    /// Begins whatever can be begun; called after every event.
    fn go_on(&mut self, ctx: &mut Context<Self>) {
        for effect in self.state.effects(Instant::now()) {
            match effect {
                Effect::Claim { hurried, due_max } => self.claim(hurried, due_max, ctx),
                Effect::Send(job) => {
                    let sent = send(Arc::clone(&self.pusher), job).into_actor(self);
                    ctx.spawn(sent.map(|sent, act, ctx| {
                        act.state.sent(sent, rand::random(), Instant::now());
                        act.go_on(ctx);
                    }));
                }
                Effect::Settle(settlements) => {
                    let settled = settle(self.outbox.clone(), settlements).into_actor(self);
                    ctx.spawn(settled.map(|refused, act, ctx| {
                        act.state.settled(refused);
                        act.go_on(ctx);
                    }));
                }
                // An asker whose deadline has passed is no longer there.
                Effect::Drained => self.drained.drain(..).for_each(|asker| asker.send(()).unwrap_or_default()),
            }
        }
    }

    fn claim(&self, hurried: Vec<Key>, due_max: usize, ctx: &mut Context<Self>) {
        let claimed = claim(self.outbox.clone(), hurried, due_max, self.settings.lease).into_actor(self);
        ctx.spawn(claimed.map(move |claimed, act, ctx| {
            match claimed {
                Claimed::Rows(rows) => {
                    let full = due_max > 0 && rows.len() >= due_max;
                    act.state.claimed(rows, full, &*act.live, Instant::now());
                }
                Claimed::Unread(leases, error) => act.state.unread(leases, &error),
                Claimed::Nothing(error) => act.state.not_claimed(&error),
            }
            act.go_on(ctx);
        }));
    }
}

impl Actor for Notifier {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(NOTIFIER_MAILBOX);
        ctx.run_interval(self.settings.poll, |act, ctx| {
            act.state.tick();
            act.go_on(ctx);
        });
        self.go_on(ctx);
    }
}

impl Handler<PushHint> for Notifier {
    type Result = ();

    fn handle(&mut self, message: PushHint, ctx: &mut Self::Context) {
        let key = Key { chatroom_id: message.chatroom_id, receiver_id: message.receiver_id };
        self.state.unreached(key, Instant::now());
        self.go_on(ctx);
    }
}

impl Handler<Drain> for Notifier {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, _: Drain, ctx: &mut Self::Context) -> Self::Result {
        let (done, drained) = oneshot::channel();
        self.drained.push(done);
        self.state.drain();
        self.go_on(ctx);
        // An actor that stops meanwhile has nothing left to wait for.
        Box::pin(async move { drop(drained.await) })
    }
}

/// What came of a claim.
enum Claimed {
    Rows(Vec<PendingPush>),
    /// Claimed, but then the database went away.
    Unread(Vec<Lease>, String),
    Nothing(String),
}

async fn claim(outbox: Outbox, hurried: Vec<Key>, due_max: usize, lease: Duration) -> Claimed {
    let mut leases = Vec::new();
    match in_time(outbox.claim_fresh(&hurried, lease)).await {
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

/// None, or what the database refused.
async fn settle(outbox: Outbox, settlements: Vec<Settlement>) -> Option<(Vec<Settlement>, String)> {
    let error = in_time(outbox.release(&settlements)).await.err()?;
    Some((settlements, error))
}

async fn in_time<T, E: std::fmt::Display>(visit: impl Future<Output = Result<T, E>>) -> Result<T, String> {
    match timeout(DATABASE_WAIT_MAX, visit).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("no answer in time".to_owned()),
    }
}

/// One device after another; a failure for all of them ends the round.
async fn send(pusher: Arc<Pusher>, job: Job) -> Sent {
    let mut accepted = Vec::new();
    let mut gone = Vec::new();
    let mut refused = Vec::new();
    let mut retry: Option<Retry> = None;
    let mut unfinished = false;
    for token in &job.tokens {
        if Instant::now() >= job.until || retry.as_ref().is_some_and(|r| r.pause_all) {
            unfinished = true;
            break;
        }
        match pusher.send(token.as_str(), &job.push).await {
            Outcome::Accepted => accepted.push(token.clone()),
            Outcome::TokenGone => gone.push(token.clone()),
            Outcome::Refused { reason } => refused.push(reason),
            Outcome::RetryLater { after, pause_all, reason } => {
                let after = after.max(retry.and_then(|r| r.after));
                retry = Some(Retry { after, pause_all, reason });
            }
        }
    }
    Sent { job, accepted, gone, refused, retry, unfinished }
}
