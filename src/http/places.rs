//! Places for large answers: how many of them one chatter, one address and all clients may be reading at once.
//!
//! An answer that does not fit into the buffers of its connection waits in memory until its client has read it. It
//! holds a place for so long, so the memory of slow readers is bounded, and no client takes the places of others.

use std::collections::HashMap;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use actix_web::body::{BodySize, MessageBody};
use bytes::Bytes;
use futures_util::future::LocalBoxFuture;
use parking_lot::Mutex;

use crate::domain::ChatterId;
use crate::limits::{Sender, network};
use crate::problem::{Code, Problem};
use crate::sessions::bulk::SMALL_BYTES;

/// The places of one chatter.
const CHATTER_MAX: usize = 8;
/// The places of the clients of one address that have no token.
const ANONYMOUS_MAX: usize = 8;
/// The places of all clients of one address.
const ADDRESS_MAX: usize = 64;
/// All places.
const PLACES_MAX: usize = 256;

/// The places of one instance.
#[derive(Default)]
pub struct Places {
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    all: usize,
    of_reader: HashMap<Sender, usize>,
    of_address: HashMap<IpAddr, usize>,
}

/// A place; it is free again when this is dropped.
pub(super) struct Place {
    places: Arc<Places>,
    reader: Sender,
    address: IpAddr,
}

impl Places {
    /// A place for a client of this address, with a token of this chatter or without one.
    pub(super) fn take(self: &Arc<Self>, chatter: Option<ChatterId>, address: IpAddr) -> Result<Place, Problem> {
        let address = network(address);
        let (reader, reader_max) = match chatter {
            Some(chatter) => (Sender::Chatter(chatter), CHATTER_MAX),
            None => (Sender::Address(address), ANONYMOUS_MAX),
        };
        let mut taken = self.taken.lock();
        let of_reader = taken.of_reader.get(&reader).copied().unwrap_or(0);
        let of_address = taken.of_address.get(&address).copied().unwrap_or(0);
        if of_reader >= reader_max || of_address >= ADDRESS_MAX {
            let detail = "You are reading too many long lists at once. Read those to their end, then try again.";
            return Err(Problem::new(Code::RateLimited, detail));
        }
        if taken.all >= PLACES_MAX {
            let detail = "Too many long lists are being read. Try again, or ask for shorter pages.";
            return Err(Problem::new(Code::Busy, detail));
        }
        taken.all += 1;
        taken.of_reader.insert(reader, of_reader + 1);
        taken.of_address.insert(address, of_address + 1);
        Ok(Place { places: self.clone(), reader, address })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken.lock();
        taken.all -= 1;
        let Taken { of_reader, of_address, .. } = &mut *taken;
        release(of_reader, &self.reader);
        release(of_address, &self.address);
    }
}

fn release<K: std::hash::Hash + Eq>(counts: &mut HashMap<K, usize>, key: &K) {
    let Some(count) = counts.get_mut(key) else { return };
    *count -= 1;
    if *count == 0 {
        counts.remove(key);
    }
}

/// The body of a large answer. It is written in small pieces, and ends only when the last of them has been taken, so
/// the place is held until then.
pub(super) struct LargeBody {
    /// Until this ends, nothing is written.
    turn: Option<LocalBoxFuture<'static, ()>>,
    rest: Bytes,
    _place: Place,
}

impl LargeBody {
    /// Writes these bytes after this turn.
    pub(super) fn new(turn: impl Future<Output = ()> + 'static, bytes: impl Into<Bytes>, place: Place) -> Self {
        Self { turn: Some(Box::pin(turn)), rest: bytes.into(), _place: place }
    }
}

impl MessageBody for LargeBody {
    type Error = Problem;

    fn size(&self) -> BodySize {
        BodySize::Sized(self.rest.len() as u64)
    }

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Problem>>> {
        if let Some(turn) = &mut self.turn {
            ready!(turn.as_mut().poll(context));
            self.turn = None;
        }
        Poll::Ready(next_piece(&mut self.rest).map(Ok))
    }
}

/// Takes the next piece of an answer.
pub(super) fn next_piece(rest: &mut Bytes) -> Option<Bytes> {
    let length = rest.len().min(SMALL_BYTES);
    (length > 0).then(|| rest.split_to(length))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(places: &Arc<Places>, chatter: Option<i64>, address: &str, tries: usize) -> Vec<Place> {
        let (chatter, address) = (chatter.map(ChatterId::new), address.parse().unwrap());
        (0..tries).filter_map(|_| places.take(chatter, address).ok()).collect()
    }

    #[test]
    fn the_places_of_one_chatter_or_address_leave_those_of_others() {
        let places = Arc::default();
        let own = taken(&places, Some(1), "10.0.0.1", 100);
        assert_eq!(own.len(), CHATTER_MAX);
        assert_eq!(taken(&places, None, "10.0.0.1", 100).len(), ANONYMOUS_MAX);
        assert_eq!(taken(&places, Some(2), "10.0.0.1", 1).len(), 1);
        let crowd: Vec<_> = (2..100).flat_map(|id| taken(&places, Some(id), "10.0.0.1", 100)).collect();
        assert_eq!(crowd.len() + own.len(), ADDRESS_MAX);
        assert_eq!(taken(&places, Some(1_000), "10.0.0.2", 100).len(), CHATTER_MAX);
    }

    #[test]
    fn a_full_instance_is_busy_and_a_place_that_was_dropped_is_free() {
        let places: Arc<Places> = Arc::default();
        let all: Vec<_> =
            (0..100).flat_map(|n| taken(&places, Some(n), &format!("10.0.{}.1", n / 8), CHATTER_MAX)).collect();
        assert_eq!(all.len(), PLACES_MAX);
        let refused = places.take(Some(ChatterId::new(1_000)), "10.1.0.1".parse().unwrap());
        assert_eq!(refused.map(|_| ()).unwrap_err().code, Code::Busy);
        drop(all);
        let taken = places.taken.lock();
        assert!(taken.all == 0 && taken.of_reader.is_empty() && taken.of_address.is_empty());
    }
}
