//! Runs of changes of one room, as the cursors of sockets take them.

use bytes::Bytes;

use crate::domain::Version;

/// A run of changes as a room delivers it: all after `from` up to `to`.
pub trait Run {
    /// The version before the first change.
    fn from(&self) -> Version;
    /// The version of the last change.
    fn to(&self) -> Version;
    /// Whether the run has a change for each version; a run that was read from the database has holes.
    fn is_unbroken(&self) -> bool;
    /// The frames of an unbroken run with their versions.
    fn frames(&self) -> impl Iterator<Item = (Version, Bytes)>;
    /// The whole run as one frame, if it was read from the database and is small enough.
    fn as_changes(&self) -> Option<Bytes>;
}
