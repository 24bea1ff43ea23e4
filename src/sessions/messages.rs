//! What a session accepts: control only. Chats never pass its mailbox, they go straight into its out-queue.

use actix::Message;

/// Sent by [`Connection`](crate::connections::connection::Link) when a close frame was queued or the queue ran over: the session waits
/// briefly for the peer's close frame, then ends.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Shut;

/// Sent by [`Connection`](crate::connections::connection::Link) when chats were queued so soon after the last proof ping that theirs has to
/// wait: the session asks for the proof after the pause.
#[derive(Message)]
#[rtype(result = "()")]
pub struct ProofWanted;

/// Sent by [`Connection`](crate::connections::connection::Link) when a room has changes that this device socket cannot be given without reading the
/// database: the session reads it.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Behind;
