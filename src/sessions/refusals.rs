//! When a socket is closed for what was refused: too many frames within a time window, or a token.

use std::time::{Duration, Instant};

use crate::problem::{Code, Problem};
use crate::websocket::framing::Close;
use crate::websocket::pace::Counter;

/// Frames that may be refused as too fast within [`WINDOW`] before the socket is closed.
const REFUSALS_MAX: u32 = 100;
/// Frames that are no valid ones within [`WINDOW`]; further ones are refused as too fast, whatever rates are configured.
const MALFORMED_MAX: u32 = 200;
const WINDOW: Duration = Duration::from_secs(10);
/// Frames of another protocol that are tolerated within [`FOREIGN_WINDOW`] before the socket is closed.
const FOREIGN_MAX: u32 = 10;
const FOREIGN_WINDOW: Duration = Duration::from_secs(60);

/// Frames that were refused as too fast: a client that ignores `rate_limited` is closed.
pub(super) struct Refusals(Counter);

/// Frames that could not be read, or whose values break a rule.
pub(super) struct BadFrames {
    malformed: Counter,
    foreign: Counter,
}

impl Refusals {
    pub(super) fn new(now: Instant) -> Self {
        Self(Counter::new(now))
    }

    /// Counts one more; true if there are too many.
    pub(super) fn count_is_too_high(&mut self) -> bool {
        self.0.is_too_many(REFUSALS_MAX, WINDOW)
    }
}

impl BadFrames {
    pub(super) fn new(now: Instant) -> Self {
        Self { malformed: Counter::new(now), foreign: Counter::new(now) }
    }

    /// Counts a frame of another protocol; true if there are too many.
    pub(super) fn foreign_is_too_high(&mut self) -> bool {
        self.foreign.is_too_many(FOREIGN_MAX, FOREIGN_WINDOW)
    }

    /// Counts a frame that is refused with this problem; gives the problem to refuse it with.
    pub(super) fn refusal(&mut self, problem: Problem) -> Problem {
        if self.malformed.is_too_many(MALFORMED_MAX, WINDOW) {
            Problem::new(Code::RateLimited, "Too many frames that are not valid.").retry_after(WINDOW)
        } else {
            problem
        }
    }
}

/// How a socket is closed whose token could not be accepted.
pub(super) fn close_for(problem: &Problem) -> Close {
    if matches!(problem.code.status(), 401 | 403) { Close::TOKEN_REFUSED } else { Close::UNAVAILABLE }
}
