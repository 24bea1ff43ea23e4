//! What the parts count with: atomics that cost next to nothing where something happens, read when somebody asks.

pub mod broker;
pub mod delivery;
pub mod push;
pub mod writer;

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// How often something happened since the start.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// It happened so many times more.
    pub fn add(&self, more: usize) {
        self.0.fetch_add(more as u64, Ordering::Relaxed);
    }

    /// How often so far.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The same for each of so many things.
#[derive(Debug)]
pub struct Counts<const N: usize>([Count; N]);

impl<const N: usize> Default for Counts<N> {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Count::default()))
    }
}

impl<const N: usize> Counts<N> {
    /// It happened to the one at this place.
    pub fn add(&self, at: usize) {
        if let Some(count) = self.0.get(at) {
            count.add(1);
        }
    }

    /// All, in order.
    pub fn iter(&self) -> impl Iterator<Item = u64> {
        self.0.iter().map(Count::get)
    }
}

/// How many there are now.
#[derive(Debug, Default)]
pub struct Level(AtomicUsize);

impl Level {
    /// There are so many.
    pub fn set(&self, now: usize) {
        self.0.store(now, Ordering::Relaxed);
    }

    /// How many there were when it was last set.
    #[must_use]
    pub fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// How values are spread.
#[derive(Debug)]
pub struct Histogram {
    /// Where each bucket but the last ends, ascending; that has no end.
    ends: &'static [f64],
    counts: Vec<Count>,
    /// The bits of a float.
    sum: AtomicU64,
}

/// What a histogram had at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Spread {
    pub sum: f64,
    /// Where each bucket ends, and how many values are in it alone.
    pub buckets: Vec<(f64, u64)>,
}

impl Histogram {
    /// No values yet.
    #[must_use]
    pub fn new(ends: &'static [f64]) -> Self {
        Self { ends, counts: (0..=ends.len()).map(|_| Count::default()).collect(), sum: AtomicU64::new(0) }
    }

    /// One more.
    pub fn observe(&self, value: f64) {
        let at = self.ends.iter().position(|end| value <= *end).unwrap_or(self.ends.len());
        if let Some(count) = self.counts.get(at) {
            count.add(1);
        }
        let add = |bits| Some((f64::from_bits(bits) + value).to_bits());
        let _ = self.sum.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
    }

    /// What it has now.
    #[must_use]
    pub fn read(&self) -> Spread {
        let ends = self.ends.iter().copied().chain([f64::INFINITY]);
        Spread {
            sum: f64::from_bits(self.sum.load(Ordering::Relaxed)),
            buckets: ends.zip(self.counts.iter().map(Count::get)).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_in_the_first_bucket_that_ends_at_or_above_it() {
        let histogram = Histogram::new(&[1.0, 10.0]);
        [0.0, 1.0, 1.5, 10.0, 11.0].into_iter().for_each(|value| histogram.observe(value));
        let buckets = vec![(1.0, 2), (10.0, 2), (f64::INFINITY, 1)];
        assert_eq!(histogram.read(), Spread { sum: 23.5, buckets });
    }

    #[test]
    fn each_is_counted_on_its_own_and_what_is_not_there_not_at_all() {
        let counts = Counts::<3>::default();
        [0, 2, 2, 3].into_iter().for_each(|at| counts.add(at));
        assert_eq!(counts.iter().collect::<Vec<_>>(), [1, 0, 2]);
    }
}
