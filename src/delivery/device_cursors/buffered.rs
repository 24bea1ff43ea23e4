//! The buffer for the changes of a room that is being read for a device socket. Pure.

use bytes::Bytes;

use crate::delivery::run::Run;
use crate::domain::Version;

/// Bytes of frames that one socket may have buffered, all rooms together.
pub(super) const BUFFERED_BYTES_MAX: usize = 65_536;

#[derive(Default)]
pub(super) struct Buffered {
    /// The version up to which the socket was sent the room.
    pub sent: Version,
    runs: Vec<BufferedRun>,
    /// The newest version that was dropped: the buffer is incomplete unless the database was read up to it.
    pub lost: Version,
    /// The newest version that the room is known to have: a read that ends below it is not the last.
    pub seen: Version,
    /// The room has to be read, and no read is under way.
    pub needs_requery: bool,
}

struct BufferedRun {
    from: Version,
    to: Version,
    frames: Vec<(Version, Bytes)>,
}

impl Buffered {
    /// An empty buffer of a room that was sent up to one version, and whose changes above it up to `lost` were dropped.
    pub(crate) fn after(sent: Version, lost: Version) -> Self {
        Self { sent, lost, ..Self::default() }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.runs.iter().flat_map(|run| &run.frames).map(|(_, frame)| frame.len()).sum()
    }

    /// Adds a run, or drops the buffer if it overflows; gives how many bytes the socket has buffered in all now.
    pub(crate) fn add(&mut self, run: &impl Run, socket_bytes: usize) -> usize {
        if self.lost > Version::ZERO {
            self.lost = self.lost.max(run.to());
            return socket_bytes;
        }
        let frames: Vec<_> = if run.is_unbroken() { run.frames().collect() } else { Vec::new() };
        let bytes: usize = frames.iter().map(|(_, frame)| frame.len()).sum();
        if run.is_unbroken() && socket_bytes + bytes <= BUFFERED_BYTES_MAX {
            self.runs.push(BufferedRun { from: run.from(), to: run.to(), frames });
            return socket_bytes + bytes;
        }
        let dropped = self.bytes();
        self.lost = self.runs.iter().map(|run| run.to).chain([run.to()]).max().unwrap_or_default();
        self.runs = Vec::new();
        socket_bytes.saturating_sub(dropped)
    }

    /// The frames above this version, and the version that they reach; none if changes are missing in between.
    pub(crate) fn above(self, version: Version) -> Option<(Vec<Bytes>, Version)> {
        if self.lost > version {
            return None;
        }
        let mut sent = version;
        let mut frames = Vec::new();
        for run in self.runs {
            if run.from > sent {
                return None;
            }
            frames.extend(run.frames.into_iter().filter(|(version, _)| *version > sent).map(|(_, frame)| frame));
            sent = sent.max(run.to);
        }
        (sent >= self.seen).then_some((frames, sent))
    }
}
