//! Several instances in one process: each hears at once what the others tell.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::tally::Tally;
use super::{Counters, Hear, Kind, Relay, Told, Work, Worker};
use crate::domain::ChatterId;

/// How much one member may be told before it hears: the same as over Redis.
const QUEUE: usize = 8_192;

/// Where members meet.
#[derive(Clone, Default)]
pub struct Hub(Arc<Mutex<Vec<Weak<Seat>>>>);

/// One instance at the hub.
#[derive(Clone)]
pub(super) struct Member {
    hub: Hub,
    seat: Arc<Seat>,
}

/// What the others see of a member.
struct Seat {
    listens: Mutex<HashMap<ChatterId, usize>>,
    inbox: mpsc::Sender<Told>,
    tally: Arc<Tally>,
}

/// What a member has yet to hear.
pub(super) struct Inbox {
    told: mpsc::Receiver<Told>,
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
    pub fn join(&self) -> (Relay, Worker) {
        let (inbox, told) = mpsc::channel(QUEUE);
        let tally = Arc::new(Tally::default());
        let seat = Arc::new(Seat { listens: Mutex::default(), inbox, tally: tally.clone() });
        let mut seats = self.0.lock();
        seats.retain(|seat| seat.strong_count() > 0);
        seats.push(Arc::downgrade(&seat));
        let member = Member { hub: self.clone(), seat };
        (Relay(Kind::Memory(member)), Worker(Work::Memory(Inbox { told, tally })))
    }
}

impl Member {
    pub fn tell(&self, told: &Told) {
        let (first, second) = told.chatters();
        // The lock is held while it is handed out, so that all members hear in one order.
        let seats = self.hub.0.lock();
        for seat in seats.iter().filter_map(Weak::upgrade).filter(|seat| !Arc::ptr_eq(seat, &self.seat)) {
            let listens = seat.listens.lock();
            let wanted = listens.contains_key(&first) || second.is_some_and(|second| listens.contains_key(&second));
            if wanted && seat.inbox.try_send(told.clone()).is_err() {
                self.seat.tally.dropped.add(1);
            }
        }
        self.seat.tally.sent.add(1);
    }

    pub fn listen(&self, chatter: ChatterId) {
        *self.seat.listens.lock().entry(chatter).or_default() += 1;
    }

    pub fn unlisten(&self, chatter: ChatterId) {
        let mut listens = self.seat.listens.lock();
        if let Some(count) = listens.get_mut(&chatter) {
            *count -= 1;
            if *count == 0 {
                listens.remove(&chatter);
            }
        }
    }

    pub fn counters(&self) -> Counters {
        self.seat.tally.read()
    }
}

impl Inbox {
    pub async fn run(mut self, hear: &dyn Hear) {
        hear.reconnected();
        while let Some(told) = self.told.recv().await {
            self.tally.heard.add(1);
            hear.told(told);
        }
    }
}
