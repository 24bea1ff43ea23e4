//! Lines on their way, sent one at a time, so that they keep their order across refusals and lost connections. Each
//! line keeps its `client_id` until an echo proves that it is stored, however often it is sent.

use std::collections::VecDeque;
use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

/// How many lines may wait for their echo before no more are read.
const WAITING_MAX: usize = 16;
/// A little below what a server takes by default: 10 a second, 30 at once.
const SEND_EVERY: Duration = Duration::from_millis(125);
const SEND_BURST: u32 = 20;

/// How often the server may fail at a line, or lose the connection over it, before the lines behind it have their turn.
const TRIES_MAX: u32 = 6;

struct Line {
    client_id: String,
    content: String,
    /// How often it was sent in vain.
    tries: u32,
}

/// Lines that no echo has confirmed yet, in their order.
pub(super) struct Outbox {
    lines: VecDeque<Line>,
    /// The first line was sent and has no answer yet.
    in_flight: bool,
    /// When the next line would be due if there were no burst.
    due: Instant,
    not_before: Instant,
}

impl Outbox {
    pub(super) fn new(now: Instant) -> Self {
        Self { lines: VecDeque::new(), in_flight: false, due: now, not_before: now }
    }

    pub(super) fn push(&mut self, content: String) {
        let client_id = format!("{:032x}", rand::random::<u128>());
        self.lines.push_back(Line { client_id, content, tries: 0 });
    }

    pub(super) fn len(&self) -> usize {
        self.lines.len()
    }

    pub(super) fn is_full(&self) -> bool {
        self.lines.len() >= WAITING_MAX
    }

    /// When the next line may be sent; none if there is none, or one is on its way.
    pub(super) fn ready_at(&self) -> Option<Instant> {
        let burst = SEND_EVERY * (SEND_BURST - 1);
        let paced = self.due.checked_sub(burst).unwrap_or(self.due);
        (!self.in_flight && !self.lines.is_empty()).then(|| paced.max(self.not_before))
    }

    /// The frame of the next line; counts as sent from now on.
    pub(super) fn next_frame(&mut self, now: Instant) -> Option<String> {
        let line = self.lines.front().filter(|_| !self.in_flight)?;
        let frame = json!({"message": line.content, "client_id": line.client_id}).to_string();
        self.in_flight = true;
        self.due = self.due.max(now) + SEND_EVERY;
        Some(frame)
    }

    /// An echo or the history has this line, the first: it is stored.
    pub(super) fn confirm(&mut self, client_id: &str) -> bool {
        let first = self.lines.pop_front_if(|line| line.client_id == client_id).is_some();
        if first {
            self.in_flight = false;
        }
        first
    }

    /// The line on its way must be sent again, not before this time: the same `client_id` makes that harmless.
    pub(super) fn send_again(&mut self, not_before: Instant) {
        self.not_before = self.not_before.max(not_before);
        self.in_flight = false;
    }

    /// The line on its way has failed for a reason of its own; true if it has had all its tries, so that it has to be
    /// given up.
    pub(super) fn has_failed_too_often(&mut self) -> bool {
        let failed = self.lines.front_mut().filter(|_| self.in_flight);
        failed.is_some_and(|line| {
            line.tries += 1;
            line.tries >= TRIES_MAX
        })
    }

    /// Gives up the line on its way, if there is one.
    pub(super) fn give_up(&mut self) -> bool {
        std::mem::take(&mut self.in_flight) && self.lines.pop_front().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client_id(frame: &str) -> String {
        serde_json::from_str::<serde_json::Value>(frame).unwrap()["client_id"].as_str().unwrap().to_owned()
    }

    #[test]
    fn a_line_keeps_its_client_id_until_it_is_proven_and_the_next_one_waits() {
        let now = Instant::now();
        let mut outbox = Outbox::new(now);
        outbox.push("one".to_owned());
        outbox.push("two".to_owned());
        let first = client_id(&outbox.next_frame(now).unwrap());
        assert!(outbox.next_frame(now).is_none() && outbox.ready_at().is_none(), "one at a time");
        outbox.send_again(now);
        assert_eq!(client_id(&outbox.next_frame(now).unwrap()), first);
        assert!(outbox.confirm(&first) && !outbox.confirm(&first));
        assert_ne!(client_id(&outbox.next_frame(now).unwrap()), first);
        assert_eq!(outbox.len(), 1);
    }

    #[test]
    fn lines_are_paced_after_a_burst_and_after_a_refusal() {
        let now = Instant::now();
        let mut outbox = Outbox::new(now);
        for _ in 0..SEND_BURST {
            outbox.push("x".to_owned());
            assert!(outbox.ready_at().unwrap() <= now);
            let sent = client_id(&outbox.next_frame(now).unwrap());
            assert!(outbox.confirm(&sent));
        }
        outbox.push("x".to_owned());
        assert_eq!(outbox.ready_at(), Some(now + SEND_EVERY));
        outbox.send_again(now + Duration::from_secs(3));
        assert_eq!(outbox.ready_at(), Some(now + Duration::from_secs(3)));
    }

    #[test]
    fn a_refusal_gives_up_the_line_on_its_way_and_no_other() {
        let now = Instant::now();
        let mut outbox = Outbox::new(now);
        outbox.push("one".to_owned());
        outbox.push("two".to_owned());
        assert!(!outbox.give_up(), "none is on its way");
        outbox.next_frame(now).unwrap();
        assert!(outbox.give_up() && !outbox.give_up());
        assert_eq!(outbox.len(), 1);
    }

    #[test]
    fn c9_a_line_that_fails_again_and_again_has_six_tries() {
        let now = Instant::now();
        let mut outbox = Outbox::new(now);
        outbox.push("poison".to_owned());
        outbox.push("later".to_owned());
        assert!(!outbox.has_failed_too_often(), "none is on its way");
        for _ in 1..TRIES_MAX {
            outbox.next_frame(now).unwrap();
            assert!(!outbox.has_failed_too_often());
            outbox.send_again(now);
        }
        outbox.next_frame(now).unwrap();
        assert!(outbox.has_failed_too_often() && outbox.give_up());
        assert!(outbox.next_frame(now).unwrap().contains("later"));
    }
}
