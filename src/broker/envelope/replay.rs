//! Recognises messages that were received before: the copy on the other chatter's channel, and replays.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::MessageId;

/// How old a message may be, and by how much the clocks of two instances may differ.
pub(in crate::broker) const AGE_MAX: Duration = Duration::from_secs(30);
/// Words of 64 numbers behind the newest one of an instance that are remembered.
const WORDS: usize = 32;
/// Instances whose numbers are remembered; the one that was silent longest makes room.
const ORIGINS_MAX: usize = 1_024;

/// The numbers that were received from each instance.
#[derive(Default)]
pub(in crate::broker) struct Received {
    origins: HashMap<u64, Window>,
}

/// A sliding window over the numbers of one instance, as of RFC 4303 section 3.4.3.
struct Window {
    newest: u32,
    /// Bit n: the number that is n below the newest one was received.
    bits: [u64; WORDS],
    at: Instant,
}

impl Received {
    /// Whether this message was received, or is so far behind the newest one that it may have been.
    pub(in crate::broker) fn has(&self, id: MessageId) -> bool {
        let Some(window) = self.origins.get(&id.origin) else { return false };
        let behind = window.newest.wrapping_sub(id.counter());
        if behind > u32::MAX / 2 {
            return false;
        }
        let (word, bit) = (behind as usize / 64, behind % 64);
        window.bits.get(word).is_none_or(|word| word & (1 << bit) != 0)
    }

    /// Remembers a message whose signature was checked.
    pub(in crate::broker) fn add(&mut self, id: MessageId) {
        if self.origins.len() >= ORIGINS_MAX && !self.origins.contains_key(&id.origin) {
            let oldest = self.origins.iter().min_by_key(|(_, window)| window.at).map(|(origin, _)| *origin);
            oldest.and_then(|origin| self.origins.remove(&origin));
        }
        let counter = id.counter();
        let new = || Window { newest: counter, bits: [0; WORDS], at: Instant::now() };
        let window = self.origins.entry(id.origin).or_insert_with(new);
        let ahead = counter.wrapping_sub(window.newest);
        if ahead <= u32::MAX / 2 {
            window.advance(ahead as usize);
            window.newest = counter;
        }
        let behind = window.newest.wrapping_sub(counter);
        if let Some(word) = window.bits.get_mut(behind as usize / 64) {
            *word |= 1 << (behind % 64);
        }
        window.at = Instant::now();
    }
}

impl Window {
    /// Moves every number this far back.
    fn advance(&mut self, by: usize) {
        let (words, bits) = (by / 64, by % 64);
        for at in (0..WORDS).rev() {
            let from = |back: usize| at.checked_sub(back).map_or(0, |at| self.bits[at]);
            let carried = if bits == 0 { 0 } else { from(words + 1) >> (64 - bits) };
            self.bits[at] = (from(words) << bits) | carried;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    fn id(origin: u64, counter: u32) -> MessageId {
        MessageId { origin, number: u64::from(counter) }
    }

    proptest! {
        #[test]
        fn b12_a_message_is_new_once_in_whatever_order_messages_come(
            steps in proptest::collection::vec(0_u32..300, 1..200), start in any::<u32>(),
        ) {
            let (mut received, mut seen) = (Received::default(), HashSet::new());
            for step in steps {
                let id = id(7, start.wrapping_add(step));
                prop_assert_eq!(received.has(id), !seen.insert(id.number));
                received.add(id);
                prop_assert!(received.has(id));
            }
        }
    }

    #[test]
    fn b12_a_message_far_behind_the_newest_one_counts_as_received() {
        let mut received = Received::default();
        received.add(id(7, 100_000));
        assert!(received.has(id(7, 100_000 - 64 * WORDS as u32)) && !received.has(id(7, 100_001)));
        assert!(!received.has(id(7, 99_999)) && !received.has(id(8, 100_000)));
        (0..5_000).for_each(|origin| received.add(id(origin, 1)));
        assert_eq!(received.origins.len(), ORIGINS_MAX);
    }
}
