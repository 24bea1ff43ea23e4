//! The writer's loop: takes what waits, commits it, tells the rooms; parks what finds its room locked.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use sea_orm::DbBackend;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::parked::Parked;
use super::watermarks;
use super::watermarks::WatermarkQueue;
use super::{Command, MovedWatermark, Outcome, OutcomeSink, Refusal, Stored, Submission, Watching, postgres, sqlite};
use crate::domain::{ChatroomId, Seq};
use crate::metrics::WriterMetrics;
use crate::store::StoreError;
use crate::store::chats::is_duplicate;
use crate::store::connect::Opened;

/// Rows in one transaction: enough to make the commit's cost small, few enough to keep it short. On PostgreSQL a
/// batch draws one number for up to 512 chat ids (the migration's INCREMENT BY).
const BATCH_MAX: usize = 400;
/// Bytes of content in one transaction.
const BATCH_BYTES_MAX: usize = 4 << 20;
/// Chats that wait for locked rooms, all together; one more is refused.
const PARKED_MAX: usize = 4_096;
/// Whoever waited so long for watermarks that could not be moved shall not wait for the database once more; a row that
/// somebody has locked takes less.
const WAITED_MAX: Duration = Duration::from_millis(1_500);

/// The writer's loop; `app` runs it on the thread of the rooms.
pub struct WriterTask {
    queue: mpsc::Receiver<Submission>,
    moves: Arc<WatermarkQueue>,
    watcher: Watching,
    in_flight: Arc<AtomicUsize>,
    metrics: Arc<WriterMetrics>,
    database: Database,
    parked: Parked,
}

enum Database {
    Sqlite(sqlite::Sqlite),
    Postgres(Box<postgres::Postgres>),
}

/// What a room is told after a commit: outcomes by ticket.
type ForRoom = (Arc<dyn OutcomeSink>, Vec<(u64, Outcome)>);

/// What became of one command of a batch, or that its room is locked by something else.
pub(super) enum Attempt {
    Done(Outcome),
    Locked,
}

impl WriterTask {
    pub(super) fn new(
        queue: mpsc::Receiver<Submission>,
        moves: Arc<WatermarkQueue>,
        watcher: Watching,
        in_flight: Arc<AtomicUsize>,
        metrics: Arc<WriterMetrics>,
        opened: &Opened,
        push_grace: Duration,
    ) -> Self {
        let database = match opened.backend {
            DbBackend::Postgres => {
                Database::Postgres(Box::new(postgres::Postgres::new(opened.writes.clone(), push_grace)))
            }
            _ => Database::Sqlite(sqlite::Sqlite::new(opened.writes.clone(), push_grace)),
        };
        Self { queue, moves, watcher, in_flight, metrics, database, parked: Parked::default() }
    }

    /// Writes until every handle is gone, then flushes the last watermarks.
    pub async fn run(mut self) {
        while let Some(batch) = self.next_batch().await {
            self.write(batch).await;
            let asked = Instant::now();
            if let Some(due) = self.moves.take_due()
                && let Err(error) = self.move_watermarks(&due).await
            {
                tracing::debug!(error = &error as &dyn std::error::Error, "watermarks wait for the database");
                self.moves.put_back(due);
                if asked.elapsed() >= WAITED_MAX {
                    self.refuse_waiting();
                }
            }
        }
        let last = self.moves.take();
        if let Err(error) = self.move_watermarks(&last).await {
            tracing::warn!(error = &error as &dyn std::error::Error, "the last watermarks were not stored");
        }
    }

    /// What to write next; may be empty when only watermarks are due. `None` when nobody can hand in any more.
    async fn next_batch(&mut self) -> Option<Vec<Submission>> {
        self.metrics.commands_parked.set(self.parked.count);
        let mut batch = Vec::new();
        if self.parked.retry_at.is_none_or(|at| at > Instant::now()) {
            let retry_at = self.parked.retry_at;
            tokio::select! {
                next = self.queue.recv() => self.admit(next?, &mut batch),
                () = self.moves.due() => {}
                () = sleep_until(retry_at.unwrap_or_else(Instant::now)), if retry_at.is_some() => {}
            }
        }
        let mut bytes = 0;
        if self.parked.retry_at.is_some_and(|at| at <= Instant::now()) {
            let retried = self.parked.take(BATCH_MAX / 2);
            bytes = retried.iter().map(|submission| submission.command.bytes()).sum();
            batch.splice(0..0, retried);
        }
        while batch.len() < BATCH_MAX
            && bytes < BATCH_BYTES_MAX
            && let Ok(submission) = self.queue.try_recv()
        {
            bytes += submission.command.bytes();
            self.admit(submission, &mut batch);
        }
        Some(batch)
    }

    /// Into the batch, or behind what waits for the same room.
    fn admit(&mut self, submission: Submission, batch: &mut Vec<Submission>) {
        if !self.parked.rooms.contains_key(&submission.command.chatroom_id()) {
            batch.push(submission);
        } else if self.parked.count < PARKED_MAX {
            self.parked.push(submission);
        } else {
            self.refuse(vec![submission]);
        }
    }

    async fn write(&mut self, batch: Vec<Submission>) {
        if batch.is_empty() {
            return;
        }
        let commands: Vec<&Command> = batch.iter().map(|s| &s.command).collect();
        let begun = Instant::now();
        let verdicts = self.database.commit(&commands).await;
        count_batch(&self.metrics, &verdicts, begun.elapsed());
        let outage = verdicts.iter().any(|v| matches!(v, Attempt::Done(Err(Refusal::Unavailable))));
        let locked = self.settle(batch, verdicts);
        self.parked.again(locked);
        let expired = self.parked.expired();
        self.refuse(expired);
        if outage {
            self.refuse_waiting();
        }
    }

    async fn move_watermarks(&mut self, rows: &[watermarks::Row]) -> Result<(), StoreError> {
        let mut moved = Vec::new();
        let done = self.database.move_watermarks(rows, &mut moved).await;
        for moved in &mut moved {
            let row =
                rows.binary_search_by_key(&(moved.chatroom_id, moved.chatter_id), |r| (r.chatroom_id, r.chatter_id));
            moved.read = row.is_ok_and(|at| rows[at].read > Seq::ZERO || rows[at].sent_at.is_some());
        }
        // Also what was stored before something failed: tried again, it does not move a second time.
        if !moved.is_empty()
            && let Some(watcher) = self.watcher.get()
        {
            watcher.moved(moved);
        }
        done
    }

    /// Whoever came while the database did not answer has waited as long as anybody should.
    fn refuse_waiting(&mut self) {
        let mut waiting = Vec::new();
        while waiting.len() < super::QUEUE_MAX
            && let Ok(submission) = self.queue.try_recv()
        {
            waiting.push(submission);
        }
        self.refuse(waiting);
    }

    fn refuse(&self, submissions: Vec<Submission>) {
        let verdicts = submissions.iter().map(|_| Attempt::Done(Err(Refusal::Unavailable))).collect();
        self.settle(submissions, verdicts);
    }

    /// Tells each room what became of its commands; gives back, in order, those whose rooms were locked.
    fn settle(&self, batch: Vec<Submission>, verdicts: Vec<Attempt>) -> Vec<Submission> {
        let mut rooms: Vec<ForRoom> = Vec::new();
        let mut index: HashMap<ChatroomId, usize> = HashMap::new();
        let mut locked = Vec::new();
        let taken = batch.len();
        for (submission, verdict) in batch.into_iter().zip(verdicts) {
            let Attempt::Done(outcome) = verdict else {
                locked.push(submission);
                continue;
            };
            let at = *index.entry(submission.command.chatroom_id()).or_insert_with(|| {
                rooms.push((submission.home.clone(), Vec::new()));
                rooms.len() - 1
            });
            rooms[at].1.push((submission.ticket, outcome));
        }
        for (home, outcomes) in rooms {
            home.settled(outcomes);
        }
        self.in_flight.fetch_sub(taken - locked.len(), Ordering::Relaxed);
        locked
    }
}

impl Database {
    async fn commit(&mut self, commands: &[&Command]) -> Vec<Attempt> {
        let mut tried = self.try_commit(commands).await;
        // Another instance has stored one of these client_ids since they were looked up: now it is found.
        if commands.len() > 1 && matches!(&tried, Err(StoreError::Failed(error)) if is_duplicate(error)) {
            tried = self.try_commit(commands).await;
        }
        match tried {
            Ok(verdicts) => verdicts,
            Err(StoreError::Unavailable(error)) => {
                let error = error.as_ref().map(ToString::to_string);
                tracing::warn!(error, chats = commands.len(), "a batch was not stored: the database does not answer");
                commands.iter().map(|_| Attempt::Done(Err(Refusal::Unavailable))).collect()
            }
            // Another instance has stored the same client_id since it was looked up: the next time it is found.
            Err(StoreError::Failed(error)) if commands.len() == 1 && is_duplicate(&error) => vec![Attempt::Locked],
            Err(StoreError::Failed(error)) if commands.len() == 1 => {
                tracing::error!(error = &error as &dyn std::error::Error, "a chat could not be stored");
                vec![Attempt::Done(Err(Refusal::Failed))]
            }
            Err(StoreError::Failed(_)) => self.commit_each(commands).await,
        }
    }

    /// One bad row must not fail its neighbours: each on its own, for as long as the database answers.
    async fn commit_each(&mut self, commands: &[&Command]) -> Vec<Attempt> {
        let mut verdicts = Vec::with_capacity(commands.len());
        let mut locked = HashSet::new();
        let mut answers = true;
        for command in commands {
            let room = command.chatroom_id();
            let verdict = match answers {
                false => Attempt::Done(Err(Refusal::Unavailable)),
                // Behind a command of its room that has to wait.
                true if locked.contains(&room) => Attempt::Locked,
                true => Box::pin(self.commit(&[command])).await.remove(0),
            };
            match &verdict {
                Attempt::Locked => drop(locked.insert(room)),
                Attempt::Done(Err(Refusal::Unavailable)) => answers = false,
                Attempt::Done(_) => {}
            }
            verdicts.push(verdict);
        }
        verdicts
    }

    async fn try_commit(&mut self, commands: &[&Command]) -> Result<Vec<Attempt>, StoreError> {
        match self {
            Self::Sqlite(sqlite) => sqlite.commit(commands).await,
            Self::Postgres(postgres) => postgres.commit(commands).await,
        }
    }

    async fn move_watermarks(
        &mut self,
        rows: &[watermarks::Row],
        moved: &mut Vec<MovedWatermark>,
    ) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(sqlite) => sqlite.move_watermarks(rows, moved).await,
            Self::Postgres(postgres) => postgres.move_watermarks(rows, moved).await,
        }
    }
}

/// Counts the results of one transaction.
fn count_batch(metrics: &WriterMetrics, attempts: &[Attempt], took: Duration) {
    for attempt in attempts {
        match attempt {
            Attempt::Done(Ok(Stored::New { .. })) => metrics.chats_stored.add(1),
            Attempt::Done(Ok(Stored::Edited(_))) => metrics.chats_edited.add(1),
            Attempt::Done(Ok(Stored::Deleted(_))) => metrics.chats_deleted.add(1),
            Attempt::Done(Ok(Stored::Again(_))) => metrics.chats_retried.add(1),
            Attempt::Done(Err(Refusal::Unavailable)) => metrics.commands_unanswered.add(1),
            Attempt::Done(_) | Attempt::Locked => {}
        }
    }
    metrics.commit_commands.observe(attempts.len() as f64);
    metrics.commit_seconds.observe(took.as_secs_f64());
}
