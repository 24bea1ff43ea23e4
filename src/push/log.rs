//! Pushes of a server without FCM: each becomes a line in the log.

use super::{Outcome, Push};

/// Logs that a push was due, without its token and content.
pub(super) fn send(push: &Push) -> Outcome {
    tracing::info!(
        chatroom_id = push.chatroom_id.get(),
        receiver_id = push.receiver_id.get(),
        seq = push.seq.get(),
        "push not sent: FCM is not configured"
    );
    Outcome::Accepted
}
