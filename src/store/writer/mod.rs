//! The one writer of chats: whatever waits, from all rooms, becomes one transaction (group commit).
//!
//! Room actors hand in commands and take the next at once; their [`Home`] hears what became of each after the
//! commit, in the order of the room. There is no timer: a batch is what gathered while the last one committed. A
//! bad row fails alone. Edits, deletions and watermarks go the same way.

mod batch;
mod moves;
mod postgres;
mod sqlite;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use sea_orm::DbBackend;
use tokio::sync::mpsc;

pub(super) use batch::{ClientKey, Known};
pub use moves::Move;
use moves::Moves;

use super::StoreError;
use super::connect::Opened;
use crate::domain::chat::{Chat, ClientId, Content};
use crate::domain::{ChatId, ChatroomId, ChatterId};

/// Commands that may wait; a room that finds the queue full answers `busy`.
const QUEUE_MAX: usize = 8_192;
/// Rows in one transaction: enough to make the commit's cost small, few enough to keep it short. On PostgreSQL a
/// batch draws one number for up to 512 chat ids (the migration's INCREMENT BY).
const BATCH_MAX: usize = 400;
/// Bytes of content in one transaction.
const BATCH_BYTES_MAX: usize = 4 << 20;
/// Pause when rooms of a batch were locked by something else; doubled while they stay so.
const LOCKED_PAUSE: Duration = Duration::from_millis(1);
const LOCKED_PAUSE_MAX: Duration = Duration::from_millis(50);

/// A new chat.
#[derive(Debug)]
pub struct Append {
    pub chatroom_id: ChatroomId,
    pub sender_id: ChatterId,
    /// The sender itself in notes to self, which are never pushed.
    pub receiver_id: ChatterId,
    pub client_id: Option<ClientId>,
    pub content: Content,
}

/// A change of a stored chat by its sender.
#[derive(Debug)]
pub struct Alter {
    pub chatroom_id: ChatroomId,
    pub chat_id: ChatId,
    pub by: ChatterId,
    pub receiver_id: ChatterId,
    pub change: Change,
}

/// What a change does.
#[derive(Debug)]
pub enum Change {
    Edit(Content),
    /// Leaves a tombstone without content.
    Delete,
}

/// What a room may ask of the writer.
#[derive(Debug)]
pub enum Command {
    Append(Append),
    Alter(Alter),
}

impl Command {
    fn chatroom_id(&self) -> ChatroomId {
        match self {
            Self::Append(append) => append.chatroom_id,
            Self::Alter(alter) => alter.chatroom_id,
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Append(append) => append.content.as_str().len(),
            Self::Alter(Alter { change: Change::Edit(content), .. }) => content.as_str().len(),
            Self::Alter(_) => 0,
        }
    }
}

/// What is in the database now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stored {
    /// A new chat; `push_owed` says that its batch left something in the push outbox.
    New {
        chat: Chat,
        push_owed: bool,
    },
    /// The `client_id` was known: the chat as it is now.
    Again(Chat),
    Edited(Chat),
    Deleted(Chat),
}

/// Why nothing was stored; for `Unavailable` after a lost connection, why it is not known whether it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    NoRoom,
    /// One of the two deleted their account.
    Closed,
    ClientIdConflict,
    NoChat,
    NotSender,
    Unavailable,
    Failed,
}

/// What became of one command.
pub type Outcome = Result<Stored, Refusal>;

/// Who hears what became of a room's commands: the room actor. Called on the writer's thread, after the commit.
pub trait Home: Send + Sync {
    /// Outcomes by ticket, in the room's order.
    fn settled(&self, outcomes: Vec<(u64, Outcome)>);
}

/// One command on its way.
pub struct Submission {
    pub ticket: u64,
    pub command: Command,
    pub home: Arc<dyn Home>,
}

/// The writer's queue is full: refuse with `busy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// Where rooms hand in; cheap to clone.
#[derive(Clone)]
pub struct WriterHandle {
    queue: mpsc::Sender<Submission>,
    moves: Arc<Moves>,
    /// Commands that were handed in and not settled yet.
    in_flight: Arc<AtomicUsize>,
}

impl WriterHandle {
    /// Hands in one command; never waits.
    pub fn submit(&self, submission: Submission) -> Result<(), Full> {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        self.queue.try_send(submission).map_err(|_| {
            self.in_flight.fetch_sub(1, Ordering::Relaxed);
            Full
        })
    }

    /// Commands that were handed in and not settled yet; at shutdown this is waited for.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Waits until the watermarks are written, or a second has passed; at shutdown.
    pub async fn flush(&self) {
        let until = tokio::time::Instant::now() + Duration::from_secs(1);
        while !self.moves.is_empty() && tokio::time::Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Moves a watermark forward, at most 250 ms later, together with others.
    pub fn move_watermark(&self, chatroom_id: ChatroomId, chatter_id: ChatterId, by: Move) {
        self.moves.add(chatroom_id, chatter_id, by);
    }
}

/// The writer's loop; `app` runs it on the thread of the rooms.
pub struct Loop {
    queue: mpsc::Receiver<Submission>,
    moves: Arc<Moves>,
    in_flight: Arc<AtomicUsize>,
    database: Database,
}

enum Database {
    Sqlite(sqlite::Sqlite),
    Postgres(Box<postgres::Postgres>),
}

/// What became of one command of a batch, or that its room is locked by someone else.
enum Verdict {
    Done(Outcome),
    Locked,
}

pub(super) fn new(opened: &Opened, push_grace: Duration) -> (WriterHandle, Loop) {
    let (sender, queue) = mpsc::channel(QUEUE_MAX);
    let moves = Arc::new(Moves::default());
    let database = match opened.backend {
        DbBackend::Postgres => Database::Postgres(Box::new(postgres::Postgres::new(opened.writes.clone(), push_grace))),
        _ => Database::Sqlite(sqlite::Sqlite::new(opened.writes.clone(), push_grace)),
    };
    let in_flight = Arc::new(AtomicUsize::new(0));
    let handle = WriterHandle { queue: sender, moves: moves.clone(), in_flight: in_flight.clone() };
    (handle, Loop { queue, moves, in_flight, database })
}

impl Loop {
    /// Writes until every handle is gone, then flushes the last watermarks.
    pub async fn run(mut self) {
        let mut waiting = VecDeque::new();
        let mut pause = LOCKED_PAUSE;
        loop {
            if waiting.is_empty() {
                tokio::select! {
                    next = self.queue.recv() => match next {
                        Some(submission) => waiting.push_back(submission),
                        None => break,
                    },
                    () = self.moves.due() => {}
                }
            }
            while waiting.len() < BATCH_MAX
                && let Ok(submission) = self.queue.try_recv()
            {
                waiting.push_back(submission);
            }
            let batch = take_batch(&mut waiting);
            let locked = self.write(batch).await;
            if locked.is_empty() {
                pause = LOCKED_PAUSE;
                continue;
            }
            for submission in locked.into_iter().rev() {
                waiting.push_front(submission);
            }
            // The database itself ends whoever holds a lock without doing anything.
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LOCKED_PAUSE_MAX);
        }
        let last = self.moves.take_all();
        if let Err(error) = self.database.move_watermarks(&last).await {
            tracing::warn!(error = &error as &dyn std::error::Error, "the last watermarks were not stored");
        }
    }

    /// One batch; gives back the commands whose rooms were locked.
    async fn write(&mut self, batch: Vec<Submission>) -> Vec<Submission> {
        let commands: Vec<&Command> = batch.iter().map(|s| &s.command).collect();
        let verdicts = if commands.is_empty() { Vec::new() } else { self.database.commit(&commands).await };
        let outage = verdicts.iter().any(|v| matches!(v, Verdict::Done(Err(Refusal::Unavailable))));
        let locked = self.settle(batch, verdicts);
        if outage {
            self.refuse_waiting();
        }
        if let Some(moves) = self.moves.take_due()
            && let Err(error) = self.database.move_watermarks(&moves).await
        {
            tracing::debug!(error = &error as &dyn std::error::Error, "watermarks wait for the database");
            self.moves.put_back(moves);
        }
        locked
    }

    fn settle(&self, batch: Vec<Submission>, verdicts: Vec<Verdict>) -> Vec<Submission> {
        let taken = batch.len();
        let locked = settle(batch, verdicts);
        self.in_flight.fetch_sub(taken - locked.len(), Ordering::Relaxed);
        locked
    }

    /// Whoever came while the database did not answer has waited as long as anybody should.
    fn refuse_waiting(&mut self) {
        let mut waiting = Vec::new();
        while waiting.len() < QUEUE_MAX
            && let Ok(submission) = self.queue.try_recv()
        {
            waiting.push(submission);
        }
        let verdicts = waiting.iter().map(|_| Verdict::Done(Err(Refusal::Unavailable))).collect();
        self.settle(waiting, verdicts);
    }
}

impl Database {
    async fn commit(&mut self, commands: &[&Command]) -> Vec<Verdict> {
        match self.try_commit(commands).await {
            Ok(verdicts) => verdicts,
            Err(StoreError::Unavailable(error)) => {
                let error = error.as_ref().map(ToString::to_string);
                tracing::warn!(error, chats = commands.len(), "a batch was not stored: the database does not answer");
                commands.iter().map(|_| Verdict::Done(Err(Refusal::Unavailable))).collect()
            }
            Err(StoreError::Failed(error)) if commands.len() == 1 => {
                tracing::error!(error = &error as &dyn std::error::Error, "a chat could not be stored");
                vec![Verdict::Done(Err(Refusal::Failed))]
            }
            // One bad row must not fail its neighbours: each on its own.
            Err(StoreError::Failed(_)) => {
                let mut verdicts = Vec::with_capacity(commands.len());
                for command in commands {
                    verdicts.extend(Box::pin(self.commit(&[command])).await);
                }
                verdicts
            }
        }
    }

    async fn try_commit(&mut self, commands: &[&Command]) -> Result<Vec<Verdict>, StoreError> {
        match self {
            Self::Sqlite(sqlite) => sqlite.commit(commands).await,
            Self::Postgres(postgres) => postgres.commit(commands).await,
        }
    }

    async fn move_watermarks(&mut self, moves: &[moves::Row]) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(sqlite) => sqlite.move_watermarks(moves).await,
            Self::Postgres(postgres) => postgres.move_watermarks(moves).await,
        }
    }
}

fn take_batch(waiting: &mut VecDeque<Submission>) -> Vec<Submission> {
    let mut batch = Vec::with_capacity(waiting.len().min(BATCH_MAX));
    let mut bytes = 0;
    while batch.len() < BATCH_MAX
        && bytes < BATCH_BYTES_MAX
        && let Some(submission) = waiting.pop_front()
    {
        bytes += submission.command.bytes();
        batch.push(submission);
    }
    batch
}

/// Tells each room what became of its commands; gives back, in order, what has to be tried again.
fn settle(batch: Vec<Submission>, verdicts: Vec<Verdict>) -> Vec<Submission> {
    let mut rooms: Vec<(Arc<dyn Home>, Vec<(u64, Outcome)>)> = Vec::new();
    let mut index: HashMap<ChatroomId, usize> = HashMap::new();
    let mut locked = Vec::new();
    for (submission, verdict) in batch.into_iter().zip(verdicts) {
        let Verdict::Done(outcome) = verdict else {
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
    locked
}
