//! What a device socket's session or connection has to do after its cursors have changed.

use bytes::Bytes;

use crate::domain::Version;

/// What follows from new changes of a room.
#[derive(Debug, PartialEq, Eq)]
pub enum Delivery {
    /// Send these frames; there are none for changes that the socket has, and for deleted rooms.
    Send(Vec<Bytes>),
    /// The changes wait for a read that is due or under way.
    Buffered,
    /// The changes wait, and the session has to be woken: the room has to be read, or announced.
    NeedsSession,
}

/// What follows from the announcement of a new room.
#[derive(Debug, PartialEq, Eq)]
pub enum Announcement {
    /// The socket knows the room, or the room was deleted: send nothing.
    Unneeded,
    /// Send the announcement, then these frames.
    Send(Vec<Bytes>),
    /// Send the announcement; the room has to be read.
    NeedsRequery,
}

/// What to do after the database was read for a room.
#[derive(Debug, PartialEq, Eq)]
pub enum Release {
    /// Send these frames; the room is live.
    Frames(Vec<Bytes>),
    /// Read the room once more, from this version on.
    Requery(Version),
    /// The room was deleted meanwhile.
    Deleted,
}
