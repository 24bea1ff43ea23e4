//! What the process knows of epochs.

use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use super::*;

#[derive(Default)]
struct Count(AtomicUsize);

impl EpochObserver for Count {
    fn epoch_changed(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn epoch(name: &str, begin_s: i64) -> Epoch {
    Epoch { name: Arc::from(name), begin_time: Micros(begin_s * 1_000_000) }
}

#[test]
fn observers_take_notice_of_each_new_epoch_but_not_of_the_first() {
    let (epochs, count) = (Epochs::default(), Arc::new(Count::default()));
    epochs.observe(count.clone());
    epochs.found(epoch("a", 0), Instant::now()).unwrap();
    let first = epochs.number();
    epochs.found(epoch("a", 0), Instant::now()).unwrap();
    assert_eq!((count.0.load(Ordering::Relaxed), epochs.number()), (0, first));
    epochs.found(epoch("b", 9), Instant::now()).unwrap();
    assert_eq!((count.0.load(Ordering::Relaxed), &*epochs.name()), (1, "b"));
    assert_ne!(epochs.number(), first);
}

#[test]
fn a_connection_that_was_questioned_before_the_change_does_not_bring_the_old_epoch_back() {
    let epochs = Epochs::default();
    epochs.found(epoch("a", 0), Instant::now()).unwrap();
    let before = Instant::now();
    std::thread::sleep(Duration::from_millis(1));
    epochs.found(epoch("b", 9), Instant::now()).unwrap();
    assert!(epochs.found(epoch("a", 0), before).is_err());
    assert!(epochs.found(epoch("b", 9), before).is_ok());
    assert!(!epochs.is_current_since(before) && epochs.is_current_since(Instant::now()));
}

#[test]
fn a_token_without_a_sign_in_counts_from_the_second_in_which_the_epoch_began() {
    let first = epoch("a", 0);
    assert!(first.includes(None) && first.includes(Some(Micros(0))));
    let later = Epoch { begin_time: Micros(9_500_000), ..epoch("b", 0) };
    assert!(!later.includes(None) && !later.includes(Some(Micros(8_999_999))));
    assert!(later.includes(Some(Micros(9_000_000))));
}
