//! The one writer of chats: all commands that wait, from all rooms, become one transaction (group commit).
//!
//! Room actors submit commands without waiting; after the commit their [`OutcomeSink`] gets the outcomes, in the order
//! of the room. There is no timer: a transaction takes the commands that gathered while the last one committed. A bad
//! row fails alone. Edits, deletions and watermarks go the same way.

mod client_ids;
mod command;
mod database;
mod parked;
mod plan;
mod postgres;
mod sqlite;
mod task;
mod watermark_sql;
mod watermarks;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use sea_orm::DbBackend;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

pub use command::{Append, Command, Mutate, Mutation, Outcome, OutcomeSink, Refusal, Stored, Submission};
use database::Database;
pub use task::WriterTask;
use task::{QUEUE_MAX, Shared};
use watermarks::WatermarkQueue;
pub use watermarks::{MovedWatermark, WatermarkObserver, WatermarkUpdate};

use super::epoch::Epochs;
use super::pool::Pool;
use crate::domain::{ChatroomId, ChatterId};
use crate::metrics::WriterMetrics;

/// How long the shutdown waits for the last watermarks, and the pause between two checks.
const FLUSH_WAIT: Duration = Duration::from_secs(1);
const FLUSH_PAUSE: Duration = Duration::from_millis(10);

/// The writer's queue is full: the room answers `busy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// Where rooms submit; cheap to clone.
#[derive(Clone)]
pub struct WriterHandle {
    queue: mpsc::Sender<Submission>,
    shared: Shared,
}

impl WriterHandle {
    /// Submits one command; never waits.
    pub fn submit(&self, submission: Submission) -> Result<(), Full> {
        self.shared.in_flight.fetch_add(1, Ordering::Relaxed);
        self.queue.try_send(submission).map_err(|_| {
            self.shared.in_flight.fetch_sub(1, Ordering::Relaxed);
            Full
        })
    }

    /// The number of submitted commands without an outcome; the shutdown waits until there are none.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.shared.in_flight.load(Ordering::Relaxed)
    }

    /// The writer's counters.
    #[must_use]
    pub fn metrics(&self) -> &WriterMetrics {
        &self.shared.metrics
    }

    /// Waits until the watermarks are written, at most a second; at shutdown.
    pub async fn flush(&self) {
        let until = Instant::now() + FLUSH_WAIT;
        while !self.shared.watermarks.is_empty() && Instant::now() < until {
            sleep(FLUSH_PAUSE).await;
        }
    }

    /// Moves a watermark forward, at most 250 ms later, together with others.
    pub fn move_watermark(&self, chatroom_id: ChatroomId, chatter_id: ChatterId, update: WatermarkUpdate) {
        self.shared.watermarks.add(chatroom_id, chatter_id, update);
    }

    /// Sets the observer of watermarks that moved; there is one, and the first stays.
    pub fn observe_watermarks(&self, observer: Arc<dyn WatermarkObserver>) {
        if self.shared.observer.set(observer).is_err() {
            tracing::error!("watermarks have an observer already");
        }
    }
}

/// The writer's task, and the handle to submit with.
pub(super) fn new(
    backend: DbBackend,
    writes: &Pool,
    push_grace: Duration,
    epochs: &Arc<Epochs>,
) -> (WriterHandle, WriterTask) {
    let (sender, queue) = mpsc::channel(QUEUE_MAX);
    let shared = Shared {
        watermarks: Arc::new(WatermarkQueue::default()),
        observer: Arc::new(OnceLock::new()),
        in_flight: Arc::new(AtomicUsize::new(0)),
        metrics: Arc::new(WriterMetrics::default()),
    };
    epochs.observe(shared.watermarks.clone());
    let database = Database::new(backend, writes, push_grace, epochs);
    let task = WriterTask::new(queue, shared.clone(), database, epochs.clone());
    (WriterHandle { queue: sender, shared }, task)
}
