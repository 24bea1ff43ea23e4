//! All that the notifier accepts.

use actix::Message;

use crate::domain::{ChatroomId, ChatterId};

/// A chat was committed and no live socket of its receiver is known: its push need not wait for the grace.
///
/// From room actors, by `try_send`; answers nothing. A full mailbox loses only the haste, since the row comes due by
/// itself: count it with `Counters::count_unreached_dropped` and go on.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct PushHint {
    /// The chat's room.
    pub chatroom_id: ChatroomId,
    /// Whom no socket reached.
    pub receiver_id: ChatterId,
}

/// Claim nothing more. Answers once the sends in flight have ended and are written down; the asker sets a deadline.
///
/// From the composition root, at shutdown.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct Drain;
