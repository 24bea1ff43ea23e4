//! Chatters who have connected or disconnected on this instance, collected until the presence task takes them.

use std::collections::HashSet;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::domain::ChatterId;

/// Chatters whose first socket was opened here, or whose last one was closed.
#[derive(Default)]
pub struct PresenceChanges {
    changed: Mutex<HashSet<ChatterId>>,
    /// Those among them whose presence has to be sent again, since the last one that was sent does not count any more.
    forgotten: Mutex<HashSet<ChatterId>>,
    added: Notify,
}

impl PresenceChanges {
    /// Notes that this chatter has connected or disconnected.
    pub fn note(&self, chatter: ChatterId) {
        self.changed.lock().insert(chatter);
        self.added.notify_one();
    }

    /// Notes that the presence of these chatters has to be sent again: they show it after they hid it, or other
    /// instances may have sent that they are offline.
    pub fn forget(&self, chatters: &[ChatterId]) {
        self.forgotten.lock().extend(chatters);
        self.changed.lock().extend(chatters);
        self.added.notify_one();
    }

    /// Waits until there are changes.
    pub async fn wait(&self) {
        while self.changed.lock().is_empty() {
            self.added.notified().await;
        }
    }

    /// Takes the chatters who have changed since the last call.
    #[must_use]
    pub fn take(&self) -> HashSet<ChatterId> {
        std::mem::take(&mut *self.changed.lock())
    }

    /// Takes the chatters whose presence has to be sent again. Called before [`PresenceChanges::take`].
    #[must_use]
    pub fn take_forgotten(&self) -> HashSet<ChatterId> {
        std::mem::take(&mut *self.forgotten.lock())
    }
}
