//! What a device socket knows of one room.

use std::time::Instant;

use bytes::Bytes;

use super::buffered::Buffered;
use crate::delivery::run::Run;
use crate::domain::Version;

/// What the socket knows of one room.
pub(super) enum Room {
    /// Everything up to this version was sent; the next change is sent at once.
    Live(Version),
    /// The socket was sent a frame that names the room; the room is being read or has to be.
    Buffered(Box<Buffered>),
    /// A change came before any frame that names the room; it is buffered until such a frame is sent.
    Unannounced(Box<Unannounced>),
    /// The room was deleted. A page that was read earlier may still name it, and an earlier change may still come.
    Deleted,
}

/// A room of which the socket was sent nothing yet.
pub(super) struct Unannounced {
    /// When its first change came.
    pub since: Instant,
    pub buffered: Buffered,
}

/// The frames of this run that a live socket lacks; none if changes are missing before it, or if it is too large.
pub(super) fn frames_after(sent: Version, run: &impl Run) -> Option<Vec<Bytes>> {
    if run.is_unbroken() && run.from() <= sent {
        Some(run.frames().filter(|(version, _)| *version > sent).map(|(_, frame)| frame).collect())
    } else if run.from() == sent {
        run.as_changes().map(|frame| vec![frame])
    } else {
        None
    }
}
