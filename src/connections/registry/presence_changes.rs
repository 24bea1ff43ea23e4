//! Who came and who went, kept until somebody asks.

use std::collections::HashSet;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::ConnectionRegistry;
use crate::domain::ChatterId;

/// Chatters whose first socket came or whose last one went.
#[derive(Default)]
pub(super) struct Changed {
    chatters: Mutex<HashSet<ChatterId>>,
    /// Those among them whom others know nothing of any more: they hid themselves and do so no longer.
    untold: Mutex<HashSet<ChatterId>>,
    added: Notify,
}

impl ConnectionRegistry {
    /// Notes that these came or went, for [`ConnectionRegistry::changed`]; also when they could not be told about and have to be
    /// later.
    pub fn presence_changed(&self, chatters: impl IntoIterator<Item = ChatterId>) {
        self.changed.chatters.lock().extend(chatters);
        self.changed.added.notify_one();
    }

    /// Others may see again whether this chatter is there.
    pub fn shows_again(&self, chatter: ChatterId) {
        self.changed.untold.lock().insert(chatter);
        self.presence_changed([chatter]);
    }

    /// Others may have been told that everybody here was gone.
    pub fn all_untold(&self) {
        let all = self.chatters();
        self.changed.untold.lock().extend(&all);
        self.presence_changed(all);
    }

    /// Those who show again whether they are there, since the last time.
    #[must_use]
    pub fn take_untold(&self) -> HashSet<ChatterId> {
        std::mem::take(&mut *self.changed.untold.lock())
    }

    /// Waits until somebody came or went.
    pub async fn changed(&self) {
        while self.changed.chatters.lock().is_empty() {
            self.changed.added.notified().await;
        }
    }

    /// Those who came or went since the last time.
    #[must_use]
    pub fn take_changed(&self) -> HashSet<ChatterId> {
        std::mem::take(&mut *self.changed.chatters.lock())
    }
}
