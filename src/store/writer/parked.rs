//! Commands whose rooms another transaction has locked: they wait in the order of each room and are tried again.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use super::command::Submission;
use crate::domain::ChatroomId;
use crate::store::pool::DEADLINE;

/// Pause before locked rooms are tried again; it doubles up to the second while they stay locked.
const LOCKED_PAUSE: Duration = Duration::from_millis(1);
const LOCKED_PAUSE_MAX: Duration = Duration::from_millis(50);

/// The parked commands. Commands of other rooms pass them.
#[derive(Default)]
pub(super) struct Parked {
    pub(super) rooms: HashMap<ChatroomId, VecDeque<Submission>>,
    /// When each room was first found locked.
    since: HashMap<ChatroomId, Instant>,
    pub(super) count: usize,
    pause: Duration,
    /// When to try again; none while nothing is parked.
    pub(super) retry_at: Option<Instant>,
}

impl Parked {
    pub(super) fn push(&mut self, submission: Submission) {
        self.count += 1;
        self.rooms.entry(submission.command.chatroom_id()).or_default().push_back(submission);
    }

    /// Takes up to `most` commands, in the order of each room; the others keep their places behind them.
    pub(super) fn take(&mut self, most: usize) -> Vec<Submission> {
        let mut taken = Vec::new();
        self.rooms.retain(|_, commands| {
            let count = commands.len().min(most - taken.len());
            taken.extend(commands.drain(..count));
            !commands.is_empty()
        });
        self.count -= taken.len();
        self.retry_at = (self.count > 0).then(Instant::now);
        taken
    }

    /// Parks commands whose rooms are still locked, in front of those that wait for the same room.
    pub(super) fn put_back(&mut self, locked: Vec<Submission>) {
        let now = Instant::now();
        for submission in locked.into_iter().rev() {
            let room = submission.command.chatroom_id();
            self.count += 1;
            self.since.entry(room).or_insert(now);
            self.rooms.entry(room).or_default().push_front(submission);
            self.retry_at = None;
        }
        self.since.retain(|room, _| self.rooms.contains_key(room));
        if self.count == 0 {
            self.pause = LOCKED_PAUSE;
        } else if self.retry_at.is_none() {
            self.pause = (self.pause * 2).clamp(LOCKED_PAUSE, LOCKED_PAUSE_MAX);
            self.retry_at = Some(now + self.pause);
        }
    }

    /// Takes the commands whose rooms have been locked beyond the deadline.
    pub(super) fn take_expired(&mut self) -> Vec<Submission> {
        let mut expired = Vec::new();
        self.since.retain(|room, since| {
            let over = since.elapsed() > DEADLINE;
            if over {
                expired.extend(self.rooms.remove(room).into_iter().flatten());
            }
            !over
        });
        self.count -= expired.len();
        expired
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::store::epoch::EpochNumber;
    use crate::store::writer::command::{Command, Mutate, Mutation, Outcome, OutcomeSink};

    struct NullSink;

    impl OutcomeSink for NullSink {
        fn complete(&self, _: Vec<(u64, Outcome)>) {}
    }

    fn submission(room: i64, ticket: u64) -> Submission {
        let mutate = Mutate {
            chatroom_id: room.into(),
            chat_id: 1.into(),
            by: 1.into(),
            receiver_id: 2.into(),
            mutation: Mutation::Delete,
        };
        Submission { ticket, command: Command::Mutate(mutate), epoch: EpochNumber::default(), sink: Arc::new(NullSink) }
    }

    fn tickets(submissions: &[Submission], room: i64) -> Vec<u64> {
        submissions.iter().filter(|s| s.command.chatroom_id().get() == room).map(|s| s.ticket).collect()
    }

    #[test]
    fn commands_for_a_locked_room_keep_their_order() {
        let mut parked = Parked::default();
        parked.put_back(vec![submission(1, 1), submission(2, 9), submission(1, 2)]);
        parked.push(submission(1, 3));
        let first = parked.take(3);
        assert_eq!(parked.count, 4 - first.len());
        parked.put_back(first);
        let all = parked.take(100);
        assert_eq!((tickets(&all, 1), tickets(&all, 2)), (vec![1, 2, 3], vec![9]));
        assert_eq!((parked.count, parked.retry_at), (0, None));
    }

    #[tokio::test(start_paused = true)]
    async fn commands_for_a_locked_room_expire_at_the_deadline() {
        let mut parked = Parked::default();
        parked.put_back(vec![submission(1, 1)]);
        for _ in 0..3 {
            tokio::time::advance(DEADLINE / 2).await;
            let retried = parked.take(100);
            parked.put_back(retried);
        }
        assert_eq!(tickets(&parked.take_expired(), 1), [1]);
        assert_eq!(parked.count, 0);
        assert!(parked.rooms.is_empty() && parked.since.is_empty());
    }
}
