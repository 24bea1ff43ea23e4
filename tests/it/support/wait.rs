//! Waiting for a condition, always with a limit, and turns for tests that load the machine.

use std::future::Future;
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, SemaphorePermit};

/// How many heavy tests run side by side.
const TURNS: u32 = 2;

/// How much a loaded machine may add to any promised time.
pub const SLACK: Duration = Duration::from_millis(1_500);

static HEAVY: Semaphore = Semaphore::const_new(TURNS as usize);

/// The turn of a test that breaks servers under traffic: at most two of these run at once.
pub async fn heavy() -> SemaphorePermit<'static> {
    HEAVY.acquire().await.expect("never closed")
}

/// The turn of a test that loads the machine or measures times: no other such test runs beside it.
pub async fn alone() -> SemaphorePermit<'static> {
    HEAVY.acquire_many(TURNS).await.expect("never closed")
}

/// Repeats `ask` until it returns a value; fails with `what` if it does not in time.
pub async fn eventually<T, F, Fut>(what: &str, within: Duration, mut ask: F) -> T
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Option<T>>,
{
    let start = Instant::now();
    loop {
        if let Some(found) = ask().await {
            return found;
        }
        assert!(start.elapsed() < within, "not within {within:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Repeats `ask` for a while; fails as soon as the condition does not hold.
pub async fn stays<F, Fut>(what: &str, for_a_while: Duration, mut ask: F)
where
    F: FnMut() -> Fut,
    Fut: Future<Output = bool>,
{
    let start = Instant::now();
    while start.elapsed() < for_a_while {
        assert!(ask().await, "no longer after {:?}: {what}", start.elapsed());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Waits until the condition holds.
pub async fn until(what: &str, within: Duration, mut holds: impl FnMut() -> bool) {
    eventually(what, within, || std::future::ready(holds().then_some(()))).await;
}

/// Seconds, shorter to read in assertions.
pub const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}
