//! How many frames that complete no message one socket's peer may send: pings, pongs and fragments.
//!
//! Messages have rates of their own, above this module; a frame that is none costs work all the same.

use std::time::{Duration, Instant};

use actix_http::ws::{Frame, Item};

use super::framing::Close;

/// The time window of both limits.
const WINDOW: Duration = Duration::from_secs(10);
/// Pings, pongs and empty fragments within the window.
const CONTROL_MAX: u32 = 200;
/// Fragments within the window: a message of the largest default size in pieces of 14 bytes.
const FRAGMENTS_MAX: u32 = 10_000;

/// Counts within a time window, which begins again when it is over.
pub struct Counter {
    count: u32,
    since: Instant,
}

impl Counter {
    /// Nothing is counted yet.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self { count: 0, since: now }
    }

    /// Counts one more; true if it is one too many within the window. The clock is read only at the limit.
    pub fn is_too_many(&mut self, max: u32, window: Duration) -> bool {
        if self.count >= max {
            if self.since.elapsed() <= window {
                return true;
            }
            *self = Self::new(Instant::now());
        }
        self.count += 1;
        false
    }
}

/// The frames of one socket's peer that completed no message.
pub(super) struct Pace {
    control: Counter,
    fragments: Counter,
}

impl Pace {
    pub(super) fn new() -> Self {
        let now = Instant::now();
        Self { control: Counter::new(now), fragments: Counter::new(now) }
    }

    /// Counts this frame, unless it is a whole message; refuses it where there are too many.
    pub(super) fn count(&mut self, frame: &Frame) -> Result<(), Close> {
        let is_too_fast = match frame {
            Frame::Text(_) | Frame::Binary(_) | Frame::Close(_) => false,
            Frame::Ping(_) | Frame::Pong(_) => self.control.is_too_many(CONTROL_MAX, WINDOW),
            Frame::Continuation(item) if content(item).is_empty() => self.control.is_too_many(CONTROL_MAX, WINDOW),
            Frame::Continuation(_) => self.fragments.is_too_many(FRAGMENTS_MAX, WINDOW),
        };
        if is_too_fast { Err(Close::TOO_FAST) } else { Ok(()) }
    }
}

fn content(item: &Item) -> &[u8] {
    match item {
        Item::FirstText(data) | Item::FirstBinary(data) | Item::Continue(data) | Item::Last(data) => data,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passed(frames: impl Iterator<Item = Frame>) -> usize {
        let mut pace = Pace::new();
        frames.take_while(|frame| pace.count(frame).is_ok()).count()
    }

    #[test]
    fn a4_pings_pongs_and_empty_fragments_share_one_limit() {
        let empty = |n: u32| match n % 3 {
            0 => Frame::Ping("p".into()),
            1 => Frame::Pong("p".into()),
            _ => Frame::Continuation(Item::Continue("".into())),
        };
        assert_eq!(passed((0..10_000).map(empty)), CONTROL_MAX as usize);
        let fragments = (0..20_000).map(|_| Frame::Continuation(Item::Continue("x".into())));
        assert_eq!(passed(fragments), FRAGMENTS_MAX as usize);
        assert_eq!(passed((0..20_000).map(|_| Frame::Text("x".into()))), 20_000);
    }

    #[test]
    fn a_counter_begins_again_after_its_window() {
        let mut counter = Counter::new(Instant::now());
        assert!((0..3).all(|_| !counter.is_too_many(3, WINDOW)) && counter.is_too_many(3, WINDOW));
        counter.since = Instant::now().checked_sub(WINDOW * 2).expect("a clock that runs");
        assert!((0..3).all(|_| !counter.is_too_many(3, WINDOW)) && counter.is_too_many(3, WINDOW));
    }
}
