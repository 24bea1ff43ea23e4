//! Counters of the parts: atomics that cost next to nothing to raise, read when `/metrics` is requested.

mod broker;
mod deletions;
mod delivery;
mod issuers;
mod push;
mod writer;

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

pub use broker::BrokerMetrics;
pub use deletions::DeletionMetrics;
pub use delivery::DeliveryMetrics;
pub use issuers::IssuerMetrics;
pub use push::{PushMetrics, PushTrouble};
pub use writer::WriterMetrics;

/// How often something happened since the start.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// Counts so many more.
    pub fn add(&self, more: usize) {
        self.0.fetch_add(more as u64, Ordering::Relaxed);
    }

    /// How often so far.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// One count for each of several kinds. The caller keeps the list of kinds and counts by a kind's place in it.
#[derive(Debug, Default)]
pub struct Counts(Box<[Count]>);

impl Counts {
    /// Nothing counted yet, of so many kinds.
    #[must_use]
    pub fn new(kinds: usize) -> Self {
        Self((0..kinds).map(|_| Count::default()).collect())
    }

    /// Counts one more of the kind at this place; a place beyond the last kind is ignored.
    pub fn add(&self, place: usize) {
        if let Some(count) = self.0.get(place) {
            count.add(1);
        }
    }

    /// The counts of all kinds, in order.
    pub fn iter(&self) -> impl Iterator<Item = u64> {
        self.0.iter().map(Count::get)
    }
}

/// How many there are at the moment.
#[derive(Debug, Default)]
pub struct Gauge(AtomicUsize);

impl Gauge {
    /// Sets the number.
    pub fn set(&self, now: usize) {
        self.0.store(now, Ordering::Relaxed);
    }

    /// The number that was set last.
    #[must_use]
    pub fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// How values are distributed over buckets.
#[derive(Debug)]
pub struct Histogram {
    /// The upper bound of each bucket, ascending; one more bucket without a bound follows.
    bounds: &'static [f64],
    counts: Vec<Count>,
    /// The bits of a float.
    sum: AtomicU64,
}

/// What a histogram held at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct HistogramSnapshot {
    /// The sum of all values.
    pub sum: f64,
    /// The upper bound of each bucket, and how many values are in this bucket alone.
    pub buckets: Vec<(f64, u64)>,
}

impl Histogram {
    /// No values yet.
    #[must_use]
    pub fn new(bounds: &'static [f64]) -> Self {
        Self { bounds, counts: (0..=bounds.len()).map(|_| Count::default()).collect(), sum: AtomicU64::new(0) }
    }

    /// Counts one more value.
    pub fn observe(&self, value: f64) {
        let place = self.bounds.iter().position(|bound| value <= *bound).unwrap_or(self.bounds.len());
        if let Some(count) = self.counts.get(place) {
            count.add(1);
        }
        let add = |bits| Some((f64::from_bits(bits) + value).to_bits());
        let _ = self.sum.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
    }

    /// What it holds now.
    #[must_use]
    pub fn read(&self) -> HistogramSnapshot {
        let bounds = self.bounds.iter().copied().chain([f64::INFINITY]);
        HistogramSnapshot {
            sum: f64::from_bits(self.sum.load(Ordering::Relaxed)),
            buckets: bounds.zip(self.counts.iter().map(Count::get)).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_counted_in_the_first_bucket_whose_bound_is_not_below_it() {
        let histogram = Histogram::new(&[1.0, 10.0]);
        [0.0, 1.0, 1.5, 10.0, 11.0].into_iter().for_each(|value| histogram.observe(value));
        let buckets = vec![(1.0, 2), (10.0, 2), (f64::INFINITY, 1)];
        assert_eq!(histogram.read(), HistogramSnapshot { sum: 23.5, buckets });
    }

    #[test]
    fn each_kind_is_counted_on_its_own_and_an_unknown_place_is_ignored() {
        let counts = Counts::new(3);
        [0, 2, 2, 3].into_iter().for_each(|place| counts.add(place));
        assert_eq!(counts.iter().collect::<Vec<_>>(), [1, 0, 2]);
    }
}
