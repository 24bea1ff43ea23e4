//! What the pairs experienced: how long everything took them, and what failed.

use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// More of them say nothing new.
const ERRORS_SHOWN: usize = 20;

/// What a pair does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// From the sending of a chat to its arrival at the other device.
    Chat,
    Read,
    SignIn,
    /// A new socket, until all rooms are listed.
    Ready,
}

struct Sample {
    at: Instant,
    kind: Kind,
    took: Duration,
}

#[derive(Default)]
pub struct Record {
    samples: Mutex<Vec<Sample>>,
    errors: Mutex<Vec<String>>,
}

impl Record {
    /// Something succeeded that was begun then.
    pub fn took(&self, kind: Kind, begun: Instant) {
        locked(&self.samples).push(Sample { at: begun, kind, took: begun.elapsed() });
    }

    pub fn failed(&self, what: String) {
        eprintln!("  a pair: {what}");
        locked(&self.errors).push(what);
    }

    /// So many of a hundred took no longer, of those that were begun in this time; fails if there were none.
    pub fn percentile(&self, kind: Kind, range: Range<Instant>, percent: usize) -> Duration {
        let took = self.times(kind, range);
        assert!(!took.is_empty(), "no {kind:?} was begun in this time");
        took[(took.len() * percent / 100).min(took.len() - 1)]
    }

    /// All kinds in this time.
    pub fn line(&self, range: Range<Instant>) -> String {
        let one = |kind: Kind| {
            let took = self.times(kind, range.clone());
            let Some(most) = took.last() else { return format!("{kind:?} none") };
            let at = |percent: usize| took[took.len() * percent / 100].as_secs_f64() * 1e3;
            let most = most.as_secs_f64() * 1e3;
            format!("{kind:?} {}: p50 {:.1} p99 {:.1} max {most:.1} ms", took.len(), at(50), at(99))
        };
        [Kind::Chat, Kind::Read, Kind::SignIn, Kind::Ready].map(one).join("; ")
    }

    fn times(&self, kind: Kind, range: Range<Instant>) -> Vec<Duration> {
        let samples = locked(&self.samples);
        let mut took: Vec<_> = samples
            .iter()
            .filter(|sample| sample.kind == kind && range.contains(&sample.at))
            .map(|sample| sample.took)
            .collect();
        took.sort_unstable();
        took
    }

    #[track_caller]
    pub fn expect_no_errors(&self) {
        let errors = locked(&self.errors);
        let server_errors = errors.iter().filter(|error| error.starts_with("status 5")).count();
        let shown = &errors[..errors.len().min(ERRORS_SHOWN)];
        assert!(errors.is_empty(), "{} errors, of which {server_errors} are 5xx: {shown:#?}", errors.len());
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn percentiles_are_of_what_was_begun_in_the_time() {
    let (record, begun) = (Record::default(), Instant::now());
    for ms in 1..=200 {
        let at = begun + Duration::from_secs(if ms % 2 == 0 { 1 } else { 9 });
        locked(&record.samples).push(Sample { at, kind: Kind::Chat, took: Duration::from_millis(ms) });
    }
    let range = begun..begun + Duration::from_secs(2);
    assert_eq!(record.percentile(Kind::Chat, range.clone(), 50), Duration::from_millis(102));
    assert_eq!(record.percentile(Kind::Chat, range.clone(), 99), Duration::from_millis(200));
    assert!(record.line(range).ends_with("SignIn none; Ready none"));
}
