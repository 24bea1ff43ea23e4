//! Several instances in one process: each hears at once what the others tell.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::directory::{Here, Orphans};
use super::{Broker, BrokerEventHandler, ClusterMessage, Counters, Kind, Work, Worker};
use crate::domain::ChatterId;
use crate::metrics::broker::Tally;

/// How much one member may be told before it hears: the same as over Redis.
const QUEUE: usize = 8_192;
/// Chatters of a dead member that are handed out at once.
const ORPHANS: usize = 256;

/// Where members meet.
#[derive(Clone, Default)]
pub struct Hub(Arc<Mutex<Vec<Chair>>>);

/// Where a member sits, and what is left of one who is gone.
struct Chair {
    seat: Weak<Seat>,
    here: Arc<Here>,
    /// Who takes the chatters of a dead one off.
    heir: Weak<Seat>,
}

/// One instance at the hub.
#[derive(Clone)]
pub(super) struct Member {
    hub: Hub,
    seat: Arc<Seat>,
}

/// What the others see of a member.
struct Seat {
    listens: Mutex<HashMap<ChatterId, usize>>,
    here: Arc<Here>,
    inbox: mpsc::Sender<ClusterMessage>,
    tally: Arc<Tally>,
}

/// What a member has yet to hear.
pub(super) struct Inbox {
    message: mpsc::Receiver<ClusterMessage>,
    tally: Arc<Tally>,
}

impl Hub {
    /// Without members.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// One more instance; its worker has to be run.
    #[must_use]
    pub fn join(&self) -> (Broker, Worker) {
        let (inbox, message) = mpsc::channel(QUEUE);
        let tally = Arc::new(Tally::default());
        let here = Arc::new(Here::default());
        let seat = Arc::new(Seat { listens: Mutex::default(), here: here.clone(), inbox, tally: tally.clone() });
        self.0.lock().push(Chair { seat: Arc::downgrade(&seat), here, heir: Weak::new() });
        let member = Member { hub: self.clone(), seat };
        (Broker(Kind::Memory(member)), Worker(Work::Memory(Inbox { message, tally })))
    }
}

impl Member {
    pub fn publish(&self, message: &ClusterMessage) {
        let (first, second) = message.chatters();
        // The lock is held while it is handed out, so that all members hear in one order.
        let chairs = self.hub.0.lock();
        for seat in chairs.iter().filter_map(|chair| chair.seat.upgrade()).filter(|seat| !Arc::ptr_eq(seat, &self.seat))
        {
            let listens = seat.listens.lock();
            let subscriptions =
                listens.contains_key(&first) || second.is_some_and(|second| listens.contains_key(&second));
            if subscriptions && seat.inbox.try_send(message.clone()).is_err() {
                self.seat.tally.dropped.add(1);
            }
        }
        self.seat.tally.sent.add(1);
    }

    pub fn subscribe(&self, chatter: ChatterId) {
        *self.seat.listens.lock().entry(chatter).or_default() += 1;
    }

    pub fn unsubscribe(&self, chatter: ChatterId) {
        let mut listens = self.seat.listens.lock();
        if let Some(count) = listens.get_mut(&chatter) {
            *count -= 1;
            if *count == 0 {
                listens.remove(&chatter);
            }
        }
    }

    pub fn join(&self, chatter: ChatterId) {
        // The lock is held until it is written, so that of two who come at once one is the first.
        let chairs = self.hub.0.lock();
        self.seat.here.join(chatter);
        if self.others(&chairs).any(|here| here.has(chatter)) {
            self.seat.here.set_joined(&[chatter], &[chatter]);
        }
    }

    pub fn leave(&self, chatter: ChatterId) {
        self.seat.here.leave(chatter);
    }

    pub fn joined(&self, chatter: ChatterId) -> bool {
        self.seat.here.joined(chatter)
    }

    pub fn connected_elsewhere(&self, chatters: &[ChatterId]) -> HashSet<ChatterId> {
        let chairs = self.hub.0.lock();
        chatters.iter().copied().filter(|chatter| self.others(&chairs).any(|here| here.has(*chatter))).collect()
    }

    fn others<'a>(&self, chairs: &'a [Chair]) -> impl Iterator<Item = &'a Here> {
        let own = self.seat.here.clone();
        let alive = chairs.iter().filter(|chair| chair.seat.strong_count() > 0).map(|chair| &*chair.here);
        alive.filter(move |here| !std::ptr::eq(*here, &*own))
    }

    pub fn orphans(&self) -> Option<Orphans> {
        let mut chairs = self.hub.0.lock();
        chairs.retain(|chair| chair.seat.strong_count() > 0 || !chair.here.all().is_empty());
        let own = Arc::downgrade(&self.seat);
        let free = |chair: &&mut Chair| chair.heir.strong_count() == 0 || chair.heir.ptr_eq(&own);
        let dead = chairs.iter_mut().filter(|chair| chair.seat.strong_count() == 0).find(free)?;
        dead.heir.clone_from(&own);
        let chatters: Vec<ChatterId> = dead.here.all().into_iter().take(ORPHANS).collect();
        Some(Orphans { chatters, silent: Duration::ZERO, instance: name(&dead.here), members: Vec::new() })
    }

    pub fn settle(&self, orphans: &Orphans) -> bool {
        let chairs = self.hub.0.lock();
        if let Some(dead) = chairs.iter().find(|chair| name(&chair.here) == orphans.instance) {
            orphans.chatters.iter().for_each(|chatter| dead.here.forget(*chatter));
        }
        true
    }

    pub fn counters(&self) -> Counters {
        self.seat.tally.read()
    }
}

/// What tells members from each other.
fn name(here: &Arc<Here>) -> String {
    format!("{:p}", Arc::as_ptr(here))
}

impl Inbox {
    pub async fn run(mut self, handler: &dyn BrokerEventHandler) {
        handler.on_reconnected();
        while let Some(message) = self.message.recv().await {
            self.tally.heard.add(1);
            handler.on_message(message);
        }
    }
}
