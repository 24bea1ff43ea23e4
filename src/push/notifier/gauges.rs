//! How many pushes are pending, and for how long: measured at intervals, so that reading the metrics costs no query.

use std::time::Duration;

use crate::metrics::PushMetrics;
use crate::store::outbox::Outbox;

/// The pause between two measurements.
const MEASURE_EVERY: Duration = Duration::from_secs(5);

/// Measures the outbox again and again. While the database is away, the last values stay.
pub async fn measure(outbox: &Outbox, metrics: &PushMetrics) {
    let mut timer = tokio::time::interval(MEASURE_EVERY);
    loop {
        timer.tick().await;
        if let Ok(backlog) = outbox.backlog().await {
            metrics.pending.set(backlog.pushes);
            metrics.oldest_s.set(usize::try_from(backlog.oldest.as_secs()).unwrap_or(usize::MAX));
        }
    }
}
