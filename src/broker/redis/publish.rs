//! The connection that publishes: what waits goes out as one pipeline.

use redis::Pipeline;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use super::connect::{Connection, Failure, Pace, in_time};
use super::health::Side;
use super::{Outgoing, Shared};

/// A pipeline has no more messages than this, and about this many bytes.
const PIPELINE: usize = 512;
const PIPELINE_BYTES: usize = 1024 * 1024;

/// Publishes until the last handle is dropped.
pub(super) async fn run(shared: &Shared, mut queue: mpsc::Receiver<Outgoing>) {
    let mut pace = Pace::new(shared.settings.backoff);
    loop {
        let connection = tokio::select! {
            () = discard(shared, &mut queue) => return,
            connection = pace.connection(shared, Side::Publishes, || |_| {}) => connection,
        };
        shared.health.up(Side::Publishes);
        match publish(shared, connection, &mut queue).await {
            Ok(()) => return,
            Err(failure) => shared.health.down(Side::Publishes, &failure),
        }
    }
}

/// What was queued before the breakdown was noticed is not told late; returns when there are no handles any more.
async fn discard(shared: &Shared, queue: &mut mpsc::Receiver<Outgoing>) {
    while let Some(message) = queue.recv().await {
        shared.taken(&message);
        shared.tally.dropped.add(1);
    }
}

async fn publish(
    shared: &Shared,
    mut connection: Connection,
    queue: &mut mpsc::Receiver<Outgoing>,
) -> Result<(), Failure> {
    let settings = &shared.settings;
    let mut ticks = interval_at(Instant::now() + settings.ping_interval, settings.ping_interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let first = tokio::select! {
            first = queue.recv() => first,
            _ = ticks.tick() => {
                connection.ping(settings.answer_timeout).await?;
                continue;
            }
            failure = connection.ended() => return Err(failure),
        };
        let Some(first) = first else { return Ok(()) };
        let (pipeline, messages) = gather(shared, first, queue);
        // An error of a single message, such as a missing permission, will not go away by itself: it counts as a breakdown.
        match in_time(settings.publish_timeout, pipeline.exec_async(&mut connection.redis)).await {
            Ok(()) => shared.tally.sent.add(messages),
            Err(failure) => {
                shared.tally.dropped.add(messages);
                return Err(failure);
            }
        }
    }
}

/// This message and what waits behind it, and how many that are.
fn gather(shared: &Shared, first: Outgoing, queue: &mut mpsc::Receiver<Outgoing>) -> (Pipeline, usize) {
    let (mut pipeline, mut messages, mut bytes) = (Pipeline::new(), 0, 0);
    let mut next = Some(first);
    while let Some(outgoing) = next {
        shared.taken(&outgoing);
        messages += 1;
        bytes += outgoing.message.len();
        let (one, other) = outgoing.to;
        for chatter in [Some(one), other].into_iter().flatten() {
            pipeline.cmd("PUBLISH").arg(shared.channel(chatter)).arg(&outgoing.message[..]);
        }
        next = if messages < PIPELINE && bytes < PIPELINE_BYTES { queue.try_recv().ok() } else { None };
    }
    (pipeline, messages)
}
