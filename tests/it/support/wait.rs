//! Waiting for a condition, always with an end; and the turn of tests that need the machine for themselves.

use std::future::Future;
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, SemaphorePermit};

/// How many heavy tests run side by side.
const TURNS: u32 = 2;

static HEAVY: Semaphore = Semaphore::const_new(TURNS as usize);

/// The turn of a test that breaks servers under traffic and mostly waits for them: beside one other.
pub async fn heavy() -> SemaphorePermit<'static> {
    HEAVY.acquire().await.expect("never closed")
}

/// The turn of a test that works the machine hard or looks at times under load: no heavy one beside it.
pub async fn alone() -> SemaphorePermit<'static> {
    HEAVY.acquire_many(TURNS).await.expect("never closed")
}

/// Asks again and again until the answer is there; fails with `what` when it is not in time.
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

/// Asks for a while and fails as soon as the condition does not hold.
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
