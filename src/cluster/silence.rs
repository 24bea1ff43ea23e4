//! When messages between this instance and the others may have been lost, and when that has to be made up for. Pure.
//!
//! A loss in either direction opens a silence. It ends once messages have gone through both ways for a while: then this
//! instance repeats what the others may not have received, and if it may have missed messages itself, it asks the
//! others to repeat theirs.

use std::time::{Duration, Instant};

/// How long messages have to go through until every instance counts as reachable again.
const HEALED_AFTER: Duration = Duration::from_secs(3);
/// The longest time until an instance notices that Redis is unreachable.
const NOTICED_AFTER: Duration = Duration::from_secs(10);

/// The state of this instance's subscription to the messages of the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Subscription {
    /// It has been up since the last observation.
    Intact,
    /// It is up, but was not at some time since the last observation.
    Restored,
    Down,
}

/// What the poll sees before each of its rounds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Observation {
    pub(super) now: Instant,
    pub(super) subscription: Subscription,
    /// The messages of this instance that were dropped since its start.
    pub(super) dropped: u64,
    /// The connections on this instance.
    pub(super) connections: usize,
}

/// What has to be done about the silence.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// All messages go through.
    None,
    /// Messages were lost lately.
    Wait,
    /// The others may have missed messages of this instance that are at most this old.
    Repeat(Duration),
    /// The same, and this instance may have missed messages of the others.
    AskAndRepeat(Duration),
}

/// The time in which messages may have been lost.
#[derive(Debug, Default)]
pub(super) struct Silence {
    /// When a loss was first and last observed.
    observed: Option<(Instant, Instant)>,
    direction: Direction,
    /// The dropped messages at the last observation.
    dropped: u64,
    state: State,
}

/// Which messages may be lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Direction {
    /// Only messages of this instance.
    #[default]
    Outbound,
    Both,
}

/// Whether there was anything to lose so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// The subscription was never up, and there was never a connection to receive anything.
    #[default]
    Unused,
    InUse,
}

impl Silence {
    /// Takes an observation. A step that repeats is returned again by the next observation, until [`Silence::end`].
    pub(super) fn observe(&mut self, seen: Observation) -> Step {
        let was_dropped = std::mem::replace(&mut self.dropped, seen.dropped) < seen.dropped;
        let was_down = seen.subscription != Subscription::Intact;
        if seen.subscription != Subscription::Down || seen.connections > 0 {
            self.state = State::InUse;
        }
        if self.state == State::InUse && (was_dropped || was_down) {
            self.observed = Some((self.observed.map_or(seen.now, |(first, _)| first), seen.now));
            if was_down {
                self.direction = Direction::Both;
            }
        }
        let Some((first, last)) = self.observed else { return Step::None };
        if seen.now.duration_since(last) < HEALED_AFTER {
            return Step::Wait;
        }
        let within = seen.now.duration_since(first) + NOTICED_AFTER;
        match self.direction {
            Direction::Outbound => Step::Repeat(within),
            Direction::Both => Step::AskAndRepeat(within),
        }
    }

    /// The step was carried out.
    pub(super) fn end(&mut self) {
        (self.observed, self.direction) = (None, Direction::default());
    }
}

#[cfg(test)]
mod tests {
    use super::Subscription::{Down, Intact, Restored};
    use super::*;

    /// A silence, and the time at which it began to be observed.
    struct Observed(Silence, Instant);

    impl Observed {
        fn new() -> Self {
            Self(Silence::default(), Instant::now())
        }

        fn at(&mut self, s: u64, subscription: Subscription, dropped: u64) -> Step {
            self.observe(s, subscription, dropped, 1)
        }

        fn observe(&mut self, s: u64, subscription: Subscription, dropped: u64, connections: usize) -> Step {
            let now = self.1 + Duration::from_secs(s);
            self.0.observe(Observation { now, subscription, dropped, connections })
        }
    }

    #[test]
    fn nothing_is_repeated_while_messages_go_through() {
        let mut silence = Observed::new();
        assert_eq!([0, 1, 100].map(|s| silence.at(s, Intact, 0)), [Step::None, Step::None, Step::None]);
    }

    #[test]
    fn dropped_messages_are_repeated_three_seconds_after_the_last_drop() {
        let mut silence = Observed::new();
        assert_eq!(silence.at(0, Intact, 0), Step::None);
        assert_eq!(silence.at(1, Intact, 5), Step::Wait);
        assert_eq!(silence.at(3, Intact, 6), Step::Wait);
        assert_eq!(silence.at(5, Intact, 6), Step::Wait, "two seconds after the last drop");
        assert_eq!(silence.at(6, Intact, 6), Step::Repeat(Duration::from_secs(5 + 10)), "from the first drop on");
        silence.0.end();
        assert_eq!(silence.at(7, Intact, 6), Step::None);
    }

    #[test]
    fn an_outage_of_the_subscription_asks_the_others_too() {
        let mut silence = Observed::new();
        assert_eq!(silence.at(0, Intact, 0), Step::None);
        assert_eq!([10, 20, 30].map(|s| silence.at(s, Down, 0)), [Step::Wait, Step::Wait, Step::Wait]);
        assert_eq!(silence.at(31, Restored, 0), Step::Wait);
        assert_eq!(silence.at(34, Intact, 0), Step::AskAndRepeat(Duration::from_secs(24 + 10)));
        silence.0.end();
        assert_eq!(silence.at(35, Intact, 1), Step::Wait);
        assert_eq!(silence.at(38, Intact, 1), Step::Repeat(Duration::from_secs(3 + 10)), "the outage is over");
    }

    #[test]
    fn an_interruption_between_two_observations_counts_as_an_outage() {
        let mut silence = Observed::new();
        assert_eq!(silence.at(1, Restored, 0), Step::Wait);
        assert_eq!(silence.at(4, Intact, 0), Step::AskAndRepeat(Duration::from_secs(3 + 10)));
    }

    #[test]
    fn a_question_that_was_dropped_itself_is_asked_again() {
        let mut silence = Observed::new();
        assert_eq!(silence.at(1, Restored, 0), Step::Wait);
        assert_eq!(silence.at(4, Intact, 0), Step::AskAndRepeat(Duration::from_secs(3 + 10)));
        assert_eq!(silence.at(5, Intact, 1), Step::Wait, "the question is among the dropped messages");
        assert_eq!(silence.at(8, Intact, 1), Step::AskAndRepeat(Duration::from_secs(7 + 10)));
    }

    #[test]
    fn an_instance_without_connections_misses_nothing_before_its_first_subscription() {
        let mut silence = Observed::new();
        assert_eq!(silence.observe(0, Down, 0, 0), Step::None);
        assert_eq!(silence.observe(10, Down, 0, 0), Step::None);
        assert_eq!(silence.observe(20, Intact, 0, 0), Step::None);
        assert_eq!(silence.observe(30, Down, 0, 0), Step::Wait, "it was subscribed before");
        let mut silence = Observed::new();
        assert_eq!(silence.observe(0, Down, 0, 1), Step::Wait, "its connection misses messages");
    }
}
