//! The writer's task: takes the commands that wait, commits them and hands out the outcomes; parks commands whose rooms
//! are locked.

use std::collections::HashMap;
use std::error::Error;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::command::{Attempt, Command, Outcome, OutcomeSink, Refusal, Stored, Submission};
use super::database::Database;
use super::parked::Parked;
use super::watermarks::{WatermarkObserver, WatermarkQueue, WatermarkRow};
use crate::domain::ChatroomId;
use crate::metrics::WriterMetrics;
use crate::store::epoch::{EpochNumber, Epochs};
use crate::store::error::StoreError;

/// The most commands that wait; a room that finds the queue full answers `busy`.
pub(super) const QUEUE_MAX: usize = 8_192;
/// The most commands in one transaction: enough to make the commit's cost small, few enough to keep it short.
/// PostgreSQL draws one number for up to 512 chat ids (the migration's INCREMENT BY).
const COMMANDS_MAX: usize = 400;
/// The bytes of content at which a transaction takes no further command.
const BYTES_MAX: usize = 4 << 20;
/// The most commands that wait for locked rooms, in all; the next one is refused.
const PARKED_MAX: usize = 4_096;
/// When a failed update of watermarks took this long, the commands that waited behind it are refused: they shall not
/// wait for the database a second time. A row that another transaction has locked takes less.
const WAITED_MAX: Duration = Duration::from_millis(1_500);

/// What the task and its handles share.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) watermarks: Arc<WatermarkQueue>,
    pub(super) observer: Arc<OnceLock<Arc<dyn WatermarkObserver>>>,
    /// Submitted commands without an outcome.
    pub(super) in_flight: Arc<AtomicUsize>,
    pub(super) metrics: Arc<WriterMetrics>,
}

/// The writer's task; `app` runs it on a thread of the rooms.
pub struct WriterTask {
    queue: mpsc::Receiver<Submission>,
    shared: Shared,
    database: Database,
    epochs: Arc<Epochs>,
    parked: Parked,
}

/// The outcomes of one room's commands, by ticket.
type RoomOutcomes = (Arc<dyn OutcomeSink>, Vec<(u64, Outcome)>);

impl WriterTask {
    pub(super) fn new(
        queue: mpsc::Receiver<Submission>,
        shared: Shared,
        database: Database,
        epochs: Arc<Epochs>,
    ) -> Self {
        Self { queue, shared, database, epochs, parked: Parked::default() }
    }

    /// Writes until every handle is dropped, then writes the last watermarks.
    pub async fn run(mut self) {
        while let Some(submissions) = self.next_submissions().await {
            self.write(submissions).await;
            let (begun, epoch) = (Instant::now(), self.epochs.number());
            if let Some(due) = self.shared.watermarks.take_due()
                && let Err(error) = self.move_watermarks(epoch, &due).await
            {
                tracing::debug!(error = &error as &dyn Error, "watermarks wait for the database");
                // In a new epoch they may stand for other chats.
                if self.epochs.number() == epoch {
                    self.shared.watermarks.put_back(due);
                }
                if begun.elapsed() >= WAITED_MAX {
                    self.refuse_waiting();
                }
            }
        }
        let (epoch, last) = (self.epochs.number(), self.shared.watermarks.take());
        if let Err(error) = self.move_watermarks(epoch, &last).await {
            tracing::warn!(error = &error as &dyn Error, "the last watermarks were not stored");
        }
    }

    /// The commands of the next transaction; none where only watermarks are due. `None` once every handle is dropped.
    async fn next_submissions(&mut self) -> Option<Vec<Submission>> {
        self.shared.metrics.commands_parked.set(self.parked.count);
        let mut submissions = Vec::new();
        if self.parked.retry_at.is_none_or(|at| at > Instant::now()) {
            let retry_at = self.parked.retry_at;
            tokio::select! {
                next = self.queue.recv() => self.admit(next?, &mut submissions),
                () = self.shared.watermarks.due() => {}
                () = sleep_until(retry_at.unwrap_or_else(Instant::now)), if retry_at.is_some() => {}
            }
        }
        let mut bytes = 0;
        if self.parked.retry_at.is_some_and(|at| at <= Instant::now()) {
            let retried = self.parked.take(COMMANDS_MAX / 2);
            bytes = retried.iter().map(|submission| submission.command.bytes()).sum();
            submissions.splice(0..0, retried);
        }
        while submissions.len() < COMMANDS_MAX
            && bytes < BYTES_MAX
            && let Ok(submission) = self.queue.try_recv()
        {
            bytes += submission.command.bytes();
            self.admit(submission, &mut submissions);
        }
        Some(submissions)
    }

    /// Adds a command to the transaction, or parks it behind the commands that wait for the same room.
    fn admit(&mut self, submission: Submission, submissions: &mut Vec<Submission>) {
        if !self.parked.rooms.contains_key(&submission.command.chatroom_id()) {
            submissions.push(submission);
        } else if self.parked.count < PARKED_MAX {
            self.parked.push(submission);
        } else {
            self.refuse(vec![submission]);
        }
    }

    async fn write(&mut self, mut submissions: Vec<Submission>) {
        let epoch = self.epochs.number();
        if submissions.iter().any(|submission| submission.epoch != epoch) {
            let (current, other) = submissions.into_iter().partition(|submission| submission.epoch == epoch);
            submissions = current;
            self.refuse(other);
        }
        if submissions.is_empty() {
            return;
        }
        let commands: Vec<&Command> = submissions.iter().map(|submission| &submission.command).collect();
        let begun = Instant::now();
        let attempts = self.database.commit(epoch, &commands).await;
        self.count(&attempts, begun.elapsed());
        let outage = attempts.iter().any(|attempt| matches!(attempt, Attempt::Done(Err(Refusal::Unavailable))));
        let locked = self.complete(submissions, attempts);
        self.parked.put_back(locked);
        let expired = self.parked.take_expired();
        self.refuse(expired);
        if outage {
            self.refuse_waiting();
        }
    }

    fn count(&self, attempts: &[Attempt], took: Duration) {
        let metrics = &self.shared.metrics;
        for attempt in attempts {
            match attempt {
                Attempt::Done(Ok(Stored::New { .. })) => metrics.chats_stored.add(1),
                Attempt::Done(Ok(Stored::Edited(_))) => metrics.chats_edited.add(1),
                Attempt::Done(Ok(Stored::Deleted(_))) => metrics.chats_deleted.add(1),
                Attempt::Done(Ok(Stored::Again(_))) => metrics.chats_retried.add(1),
                Attempt::Done(Err(Refusal::Unavailable)) => metrics.commands_unanswered.add(1),
                Attempt::Done(Err(_)) | Attempt::Locked => {}
            }
        }
        metrics.commit_commands.observe(attempts.len() as f64);
        metrics.commit_seconds.observe(took.as_secs_f64());
    }

    async fn move_watermarks(&mut self, epoch: EpochNumber, rows: &[WatermarkRow]) -> Result<(), StoreError> {
        let mut moved = Vec::new();
        let result = self.database.move_watermarks(epoch, rows, &mut moved).await;
        for moved in &mut moved {
            let at = rows.binary_search_by_key(&moved.key(), WatermarkRow::key);
            moved.read = at.is_ok_and(|at| rows[at].updates_read());
        }
        // Also after an error: what an earlier statement moved does not move again in the next try.
        if !moved.is_empty()
            && let Some(observer) = self.shared.observer.get()
        {
            observer.moved(moved);
        }
        result
    }

    /// Refuses the commands that gathered while the database did not answer: they have waited long enough.
    fn refuse_waiting(&mut self) {
        let mut waiting = Vec::new();
        while waiting.len() < QUEUE_MAX
            && let Ok(submission) = self.queue.try_recv()
        {
            waiting.push(submission);
        }
        self.refuse(waiting);
    }

    fn refuse(&self, submissions: Vec<Submission>) {
        let attempts = submissions.iter().map(|_| Attempt::refused(Refusal::Unavailable)).collect();
        self.complete(submissions, attempts);
    }

    /// Hands each room the outcomes of its commands; returns, in order, the commands whose rooms were locked.
    fn complete(&self, submissions: Vec<Submission>, attempts: Vec<Attempt>) -> Vec<Submission> {
        let mut rooms: Vec<RoomOutcomes> = Vec::new();
        let mut indices: HashMap<ChatroomId, usize> = HashMap::new();
        let mut locked = Vec::new();
        let count = submissions.len();
        for (submission, attempt) in submissions.into_iter().zip(attempts) {
            let Attempt::Done(outcome) = attempt else {
                locked.push(submission);
                continue;
            };
            let at = *indices.entry(submission.command.chatroom_id()).or_insert_with(|| {
                rooms.push((submission.sink.clone(), Vec::new()));
                rooms.len() - 1
            });
            rooms[at].1.push((submission.ticket, outcome));
        }
        for (sink, outcomes) in rooms {
            sink.complete(outcomes);
        }
        self.shared.in_flight.fetch_sub(count - locked.len(), Ordering::Relaxed);
        locked
    }
}
