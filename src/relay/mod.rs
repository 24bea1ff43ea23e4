//! What instances tell each other, addressed to chatters: through Redis, through memory, or not at all.
//!
//! A hint, never the truth: whatever is told here stands in the database already, and may get lost on the way.

use std::collections::HashSet;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::domain::chat::{ChangeKind, Chat};
use crate::domain::{ChatroomId, ChatterId, Version};

mod envelope;
pub mod memory;
pub mod redis;
mod roster;
mod tally;

pub use roster::Orphans;
pub use tally::Counters;

/// What one instance tells the others; addressed to chatters. Its `Debug` leaves contents out.
#[derive(Clone, PartialEq, Eq)]
pub enum Told {
    /// Changes of a room: for both people.
    Changes(Changes),
    /// A frame (JSON text of the device socket) for a chatter's device sockets.
    Frame { chatter_id: ChatterId, text: Bytes, about: About },
    /// Sign-ins of the chatter have ended, or the account has: their sockets' tokens have to be looked at.
    AccessEnded { chatter_id: ChatterId },
    /// A room is gone.
    RoomGone { chatroom_id: ChatroomId, chatters: [ChatterId; 2] },
}

/// What a frame is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum About {
    /// Something that nobody misses: it is dropped where it would have to wait.
    Passing,
    /// Something that shall arrive.
    Lasting,
    /// This room is new.
    Made(ChatroomId),
}

/// Changes of a room after `from` up to `to`, ascending, each version once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changes {
    pub chatroom_id: ChatroomId,
    pub owner_id: ChatterId,
    pub opponent_id: ChatterId,
    pub from: Version,
    pub to: Version,
    pub changes: Vec<(ChangeKind, Chat)>,
}

impl Told {
    /// Whom it is for; the second one only where it is somebody else.
    fn chatters(&self) -> (ChatterId, Option<ChatterId>) {
        let (first, second) = match self {
            Self::Changes(told) => (told.owner_id, told.opponent_id),
            Self::RoomGone { chatters: [first, second], .. } => (*first, *second),
            Self::Frame { chatter_id, .. } | Self::AccessEnded { chatter_id } => (*chatter_id, *chatter_id),
        };
        (first, (second != first).then_some(second))
    }

    /// Whether it is for this chatter.
    fn is_for(&self, chatter: ChatterId) -> bool {
        let (first, second) = self.chatters();
        first == chatter || second == Some(chatter)
    }

    /// The same as two shorter ones, one after the other; none where it cannot be divided.
    fn halves(&self) -> Option<[Self; 2]> {
        let Self::Changes(told) = self else { return None };
        if told.changes.len() < 2 || !told.changes.is_sorted_by_key(|(_, chat)| chat.version) {
            return None;
        }
        let (head, tail) = told.changes.split_at(told.changes.len() / 2);
        let between = head.last()?.1.version;
        let part = |from, to, changes: &[_]| Changes { from, to, changes: changes.to_vec(), ..told.head() };
        Some([
            Self::Changes(part(told.from, between, head)), //
            Self::Changes(part(between, told.to, tail)),
        ])
    }
}

impl Changes {
    /// Which room it is about, without any change.
    fn head(&self) -> Self {
        Self { changes: Vec::new(), ..*self }
    }
}

impl fmt::Debug for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Changes(told) => told.fmt(f),
            Self::Frame { chatter_id, text, .. } => write!(f, "Frame of {} bytes for {chatter_id}", text.len()),
            Self::AccessEnded { chatter_id } => write!(f, "AccessEnded {chatter_id}"),
            Self::RoomGone { chatroom_id, .. } => write!(f, "RoomGone {chatroom_id}"),
        }
    }
}

/// Who hears what other instances tell. Called by the relay's tasks; must not wait.
pub trait Hear: Send + Sync {
    /// Something for a chatter who is listened to; once, also when it is for two of them. What one instance told comes
    /// in its order.
    fn told(&self, told: Told);
    /// The subscription was established, at first or again: things may have been missed.
    fn reconnected(&self);
    /// The subscription broke: things will be missed.
    fn disconnected(&self);
    /// The others took this instance for dead: everybody here may count as gone elsewhere.
    fn presumed_dead(&self);
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
pub struct Relay(Kind);

#[derive(Clone)]
enum Kind {
    Single,
    Memory(memory::Member),
    Redis(Arc<redis::Handle>),
}

impl Relay {
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
    pub fn tell(&self, told: Told) {
        match &self.0 {
            Kind::Single => {}
            Kind::Memory(member) => member.tell(&told),
            Kind::Redis(handle) => handle.tell(&told),
        }
    }

    /// Listens to what is told to a chatter, from the call on, whether or not it is awaited; true once that is confirmed.
    ///
    /// False after 500 ms or when Redis is away: then it is subscribed as soon as Redis is back, before
    /// [`Hear::reconnected`]. Each call, whatever it answered, takes one [`Relay::unlisten`] to end.
    pub fn listen(&self, chatter: ChatterId) -> impl Future<Output = bool> + Send + use<> {
        let answer = match &self.0 {
            Kind::Single => None,
            Kind::Memory(member) => {
                member.listen(chatter);
                None
            }
            Kind::Redis(handle) => Some(handle.listen(chatter)),
        };
        async move {
            match answer {
                None => true,
                Some(answer) => answer.wait().await,
            }
        }
    }

    /// Takes one [`Relay::listen`] back.
    pub fn unlisten(&self, chatter: ChatterId) {
        match &self.0 {
            Kind::Single => {}
            Kind::Memory(member) => member.unlisten(chatter),
            Kind::Redis(handle) => handle.unlisten(chatter),
        }
    }

    /// A chatter's first socket came here; the others can know it a moment later. Never waits.
    pub fn came(&self, chatter: ChatterId) {
        match &self.0 {
            Kind::Single => {}
            Kind::Memory(member) => member.came(chatter),
            Kind::Redis(handle) => handle.came(chatter),
        }
    }

    /// Takes one [`Relay::came`] back.
    pub fn went(&self, chatter: ChatterId) {
        match &self.0 {
            Kind::Single => {}
            Kind::Memory(member) => member.went(chatter),
            Kind::Redis(handle) => handle.went(chatter),
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
    pub async fn elsewhere(&self, chatters: &[ChatterId]) -> Option<HashSet<ChatterId>> {
        match &self.0 {
            Kind::Single => Some(HashSet::new()),
            Kind::Memory(member) => Some(member.elsewhere(chatters)),
            Kind::Redis(handle) => handle.elsewhere(chatters).await,
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
    pub fn leave(&self) {
        if let Kind::Redis(handle) = &self.0 {
            handle.leave();
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
    pub async fn run(self, hear: Arc<dyn Hear>) {
        match self.0 {
            Work::Memory(inbox) => inbox.run(&*hear).await,
            Work::Redis(work) => work.run(hear).await,
        }
    }
}
