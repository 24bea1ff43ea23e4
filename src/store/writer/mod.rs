//! The one writer of chats: whatever waits, from all rooms, becomes one transaction (group commit).
//!
//! Room actors hand in commands and take the next at once; their [`OutcomeSink`] hears what became of each after the
//! commit, in the order of the room. There is no timer: a batch is what gathered while the last one committed. A
//! bad row fails alone. Edits, deletions and watermarks go the same way.

mod parked;
mod plan;
mod postgres;
mod sqlite;
mod task;
mod watermarks;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::mpsc;

pub(super) use plan::{ClientKey, Known};
pub use task::WriterTask;
use watermarks::WatermarkQueue;
pub use watermarks::WatermarkUpdate;

use super::connect::Opened;
use crate::domain::chat::{Chat, ClientId, Content};
use crate::domain::{ChatId, ChatroomId, ChatterId, Seq};
use crate::metrics::WriterMetrics;

/// Commands that may wait; a room that finds the queue full answers `busy`.
const QUEUE_MAX: usize = 8_192;

/// A new chat.
pub struct Append {
    pub chatroom_id: ChatroomId,
    pub sender_id: ChatterId,
    /// The sender itself in notes to self, which are never pushed.
    pub receiver_id: ChatterId,
    pub client_id: Option<ClientId>,
    pub content: Content,
}

/// A change of a stored chat by its sender.
pub struct Mutation {
    pub chatroom_id: ChatroomId,
    pub chat_id: ChatId,
    pub by: ChatterId,
    pub receiver_id: ChatterId,
    pub change: Change,
}

/// What a change does.
pub enum Change {
    Edit(Content),
    /// Leaves a tombstone without content.
    Delete,
}

/// What a room may ask of the writer.
pub enum Command {
    Append(Append),
    Mutation(Mutation),
}

impl Command {
    fn chatroom_id(&self) -> ChatroomId {
        match self {
            Self::Append(append) => append.chatroom_id,
            Self::Mutation(alter) => alter.chatroom_id,
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Append(append) => append.content.as_str().len(),
            Self::Mutation(Mutation { change: Change::Edit(content), .. }) => content.as_str().len(),
            Self::Mutation(_) => 0,
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
pub trait OutcomeSink: Send + Sync {
    /// Outcomes by ticket, in the room's order.
    fn settled(&self, outcomes: Vec<(u64, Outcome)>);
}

/// Watermarks that moved: where they are now, and whose they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MovedWatermark {
    pub chatroom_id: ChatroomId,
    pub chatter_id: ChatterId,
    /// The other person of the room; the chatter itself in notes to self.
    pub other_id: ChatterId,
    pub delivered_seq: Seq,
    pub read_seq: Seq,
    /// Whether it was `read_seq` that was to move, and with it what is unread.
    pub read: bool,
    /// Whether the other person may know.
    pub shown: bool,
}

/// Who hears of watermarks that moved. Called on the writer's thread, after the commit: it must not wait.
pub trait WatermarkObserver: Send + Sync {
    /// At least one, each with the row as it is now.
    fn moved(&self, moved: Vec<MovedWatermark>);
}

/// The watcher, once there is one.
type Watching = Arc<OnceLock<Arc<dyn WatermarkObserver>>>;

/// One command on its way.
pub struct Submission {
    pub ticket: u64,
    pub command: Command,
    pub home: Arc<dyn OutcomeSink>,
}

/// The writer's queue is full: refuse with `busy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// Where rooms hand in; cheap to clone.
#[derive(Clone)]
pub struct WriterHandle {
    queue: mpsc::Sender<Submission>,
    moves: Arc<WatermarkQueue>,
    watcher: Watching,
    /// Commands that were handed in and not settled yet.
    in_flight: Arc<AtomicUsize>,
    metrics: Arc<WriterMetrics>,
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

    /// What it has counted.
    #[must_use]
    pub fn metrics(&self) -> &WriterMetrics {
        &self.metrics
    }

    /// Waits until the watermarks are written, or a second has passed; at shutdown.
    pub async fn flush(&self) {
        let until = tokio::time::Instant::now() + Duration::from_secs(1);
        while !self.moves.is_empty() && tokio::time::Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Moves a watermark forward, at most 250 ms later, together with others.
    pub fn move_watermark(&self, chatroom_id: ChatroomId, chatter_id: ChatterId, by: WatermarkUpdate) {
        self.moves.add(chatroom_id, chatter_id, by);
    }

    /// Tells this one from now on of watermarks that moved; there is one, and the first stays.
    pub fn watch(&self, watcher: Arc<dyn WatermarkObserver>) {
        if self.watcher.set(watcher).is_err() {
            tracing::error!("watermarks have a watcher already");
        }
    }
}

/// The writer and where to hand in.
pub(super) fn new(opened: &Opened, push_grace: Duration) -> (WriterHandle, WriterTask) {
    let (sender, queue) = mpsc::channel(QUEUE_MAX);
    let (moves, watcher, in_flight) =
        (Arc::new(WatermarkQueue::default()), Watching::default(), Arc::new(AtomicUsize::new(0)));
    let metrics = Arc::new(WriterMetrics::default());
    let run =
        WriterTask::new(queue, moves.clone(), watcher.clone(), in_flight.clone(), metrics.clone(), opened, push_grace);
    (WriterHandle { queue: sender, moves, watcher, in_flight, metrics }, run)
}
