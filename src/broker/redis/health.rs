//! Whether Redis is in reach: both connections have to stand. Says so in the log, once a change.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use parking_lot::Mutex;

use super::State;
use super::connect::Failure;

/// One of the connections.
#[derive(Clone, Copy)]
pub(super) enum Side {
    Publishes,
    Subscribed,
    /// Who is there; no other instance has to do without anything else when it fails.
    PresenceDirectory,
}

pub(super) struct Health {
    inner: Mutex<Inner>,
    /// Asked for each message, so it is no lock.
    publishes: AtomicBool,
}

struct Inner {
    up: [bool; 3],
    away: Option<Away>,
}

struct Away {
    since: Instant,
    /// Whether the log says so; not while the first attempt has not failed.
    said: bool,
}

impl Health {
    pub fn starting() -> Self {
        let away = Some(Away { since: Instant::now(), said: false });
        Self { inner: Mutex::new(Inner { up: [false; 3], away }), publishes: AtomicBool::new(false) }
    }

    /// Whether messages can be published.
    pub fn publishes(&self) -> bool {
        self.publishes.load(Ordering::Relaxed)
    }

    pub fn state(&self) -> State {
        self.inner.lock().away.as_ref().map_or(State::Up, |away| State::Away { since: away.since })
    }

    pub fn up(&self, side: Side) {
        let mut inner = self.inner.lock();
        self.set(&mut inner, side, true);
        if inner.up[..2] == [true; 2]
            && let Some(away) = inner.away.take()
        {
            let away_ms = u64::try_from(away.since.elapsed().as_millis()).unwrap_or(u64::MAX);
            tracing::info!(away_ms, "Redis is in reach");
        }
    }

    pub fn down(&self, side: Side, why: &Failure) {
        if matches!(side, Side::PresenceDirectory) {
            tracing::debug!(%why, "who is connected elsewhere is not known");
            return;
        }
        let mut inner = self.inner.lock();
        self.set(&mut inner, side, false);
        let away = inner.away.get_or_insert_with(|| Away { since: Instant::now(), said: false });
        if !away.said {
            away.said = true;
            tracing::warn!(%why, "Redis is away: other instances hear of changes by reading the database");
        }
    }

    fn set(&self, inner: &mut Inner, side: Side, up: bool) {
        inner.up[side as usize] = up;
        if matches!(side, Side::Publishes) {
            self.publishes.store(up, Ordering::Relaxed);
        }
    }
}
