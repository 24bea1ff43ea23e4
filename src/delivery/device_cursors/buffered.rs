//! What a device socket is not given yet, since its room is being read. Pure.

use bytes::Bytes;

use super::Run;
use crate::domain::Version;

/// Bytes of events that one socket may have held, all rooms together.
pub(super) const HELD_BYTES_MAX: usize = 65_536;

#[derive(Default)]
pub(super) struct Buffered {
    /// What the socket has had.
    pub sent: Version,
    events: Vec<BufferedRun>,
    /// Something up to this version was thrown away: what is held is not all, unless the database was read so far.
    pub lost: Version,
    /// The room has been seen at this version meanwhile: a reading that ended below is not the last.
    pub seen: Version,
}

struct BufferedRun {
    from: Version,
    to: Version,
    frames: Vec<(Version, Bytes)>,
}

impl Buffered {
    /// Nothing yet, of a room of which the socket has had what is up to here; what is above up to `lost` was thrown away.
    pub fn after(sent: Version, lost: Version) -> Self {
        Self { sent, lost, events: Vec::new(), seen: Version::ZERO }
    }

    pub fn bytes(&self) -> usize {
        self.events.iter().flat_map(|run| &run.frames).map(|(_, frame)| frame.len()).sum()
    }

    /// Takes a run in; gives how many bytes are held in all now.
    pub fn add(&mut self, run: &impl Run, held_bytes: usize) -> usize {
        if self.lost > Version::ZERO {
            self.lost = self.lost.max(run.to());
            return held_bytes;
        }
        let frames: Vec<_> = if run.is_unbroken() { run.frames().collect() } else { Vec::new() };
        let bytes: usize = frames.iter().map(|(_, frame)| frame.len()).sum();
        if run.is_unbroken() && held_bytes + bytes <= HELD_BYTES_MAX {
            self.events.push(BufferedRun { from: run.from(), to: run.to(), frames });
            return held_bytes + bytes;
        }
        let thrown_away = self.bytes();
        self.lost = self.events.iter().map(|run| run.to).chain([run.to()]).max().unwrap_or_default();
        self.events = Vec::new();
        held_bytes.saturating_sub(thrown_away)
    }

    /// The frames above this version and the cursor behind them; none where something is missing between.
    pub fn above(self, version: Version) -> Option<(Vec<Bytes>, Version)> {
        if self.lost > version {
            return None;
        }
        let seen = self.seen;
        let mut sent = version;
        let mut frames = Vec::new();
        for run in self.events {
            if run.from > sent {
                return None;
            }
            frames.extend(run.frames.into_iter().filter(|(version, _)| *version > sent).map(|(_, frame)| frame));
            sent = sent.max(run.to);
        }
        (sent >= seen).then_some((frames, sent))
    }
}
