//! Connecting again and again, with growing waits between the attempts.

use std::time::{Duration, Instant};

use redis::PushInfo;

use super::connect::Connection;
use super::health::Role;
use super::shared::Shared;

/// Replaces lost connections of one role.
pub(super) struct Reconnector {
    role: Role,
    backoff: Backoff,
    attempted: Option<Instant>,
    has_connected: bool,
}

/// How long to wait before the next attempt.
struct Backoff {
    next: Duration,
    least: Duration,
    most: Duration,
}

impl Reconnector {
    pub(crate) fn new(role: Role, backoff: (Duration, Duration)) -> Self {
        Self { role, backoff: Backoff::new(backoff), attempted: None, has_connected: false }
    }

    /// The next connection, however long that takes. Each attempt gets a receiver of pushes of its own.
    pub(crate) async fn connection<P>(&mut self, shared: &Shared, receiver: impl Fn() -> P) -> Connection
    where
        P: Fn(PushInfo) + Send + Sync + 'static,
    {
        loop {
            if let Some(last) = self.attempted {
                tokio::time::sleep(self.backoff.wait(last.elapsed())).await;
            }
            self.attempted = Some(Instant::now());
            match shared.connector.connect(receiver()).await {
                Ok(connection) => {
                    shared.metrics.reconnects.add(usize::from(self.has_connected));
                    self.has_connected = true;
                    return connection;
                }
                Err(failure) => shared.health.down(self.role, &failure),
            }
        }
    }
}

impl Backoff {
    fn new((least, most): (Duration, Duration)) -> Self {
        Self { next: least, least, most }
    }

    /// Twice the last wait up to the longest, less a random part of up to a half, so that instances do not reconnect at
    /// once. It starts over when the last connection `lasted`; one that ends at once after connecting does not count.
    fn wait(&mut self, lasted: Duration) -> Duration {
        if lasted > self.most {
            self.next = self.least;
        }
        let wait = self.next.mul_f64(1.0 - rand::random::<f64>() / 2.0);
        self.next = (self.next * 2).min(self.most);
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_grows_to_the_longest_and_is_never_shorter_than_half() {
        let (least, most) = (Duration::from_millis(50), Duration::from_secs(1));
        let mut backoff = Backoff::new((least, most));
        for full in [50, 100, 200, 400, 800, 1_000, 1_000] {
            let (wait, full) = (backoff.wait(least), Duration::from_millis(full));
            assert!(full / 2 <= wait && wait <= full, "{wait:?} of {full:?}");
        }
        assert!(backoff.wait(most * 2) <= least, "starts over after a connection that lasted");
    }
}
