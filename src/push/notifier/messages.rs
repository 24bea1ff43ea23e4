//! The messages that the notifier accepts.

use actix::Message;

use crate::domain::{ChatroomId, ChatterId};

/// A chat was committed and its receiver has no live socket: the push need not wait for the grace.
///
/// Sent by `try_send`, without an answer. A full mailbox drops the hint, which is counted; the push is then due after
/// the grace.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct PushHint {
    /// The chat's room.
    pub chatroom_id: ChatroomId,
    /// The receiver of the push.
    pub receiver_id: ChatterId,
}

/// Stops claiming. The answer comes once the sends in flight have ended and their results are written; the caller sets
/// a deadline.
///
/// Sent by the composition root, at shutdown.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct Drain;
