//! Points the pools at the PostgreSQL server that takes writes, when the one in use stops doing so.
//!
//! A primary that was fenced or became a standby goes on answering, so its connections never break by themselves. The
//! first answer that says "read-only" starts a search: it ends when a server takes writes, and then every pool is
//! replaced whole. With several servers in the URL an outage starts it too.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;

use super::epoch::Epochs;
use super::error::StoreError;
use super::health::Trouble;
use super::pool::{Breaks, Pool, WeakPool};
use super::servers::Servers;

/// The pause between two looks at the servers.
const PAUSE: Duration = Duration::from_millis(250);

/// The servers, and the pools that use one of them.
pub(super) struct Failover {
    servers: Servers,
    pools: Mutex<Vec<WeakPool>>,
    searching: AtomicBool,
    breaks: Breaks,
    epochs: Arc<Epochs>,
}

impl Failover {
    pub(super) fn new(servers: Servers) -> Arc<Self> {
        Arc::new(Self {
            servers,
            pools: Mutex::default(),
            searching: AtomicBool::new(false),
            breaks: Breaks::default(),
            epochs: Arc::default(),
        })
    }

    pub(super) fn servers(&self) -> &Servers {
        &self.servers
    }

    /// The epoch that the pools' connections have found.
    pub(super) fn epochs(&self) -> &Arc<Epochs> {
        &self.epochs
    }

    /// When a connection of any pool broke last.
    pub(super) fn breaks(&self) -> &Breaks {
        &self.breaks
    }

    /// Replaces this pool, too, when another server is used.
    pub(super) fn follow(&self, pool: &Pool) {
        self.pools.lock().push(pool.downgrade());
    }

    /// Starts the search if this error calls for one.
    pub(super) fn report(self: &Arc<Self>, error: &StoreError) {
        let read_only = error.trouble() == Some(Trouble::ReadOnly);
        if read_only || self.servers.are_several() && matches!(error, StoreError::Unavailable(_)) {
            self.start(read_only);
        }
    }

    /// Starts the search; with `read_only` because the server in use takes no writes.
    pub(super) fn start(self: &Arc<Self>, read_only: bool) {
        if !self.searching.swap(true, Ordering::AcqRel) {
            tokio::spawn(Self::search(Arc::downgrade(self), read_only));
        }
    }

    /// Ends with the store, or once a server fits.
    async fn search(failover: Weak<Self>, read_only: bool) {
        loop {
            let Some(failover) = failover.upgrade() else { return };
            match failover.servers.find(read_only).await {
                Ok(is_another) => {
                    if is_another || read_only {
                        failover.replace_all();
                    }
                    failover.searching.store(false, Ordering::Release);
                    return;
                }
                Err(error) => tracing::debug!(error = &error as &dyn std::error::Error, "no server takes writes"),
            }
            drop(failover);
            tokio::time::sleep(PAUSE).await;
        }
    }

    fn replace_all(&self) {
        tracing::warn!(
            server = self.servers.name(),
            "this server takes writes: the connections to the database are replaced"
        );
        self.pools.lock().retain(|pool| pool.upgrade().is_some_and(|pool| pool.renew()));
    }
}
