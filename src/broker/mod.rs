//! What instances tell each other, addressed to chatters: through Redis, through memory, or not at all.
//!
//! A hint, never the truth: whatever is told here stands in the database already, and may get lost on the way.

use std::collections::HashSet;
use std::future::Future;
use std::sync::Arc;
use std::time::Instant;

use crate::domain::ChatterId;

mod directory;
mod envelope;
pub mod memory;
pub mod redis;

mod message;

pub use crate::metrics::broker::Counters;
pub use directory::Orphans;
pub use message::{Changes, ClusterMessage, Durability, EVERY_INSTANCE};

/// Who hears what other instances tell. Called by the relay's tasks; must not wait.
pub trait BrokerEventHandler: Send + Sync {
    /// Something for a chatter who is listened to; once, also when it is for two of them. What one instance told comes
    /// in its order.
    fn on_message(&self, message: ClusterMessage);
    /// The subscription was established, at first or again: things may have been missed.
    fn on_reconnected(&self);
    /// The subscription broke: things will be missed.
    fn on_disconnected(&self);
    /// The others took this instance for dead: everybody here may count as gone elsewhere.
    fn on_presumed_dead(&self);
}

/// Whether the other instances can be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// There are no others.
    Single,
    Up,
    /// Since when; also before the first connection.
    Away {
        since: Instant,
    },
}

/// The handle to tell and to listen with; cheap to clone.
#[derive(Clone)]
pub struct Broker(Kind);

#[derive(Clone)]
enum Kind {
    Single,
    Memory(memory::Member),
    Redis(Arc<redis::Handle>),
}

impl Broker {
    /// The relay of an instance that is alone: whatever it tells, nobody is there to hear it.
    #[must_use]
    pub const fn single() -> Self {
        Self(Kind::Single)
    }

    /// A relay over Redis; its worker has to be run. `secret` is known to all instances and to nobody else.
    ///
    /// Redis need not be there. Refused is only what can never work, such as a malformed URL.
    pub fn redis(settings: &redis::Settings, secret: &[u8]) -> Result<(Self, Worker), redis::Refused> {
        let (handle, worker) = redis::open(settings, secret)?;
        Ok((Self(Kind::Redis(Arc::new(handle))), Worker(Work::Redis(Box::new(worker)))))
    }

    /// Tells the others. Never waits: where the queue is full or Redis is away it is dropped and counted.
    pub fn publish(&self, message: ClusterMessage) {
        match &self.0 {
            Kind::Single => {}
            Kind::Memory(member) => member.publish(&message),
            Kind::Redis(handle) => handle.publish(&message),
        }
    }

    /// Listens to what is told to a chatter, from the call on, whether or not it is awaited; true once that is confirmed.
    ///
    /// False after 500 ms or when Redis is away: then it is subscribed as soon as Redis is back, before
    /// [`BrokerEventHandler::reconnected`]. Each call, whatever it answered, takes one [`Broker::unsubscribe`] to end.
    pub fn subscribe(&self, chatter: ChatterId) -> impl Future<Output = bool> + Send + use<> {
        let answer = match &self.0 {
            Kind::Single => None,
            Kind::Memory(member) => {
                member.subscribe(chatter);
                None
            }
            Kind::Redis(handle) => Some(handle.subscribe(chatter)),
        };
        async move {
            match answer {
                None => true,
                Some(answer) => answer.wait().await,
            }
        }
    }

    /// Takes one [`Broker::listen`] back.
    pub fn unsubscribe(&self, chatter: ChatterId) {
        match &self.0 {
            Kind::Single => {}
            Kind::Memory(member) => member.unsubscribe(chatter),
            Kind::Redis(handle) => handle.unsubscribe(chatter),
        }
    }

    /// A chatter's first socket came here; the others can know it a moment later. Never waits.
    pub fn join(&self, chatter: ChatterId) {
        match &self.0 {
            Kind::Single => {}
            Kind::Memory(member) => member.join(chatter),
            Kind::Redis(handle) => handle.join(chatter),
        }
    }

    /// Takes one [`Broker::came`] back.
    pub fn leave(&self, chatter: ChatterId) {
        match &self.0 {
            Kind::Single => {}
            Kind::Memory(member) => member.leave(chatter),
            Kind::Redis(handle) => handle.leave(chatter),
        }
    }

    /// Whether a chatter was connected elsewhere already when they came here, as far as is known. Of two instances
    /// where somebody comes at once, one is the first.
    #[must_use]
    pub fn joined(&self, chatter: ChatterId) -> bool {
        match &self.0 {
            Kind::Single => false,
            Kind::Memory(member) => member.joined(chatter),
            Kind::Redis(handle) => handle.joined(chatter),
        }
    }

    /// Who of these is connected to another instance: one question, 300 ms at most. None where nobody knows.
    pub async fn connected_elsewhere(&self, chatters: &[ChatterId]) -> Option<HashSet<ChatterId>> {
        match &self.0 {
            Kind::Single => Some(HashSet::new()),
            Kind::Memory(member) => Some(member.connected_elsewhere(chatters)),
            Kind::Redis(handle) => handle.connected_elsewhere(chatters).await,
        }
    }

    /// Some chatters of an instance that died, to be taken off and then settled; nobody else gets them meanwhile.
    pub async fn orphans(&self) -> Option<Orphans> {
        match &self.0 {
            Kind::Single => None,
            Kind::Memory(member) => member.orphans(),
            Kind::Redis(handle) => handle.orphans().await,
        }
    }

    /// These are taken off; false if that could not be written down, so that they will be handed out again.
    pub async fn settle(&self, orphans: &Orphans) -> bool {
        match &self.0 {
            Kind::Single => true,
            Kind::Memory(member) => member.settle(orphans),
            Kind::Redis(handle) => handle.settle(orphans).await,
        }
    }

    /// This instance ends soon: whoever of its chatters has not come back elsewhere by then is left to the others.
    pub fn leave_all(&self) {
        if let Kind::Redis(handle) = &self.0 {
            handle.leave_all();
        }
    }

    /// Whether the others can be reached, as far as is known.
    #[must_use]
    pub fn state(&self) -> State {
        match &self.0 {
            Kind::Single => State::Single,
            Kind::Memory(_) => State::Up,
            Kind::Redis(handle) => handle.state(),
        }
    }

    /// Whether it is known who is connected to the other instances, if there are any.
    #[must_use]
    pub fn directory_is_up(&self) -> bool {
        match &self.0 {
            Kind::Single | Kind::Memory(_) => true,
            Kind::Redis(handle) => handle.directory_is_up(),
        }
    }

    /// What came of everything so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        match &self.0 {
            Kind::Single => Counters::default(),
            Kind::Memory(member) => member.counters(),
            Kind::Redis(handle) => handle.counters(),
        }
    }
}

/// The part of a relay that does the work.
pub struct Worker(Work);

enum Work {
    Memory(memory::Inbox),
    Redis(Box<redis::Work>),
}

impl Worker {
    /// Works until the last handle is dropped; on a tokio runtime, where it starts a task for each connection.
    pub async fn run(self, handler: Arc<dyn BrokerEventHandler>) {
        match self.0 {
            Work::Memory(inbox) => inbox.run(&*handler).await,
            Work::Redis(work) => work.run(handler).await,
        }
    }
}
