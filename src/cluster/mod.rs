//! What other instances tell, brought to this one's rooms and sockets; and what nobody told, asked of the database.

pub mod presence;
pub mod receipts;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use crate::broker::{BrokerEventHandler, ClusterMessage, EVERY_INSTANCE, State, redis};
use crate::cluster::presence::Presence;
use crate::cluster::receipts::Receipts;
use crate::connections::registry::ConnectionRegistry;
use crate::domain::{ChatroomId, ChatterId, SignInId};
use crate::rooms::command::Command;
use crate::rooms::registry::Registry;
use crate::service::Service;
use crate::store::change_feed::{Ending, FeedPosition, Poll};
use crate::store::{Store, StoreError};
use crate::websocket::framing::{Close, raw_text_frame};

/// How often the database is asked what changed while the other instances cannot be heard.
const LOOK_AWAY: Duration = Duration::from_secs(1);
/// The same where there is so much traffic that a look passes over this many chats, unless the relay is away.
const LOOK_BUSY: Duration = Duration::from_secs(5);
const BUSY: usize = 20_000;
/// What the database knows already may still be on its way to the sockets.
const ON_ITS_WAY: Duration = Duration::from_millis(300);
/// As long as this after Redis is back, everybody hears again.
const HEALED: Duration = Duration::from_secs(3);
/// It takes up to so long until it is known that Redis is gone.
const UNNOTICED: Duration = Duration::from_secs(10);
/// After so long without a look, what has ended may not be noted any more; half of the time for which it is.
const FORGOTTEN: Duration = Duration::from_secs(1_800);
/// Whose tokens could not be looked at is tried again after this.
const TRY_AGAIN: Duration = Duration::from_millis(500);
/// Sockets' tokens that are looked at with one question.
const TOKENS_AT_ONCE: usize = 500;

/// The ears of an instance, and what it does about what they miss.
pub struct Cluster {
    parts: Parts,
    missed: Notify,
    /// Whether the relay has been unable to hear since that was last asked.
    was_deaf: AtomicBool,
    /// Whose sign-ins or account have ended: their sockets' tokens have to be looked at.
    doubtful: Mutex<HashSet<ChatterId>>,
    /// Rooms that are new, as others said, and the two in each.
    made: Mutex<HashMap<ChatroomId, [ChatterId; 2]>>,
    asked: Notify,
}

/// Whom it hears for.
pub struct Parts {
    pub store: Arc<Store>,
    pub registry: Arc<Registry>,
    pub connections: Arc<ConnectionRegistry>,
    pub receipts: Arc<Receipts>,
    pub presence: Arc<Presence>,
    pub service: Arc<Service>,
    /// How often the database is asked what changed, where that costs little.
    pub look_every: Duration,
}

impl Cluster {
    /// Hears for these.
    #[must_use]
    pub fn new(parts: Parts) -> Arc<Self> {
        Arc::new(Self {
            parts,
            missed: Notify::new(),
            was_deaf: AtomicBool::new(false),
            doubtful: Mutex::default(),
            made: Mutex::default(),
            asked: Notify::new(),
        })
    }

    /// Hears, looks and checks for as long as the instance runs. `position` dates from before there were sockets.
    pub async fn run(self: Arc<Self>, hearing: redis::RedisWorker, position: FeedPosition) {
        // From the call on, whether or not it is confirmed.
        drop(self.parts.connections.broker().subscribe(EVERY_INSTANCE));
        tokio::join!(hearing.run(self.clone()), self.watch(position), self.ask());
    }

    /// Asks the database what changed: now and then, and at once when the relay went away
    /// or is back.
    async fn watch(&self, mut position: FeedPosition) {
        let mut passed = 0;
        let mut silence = Silence::default();
        let mut looked_at = Instant::now();
        loop {
            let is_up = self.parts.connections.broker().state() == State::Up;
            self.make_up_for(&mut silence, is_up);
            // An error is an early end of the pause: somebody has been missing something.
            let _ = timeout(self.pause(is_up, passed), self.missed.notified()).await;
            match self.parts.store.poll(&mut position).await {
                Ok(poll) => {
                    passed = poll.scanned;
                    if std::mem::replace(&mut looked_at, Instant::now()).elapsed() > FORGOTTEN {
                        self.doubt_all();
                    }
                    if poll.has_more {
                        self.missed.notify_one();
                    }
                    sleep(ON_ITS_WAY).await;
                    self.bring(poll).await;
                }
                Err(error) => tracing::debug!(
                    error = &error as &dyn std::error::Error,
                    "what changed elsewhere waits for the database"
                ),
            }
        }
    }

    /// Once all hear again: tells the receipts and the presence that others have missed of this instance, and asks for those
    /// that it has missed of them.
    fn make_up_for(&self, silence: &mut Silence, is_up: bool) {
        let Parts { connections, receipts, .. } = &self.parts;
        let dropped = connections.broker().metrics().messages_dropped.get();
        let was_unheard = std::mem::replace(&mut silence.dropped, dropped) < dropped;
        let was_deaf = self.was_deaf.swap(false, Ordering::Relaxed) || !is_up;
        // Who has not heard yet, and has nobody to hear for, misses nothing.
        silence.has_begun |= is_up || connections.count() > 0;
        if silence.has_begun && (was_unheard || was_deaf) {
            let now = Instant::now();
            silence.since = Some((silence.since.map_or(now, |(first, _)| first), now));
            silence.was_deaf |= was_deaf;
        }
        match silence.since {
            None => receipts.were_heard(),
            Some((first, last)) if last.elapsed() >= HEALED => {
                let within = first.elapsed() + UNNOTICED;
                if silence.was_deaf {
                    connections.broker().publish(ClusterMessage::RepeatRequest { within_s: within.as_secs() + 1 });
                    if connections.broker().metrics().messages_dropped.get() > dropped {
                        // The question may be among what was dropped: it is asked again.
                        return;
                    }
                }
                (silence.since, silence.was_deaf) = (None, false);
                self.tell_again(within);
            }
            Some(_) => {}
        }
    }

    fn tell_again(&self, within: Duration) {
        self.parts.receipts.tell_again(within);
        self.parts.presence.tell_again(within);
    }

    fn pause(&self, is_up: bool, passed: usize) -> Duration {
        let every = self.parts.look_every;
        match is_up {
            false => LOOK_AWAY.min(every),
            true if passed >= BUSY => LOOK_BUSY.max(every),
            true => every,
        }
    }

    async fn bring(&self, poll: Poll) {
        for changed in &poll.rooms {
            self.parts.connections.look(changed.chatroom_id, changed.pair, changed.version);
        }
        for ending in poll.endings {
            match ending {
                Ending::Access(chatter) => self.doubt(chatter),
                Ending::Room(room, pair) => self.parts.service.chatroom_deleted_elsewhere(room, pair),
            }
        }
        // Last, since it asks the database for each.
        for created in poll.rooms.iter().filter(|room| room.created) {
            self.parts.service.announce_chatroom_here(created.chatroom_id, created.pair).await;
        }
    }

    /// What has ended may have been forgotten again before this look.
    fn doubt_all(&self) {
        self.doubtful.lock().extend(self.parts.connections.chatters());
        self.asked.notify_one();
    }

    fn doubt(&self, chatter: ChatterId) {
        if self.parts.connections.is_connected_here(chatter) {
            self.doubtful.lock().insert(chatter);
            self.asked.notify_one();
        }
    }

    /// Asks the database what has to be known of what others said: tells of new rooms, and ends the sockets whose sign-in or
    /// account has ended.
    async fn ask(&self) {
        loop {
            self.asked.notified().await;
            let made = std::mem::take(&mut *self.made.lock());
            for (room, pair) in made {
                // Without an answer, the next look sees the room.
                self.parts.service.announce_chatroom_here(room, pair).await;
            }
            let doubtful = std::mem::take(&mut *self.doubtful.lock());
            if self.check_tokens(&doubtful).await.is_err() {
                self.doubtful.lock().extend(doubtful);
                sleep(TRY_AGAIN).await;
                self.asked.notify_one();
            }
        }
    }

    async fn check_tokens(&self, chatters: &HashSet<ChatterId>) -> Result<(), StoreError> {
        let mut tokens: HashMap<(ChatterId, Option<SignInId>), Vec<_>> = HashMap::new();
        for chatter in chatters {
            self.parts.connections.for_each(*chatter, |connection| {
                tokens.entry((*chatter, connection.sign_in_id())).or_default().push(connection.clone());
            });
        }
        let asked: Vec<(ChatterId, Option<SignInId>)> = tokens.keys().copied().collect();
        for some in asked.chunks(TOKENS_AT_ONCE) {
            for (token, standing) in self.parts.store.standings(some).await? {
                if standing.is_err() {
                    let over = tokens.remove(&token).unwrap_or_default();
                    over.iter().for_each(|connection| connection.close(Close::TOKEN_REFUSED));
                }
            }
        }
        Ok(())
    }
}

/// Since when, and until when, this instance was not sure to hear and to be heard.
#[derive(Default)]
struct Silence {
    since: Option<(Instant, Instant)>,
    /// Whether it heard nothing itself; otherwise others only missed what it told.
    was_deaf: bool,
    /// Messages that were lost until the last time.
    dropped: u64,
    has_begun: bool,
}

impl BrokerEventHandler for Cluster {
    fn on_message(&self, told: ClusterMessage) {
        let Parts { connections, registry, .. } = &self.parts;
        match told {
            ClusterMessage::Changes(changes) => {
                // A room that is too busy leaves it to the next look at the database.
                let _ = registry.send(changes.chatroom_id, Command::Relayed(changes));
            }
            ClusterMessage::Frame { chatter_id, text, durability } => {
                connections.send_here(chatter_id, &raw_text_frame(&text), durability)
            }
            ClusterMessage::RoomCreated { chatroom_id, chatters } => {
                self.made.lock().insert(chatroom_id, chatters);
                self.asked.notify_one();
            }
            ClusterMessage::AccessEnded { chatter_id } => self.doubt(chatter_id),
            ClusterMessage::RoomDeleted { chatroom_id, chatters } => {
                self.parts.service.chatroom_deleted_elsewhere(chatroom_id, chatters)
            }
            ClusterMessage::RepeatRequest { within_s } => self.tell_again(Duration::from_secs(within_s)),
        }
    }

    fn on_reconnected(&self) {
        self.missed.notify_one();
    }

    fn on_disconnected(&self) {
        self.was_deaf.store(true, Ordering::Relaxed);
        self.missed.notify_one();
    }

    fn on_presumed_dead(&self) {
        self.parts.connections.all_untold();
    }
}
