//! When a socket is closed for what was refused: too many frames within a time window, or a token.

use std::time::{Duration, Instant};

use crate::problem::{Code, Problem};
use crate::websocket::framing::Close;

/// Frames that may be refused as too fast within [`REFUSALS_WINDOW`] before the socket is closed.
const REFUSALS_MAX: u32 = 100;
const REFUSALS_WINDOW: Duration = Duration::from_secs(10);
/// Frames of another protocol that are tolerated within [`FOREIGN_WINDOW`] before the socket is closed.
const FOREIGN_MAX: u32 = 10;
const FOREIGN_WINDOW: Duration = Duration::from_secs(60);

/// Frames that were refused as too fast: a client that ignores `rate_limited` is closed.
pub(super) struct Refusals(Window);

/// Frames that are none of the protocol's.
pub(super) struct ForeignFrames(Window);

struct Window {
    count: u32,
    since: Instant,
}

impl Refusals {
    pub(super) fn new(now: Instant) -> Self {
        Self(Window { count: 0, since: now })
    }

    /// Counts one more; true if there are too many.
    pub(super) fn count_is_too_high(&mut self) -> bool {
        self.0.add(REFUSALS_WINDOW) > REFUSALS_MAX
    }
}

impl ForeignFrames {
    pub(super) fn new(now: Instant) -> Self {
        Self(Window { count: 0, since: now })
    }

    /// Counts one more; true if there are too many.
    pub(super) fn count_is_too_high(&mut self) -> bool {
        self.0.add(FOREIGN_WINDOW) > FOREIGN_MAX
    }
}

impl Window {
    fn add(&mut self, length: Duration) -> u32 {
        if self.since.elapsed() > length {
            *self = Self { count: 0, since: Instant::now() };
        }
        self.count += 1;
        self.count
    }
}

/// How a socket is closed whose token could not be accepted.
pub(super) fn close_for(problem: &Problem) -> Close {
    if problem.code == Code::TokenRevoked { Close::TOKEN_REFUSED } else { Close::UNAVAILABLE }
}
