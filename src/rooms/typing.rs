//! Which participants are typing, and when the other one has to be sent that. Never stored; expires by itself. Pure.

use std::time::{Duration, Instant};

use super::command::TypingChange;
use crate::domain::ChatterId;

/// A chatter whose device has not repeated its typing frame for this long has stopped typing.
const EXPIRY: Duration = Duration::from_secs(6);
/// A repeated typing frame is sent on at most this often, for devices that connected meanwhile.
const REPEAT_EVERY: Duration = Duration::from_secs(3);

/// The participants who are typing.
#[derive(Default)]
pub(super) struct Typists(Vec<Typist>);

struct Typist {
    chatter_id: ChatterId,
    /// When the other participant was last sent it.
    sent_at: Instant,
    expires_at: Instant,
}

impl Typists {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Records a typing frame. True if it has to be sent on to the other participant.
    pub(super) fn update(&mut self, chatter_id: ChatterId, change: TypingChange, now: Instant) -> bool {
        let expires_at = now + EXPIRY;
        let typist = self.0.iter_mut().find(|typist| typist.chatter_id == chatter_id);
        match (typist, change) {
            (None, TypingChange::Started) => {
                self.0.push(Typist { chatter_id, sent_at: now, expires_at });
                true
            }
            (None, TypingChange::Stopped) => false,
            (Some(_), TypingChange::Stopped) => {
                self.remove(chatter_id);
                true
            }
            (Some(typist), TypingChange::Started) => {
                typist.expires_at = expires_at;
                let is_due = now.duration_since(typist.sent_at) >= REPEAT_EVERY;
                if is_due {
                    typist.sent_at = now;
                }
                is_due
            }
        }
    }

    /// The chatter is no longer typing.
    pub(super) fn remove(&mut self, chatter_id: ChatterId) {
        self.0.retain(|typist| typist.chatter_id != chatter_id);
    }

    /// Removes the chatters whose typing has expired, and returns them.
    pub(super) fn remove_expired(&mut self, now: Instant) -> Vec<ChatterId> {
        let expired = self.0.iter().filter(|typist| typist.expires_at <= now).map(|typist| typist.chatter_id).collect();
        self.0.retain(|typist| typist.expires_at > now);
        expired
    }
}

#[cfg(test)]
mod tests {
    use super::TypingChange::{Started, Stopped};
    use super::*;

    const ANN: ChatterId = ChatterId::new(1);

    #[test]
    fn typing_is_repeated_every_three_seconds_and_expires_after_six() {
        let (mut typists, start) = (Typists::default(), Instant::now());
        let at = |ms: u64| start + Duration::from_millis(ms);
        assert!(typists.update(ANN, Started, at(0)));
        assert!(!typists.update(ANN, Started, at(1_000)), "sent a second ago");
        assert!(typists.update(ANN, Started, at(3_000)), "for devices that connected meanwhile");
        assert!(typists.remove_expired(at(8_900)).is_empty());
        assert_eq!(typists.remove_expired(at(9_000)), [ANN]);
        assert!(!typists.update(ANN, Stopped, at(9_001)), "expired already");
        assert!(typists.update(ANN, Started, at(9_002)) && typists.update(ANN, Stopped, at(9_003)));
        assert!(typists.is_empty());
    }
}
