//! Polls the database for changes of other instances, which finds whatever their messages did not bring.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use super::access::AccessCheck;
use super::presence::Presence;
use super::receipts::Receipts;
use super::room_changes::RoomChanges;
use super::silence::{Observation, Silence, Step, Subscription};
use crate::broker::{Broker, ClusterMessage, State};
use crate::connections::registry::ConnectionRegistry;
use crate::store::Store;
use crate::store::change_feed::{Ending, FeedPosition, Poll};

/// The pause between two polls while messages of other instances cannot arrive.
const EVERY_WHILE_AWAY: Duration = Duration::from_secs(1);
/// The pause while messages arrive and a poll scans at least this many chats.
const EVERY_WHILE_BUSY: Duration = Duration::from_secs(5);
const BUSY: usize = 20_000;
/// A change in the database may still be on its way to the connections, by message or by commit, for this long.
const IN_TRANSIT: Duration = Duration::from_millis(300);
/// After this long without a poll, an ending may be in the database no longer: half of the time for which it is kept.
const ENDINGS_EXPIRE: Duration = Duration::from_secs(1_800);

/// The polling task.
pub(super) struct Poller {
    parts: Parts,
    /// Ends the pause.
    wake: Notify,
    /// The subscription broke since the last poll.
    was_disconnected: AtomicBool,
}

/// What the poll reads, and the parts to which it brings changes.
pub(super) struct Parts {
    pub(super) store: Arc<Store>,
    pub(super) connections: Arc<ConnectionRegistry>,
    pub(super) broker: Arc<dyn Broker>,
    pub(super) receipts: Arc<Receipts>,
    pub(super) presence: Arc<Presence>,
    pub(super) access: Arc<AccessCheck>,
    pub(super) room_changes: Arc<RoomChanges>,
    /// The pause between two polls that scan few chats.
    pub(super) every: Duration,
}

impl Poller {
    pub(super) fn new(parts: Parts) -> Self {
        Self { parts, wake: Notify::new(), was_disconnected: AtomicBool::new(false) }
    }

    /// Polls at once, as messages may have been missed.
    pub(super) fn reconnected(&self) {
        self.wake.notify_one();
    }

    /// Polls at once, and more often until the subscription is back.
    pub(super) fn disconnected(&self) {
        self.was_disconnected.store(true, Ordering::Relaxed);
        self.wake.notify_one();
    }

    /// Reads the position anew at once, since ids have begun anew.
    pub(super) fn epoch_changed(&self) {
        self.wake.notify_one();
    }

    /// Polls for as long as the instance runs. `position` dates from before there were connections.
    pub(super) async fn run(&self, mut position: FeedPosition) {
        let mut silence = Silence::default();
        let mut scanned = 0;
        let mut polled_at = Instant::now();
        loop {
            let state = self.parts.broker.state();
            self.end_silence(&mut silence, state);
            // Whether the pause ended early makes no difference.
            let _ = timeout(self.pause(state, scanned), self.wake.notified()).await;
            if !self.parts.store.is_of_this_epoch(&position) {
                // Ids have begun anew, perhaps below those of the position.
                match self.parts.store.feed_position().await {
                    Ok(of_this_epoch) => position = of_this_epoch,
                    Err(_) => continue,
                }
            }
            match self.parts.store.poll(&mut position).await {
                Ok(poll) => {
                    scanned = poll.scanned;
                    if std::mem::replace(&mut polled_at, Instant::now()).elapsed() > ENDINGS_EXPIRE {
                        self.parts.access.recheck_all();
                    }
                    if poll.has_more {
                        self.wake.notify_one();
                    }
                    sleep(IN_TRANSIT).await;
                    self.apply(poll).await;
                }
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::debug!(error, "the database did not answer the poll; the next poll repeats it");
                }
            }
        }
    }

    fn pause(&self, state: State, scanned: usize) -> Duration {
        if state != State::Up {
            EVERY_WHILE_AWAY.min(self.parts.every)
        } else if scanned >= BUSY {
            EVERY_WHILE_BUSY.max(self.parts.every)
        } else {
            self.parts.every
        }
    }

    /// Once messages go through again: asks the other instances for what this one has missed, and repeats what they
    /// have missed of this one.
    fn end_silence(&self, silence: &mut Silence, state: State) {
        let broker = &self.parts.broker;
        let was_disconnected = self.was_disconnected.swap(false, Ordering::Relaxed);
        let subscription = match state {
            State::Up if was_disconnected => Subscription::Restored,
            State::Up => Subscription::Intact,
            State::Single | State::Away { .. } => Subscription::Down,
        };
        let dropped = broker.metrics().messages_dropped.get();
        let connections = self.parts.connections.count();
        let within = match silence.observe(Observation { now: Instant::now(), subscription, dropped, connections }) {
            Step::None => return self.parts.receipts.release_old(),
            Step::Wait => return,
            Step::Repeat(within) => within,
            Step::AskAndRepeat(within) => {
                broker.publish(ClusterMessage::RepeatRequest { within_s: within.as_secs() + 1 });
                if broker.metrics().messages_dropped.get() > dropped {
                    // The question may be among the dropped messages. The next round asks again.
                    return;
                }
                within
            }
        };
        silence.end();
        self.parts.receipts.repeat(within);
        self.parts.presence.repeat(within);
    }

    async fn apply(&self, poll: Poll) {
        for changed in &poll.rooms {
            self.parts.connections.check_version(changed.chatroom_id, changed.pair, changed.version);
        }
        for ending in poll.endings {
            match ending {
                Ending::Access(chatter) => self.parts.access.recheck(chatter),
                Ending::Room(room, participants) => self.parts.room_changes.deleted(room, participants),
            }
        }
        // New rooms come last, since each of them takes a query.
        for created in poll.rooms.iter().filter(|room| room.created) {
            self.parts.room_changes.announce(created.chatroom_id, created.pair).await;
        }
    }
}
