//! Whether Redis is in reach: both message connections have to be up. Logs each change once.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use parking_lot::Mutex;

use super::failure::Failure;
use crate::broker::{State, Why};

/// What a connection is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Publishing,
    Subscribed,
    /// Its failure takes no messages away from the other instances.
    Directory,
}

/// The state of the message connections.
pub(super) struct Health {
    inner: Mutex<Inner>,
    /// Read for each message, so it needs no lock.
    can_publish: AtomicBool,
}

struct Inner {
    publishing: bool,
    subscribed: bool,
    away: Option<Away>,
}

struct Away {
    since: Instant,
    /// The reason that was logged last; none before the first attempt to connect has failed.
    logged: Option<Why>,
}

impl Health {
    pub(crate) fn starting() -> Self {
        let away = Some(Away { since: Instant::now(), logged: None });
        Self {
            inner: Mutex::new(Inner { publishing: false, subscribed: false, away }),
            can_publish: AtomicBool::new(false),
        }
    }

    /// Whether messages can be published.
    pub(crate) fn can_publish(&self) -> bool {
        self.can_publish.load(Ordering::Relaxed)
    }

    pub(crate) fn state(&self) -> State {
        self.inner
            .lock()
            .away
            .as_ref()
            .map_or(State::Up, |away| State::Away { since: away.since, why: away.logged.unwrap_or(Why::Unreachable) })
    }

    /// A connection is ready for use.
    pub(crate) fn up(&self, role: Role) {
        let mut inner = self.inner.lock();
        self.set(&mut inner, role, true);
        if inner.publishing
            && inner.subscribed
            && let Some(away) = inner.away.take()
        {
            let away_ms = u64::try_from(away.since.elapsed().as_millis()).unwrap_or(u64::MAX);
            tracing::info!(away_ms, "Redis is in reach");
        }
    }

    /// A connection failed, or could not be made.
    pub(crate) fn down(&self, role: Role, why: &Failure) {
        if role == Role::Directory {
            tracing::debug!(%why, "the presence directory is out of reach");
            return;
        }
        let mut inner = self.inner.lock();
        self.set(&mut inner, role, false);
        let away = inner.away.get_or_insert_with(|| Away { since: Instant::now(), logged: None });
        let reason = why.why();
        // What an operator has to mend is logged also where Redis was unreachable before.
        if away.logged.is_none_or(|logged| logged != reason && reason != Why::Unreachable) {
            away.logged = Some(reason);
            if reason == Why::Refused {
                tracing::error!(%why, "Redis cannot be used: check the name and the password in redis.url");
            } else {
                tracing::warn!(%why, "Redis is away: instances learn of each other's changes by polling the database");
            }
        }
    }

    fn set(&self, inner: &mut Inner, role: Role, up: bool) {
        match role {
            Role::Publishing => {
                inner.publishing = up;
                self.can_publish.store(up, Ordering::Relaxed);
            }
            Role::Subscribed => inner.subscribed = up,
            Role::Directory => {}
        }
    }
}
