//! The one mechanism of all rates: the same rate for each of many keys, in bounded memory.
//!
//! Each key has one number, the time at which its burst will be whole again (the generic cell rate algorithm of ITU-T
//! I.371). A full map drops the keys whose burst is whole soonest: a flood of new keys removes itself first, and a key
//! that is refused at the moment stays.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};
use std::time::Duration;

use parking_lot::Mutex;

/// Keys that one rate remembers.
const KEYS_MAX: usize = 65_536;
/// Each part of the map has a lock of its own, and is short enough to be searched at once when it is full.
const SHARDS: usize = 16;

/// How much, in which time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Quota {
    /// Nanoseconds until one more is allowed.
    period: u64,
    /// Nanoseconds until a whole burst is allowed again.
    burst: u64,
}

impl Quota {
    /// So many in this time, and `burst` at once; none for zero, which means no limit.
    pub(super) fn new(count: u32, time: Duration, burst: u32) -> Option<Self> {
        let period = nanos(time).checked_div(u64::from(count))?.max(1);
        Some(Self { period, burst: period.saturating_mul(u64::from(burst.max(1))) })
    }
}

/// The same rate for each of many keys. Times are those since the start of the limits.
pub(super) struct Rate<K> {
    /// None means no limit.
    quota: Option<Quota>,
    /// When the burst of each key will be whole again, in nanoseconds.
    shards: Vec<Mutex<HashMap<K, u64>>>,
    hasher: RandomState,
}

impl<K: Hash + Eq + Clone> Rate<K> {
    pub(super) fn new(quota: Option<Quota>) -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Self { quota, shards, hasher: RandomState::new() }
    }

    /// Takes one, or says how long to wait for it.
    pub(super) fn check(&self, key: &K, now: Duration) -> Result<(), Duration> {
        let Some(quota) = self.quota else { return Ok(()) };
        let now = nanos(now);
        let mut keys = self.shard(key).lock();
        let whole = keys.get(key).map_or(now, |whole| (*whole).max(now)).saturating_add(quota.period);
        refused(quota, whole, now)?;
        put(&mut keys, key, whole, now);
        Ok(())
    }

    /// Whether `check` would refuse, without taking anything.
    pub(super) fn peek(&self, key: &K, now: Duration) -> Result<(), Duration> {
        let Some(quota) = self.quota else { return Ok(()) };
        let now = nanos(now);
        let whole = self.shard(key).lock().get(key).map_or(now, |whole| (*whole).max(now));
        refused(quota, whole.saturating_add(quota.period), now)
    }

    /// Takes more than was checked, for work whose size shows only while it is done. The debt is at most ten bursts.
    pub(super) fn charge(&self, key: &K, count: u32, now: Duration) {
        let Some(quota) = self.quota else { return };
        let now = nanos(now);
        let mut keys = self.shard(key).lock();
        let whole = keys.get(key).map_or(now, |whole| (*whole).max(now));
        let debt_max = now.saturating_add(quota.burst.saturating_mul(10));
        let whole = whole.saturating_add(quota.period.saturating_mul(u64::from(count))).min(debt_max);
        put(&mut keys, key, whole, now);
    }

    /// Gives one back.
    pub(super) fn refund(&self, key: &K) {
        let Some(quota) = self.quota else { return };
        if let Some(whole) = self.shard(key).lock().get_mut(key) {
            *whole = whole.saturating_sub(quota.period);
        }
    }

    /// Removes keys that could use a whole burst again.
    pub(super) fn forget_idle(&self, now: Duration) {
        let now = nanos(now);
        for shard in &self.shards {
            let mut keys = shard.lock();
            keys.retain(|_, whole| *whole > now);
            keys.shrink_to_fit();
        }
    }

    fn shard(&self, key: &K) -> &Mutex<HashMap<K, u64>> {
        let hash = usize::try_from(self.hasher.hash_one(key) % SHARDS as u64).unwrap_or_default();
        &self.shards[hash]
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.shards.iter().map(|keys| keys.lock().len()).sum()
    }
}

fn refused(quota: Quota, whole: u64, now: u64) -> Result<(), Duration> {
    let ahead = whole.saturating_sub(now);
    if ahead > quota.burst { Err(Duration::from_nanos(ahead - quota.burst)) } else { Ok(()) }
}

fn put<K: Hash + Eq + Clone>(keys: &mut HashMap<K, u64>, key: &K, whole: u64, now: u64) {
    if let Some(known) = keys.get_mut(key) {
        *known = whole;
        return;
    }
    if keys.len() >= KEYS_MAX / SHARDS {
        keys.retain(|_, whole| *whole > now);
    }
    if keys.len() >= KEYS_MAX / SHARDS {
        drop_lower_half(keys, |whole| *whole);
    }
    keys.insert(key.clone(), whole);
}

/// Removes the half of the entries that ranks lowest.
pub(super) fn drop_lower_half<K: Hash + Eq, V, R: Ord + Copy>(entries: &mut HashMap<K, V>, rank: impl Fn(&V) -> R) {
    let mut ranks: Vec<R> = entries.values().map(&rank).collect();
    let half = ranks.len() / 2;
    if half == 0 {
        return;
    }
    let (_, median, _) = ranks.select_nth_unstable(half);
    let median = *median;
    let mut ties_kept = half;
    entries.retain(|_, value| match rank(value).cmp(&median) {
        std::cmp::Ordering::Less => false,
        std::cmp::Ordering::Greater => true,
        std::cmp::Ordering::Equal => {
            let is_kept = ties_kept > 0;
            ties_kept = ties_kept.saturating_sub(1);
            is_kept
        }
    });
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    #[test]
    fn a_key_has_a_burst_and_then_the_rate() {
        let rate = Rate::new(Quota::new(10, S, 30));
        let passed = |key: u8, now| (0..100).filter(|_| rate.check(&key, now).is_ok()).count();
        assert_eq!((passed(1, S), passed(2, S)), (30, 30), "each key has its own");
        assert_eq!(rate.check(&1, S), Err(S / 10));
        assert_eq!(rate.peek(&1, S), Err(S / 10));
        assert_eq!(passed(1, S + S / 2), 5);
        assert_eq!(passed(1, 100 * S), 30);
        rate.refund(&1);
        assert_eq!(passed(1, 100 * S), 1);
        assert_eq!(Rate::new(None).check(&1, S), Ok(()));
    }

    #[test]
    fn a_debt_has_to_be_waited_for() {
        let rate = Rate::new(Quota::new(60, 60 * S, 60));
        assert_eq!(rate.check(&1, S), Ok(()));
        rate.charge(&1, 119, S);
        assert_eq!(rate.check(&1, 61 * S), Err(S));
        rate.charge(&1, u32::MAX, S);
        assert_eq!(rate.check(&1, S), Err(541 * S), "ten bursts at most");
    }

    #[test]
    fn a_flood_of_keys_removes_itself_and_not_the_key_that_is_refused() {
        let rate = Rate::new(Quota::new(5, 60 * S, 5));
        assert_eq!((0..9).filter(|_| rate.check(&u32::MAX, S).is_ok()).count(), 5);
        for key in 0..500_000 {
            assert_eq!(rate.check(&key, S), Ok(()));
        }
        assert!(rate.len() <= KEYS_MAX, "{}", rate.len());
        assert!(rate.check(&u32::MAX, S).is_err());
        rate.forget_idle(61 * S);
        assert_eq!(rate.len(), 0);
    }

    #[test]
    fn the_lower_half_of_equal_ranks_is_a_half_too() {
        let mut entries: HashMap<u8, u8> = (0..10).map(|key| (key, 7)).collect();
        drop_lower_half(&mut entries, |rank| *rank);
        assert_eq!(entries.len(), 5);
    }
}
