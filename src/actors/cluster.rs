//! What other instances tell, brought to this one's rooms and sockets; and what nobody told, asked of the database.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use super::registry::Registry;
use super::room::messages::Command;
use super::session::frame::raw_text_frame;
use super::sessions::Sessions;
use crate::domain::{ChatroomId, ChatterId, Version};
use crate::relay::{Hear, State, Told};
use crate::store::changed::{Changed, Watch};
use crate::store::{Store, StoreError};

/// How often the database is asked what changed, as a net below the relay.
const ASK_EVERY: Duration = Duration::from_secs(5);
/// The same while the other instances cannot be heard.
const ASK_EVERY_AWAY: Duration = Duration::from_secs(1);
/// What the database knows already may still be on its way to the sockets.
const ON_ITS_WAY: Duration = Duration::from_millis(300);
/// Sockets' tokens that are looked at with one question.
const TOKENS_AT_ONCE: usize = 500;

/// The ears of an instance.
pub struct Cluster {
    store: Arc<Store>,
    registry: Arc<Registry>,
    sessions: Arc<Sessions>,
    missed: Notify,
}

impl Cluster {
    /// Hears for these rooms and sockets.
    #[must_use]
    pub fn new(store: Arc<Store>, registry: Arc<Registry>, sessions: Arc<Sessions>) -> Arc<Self> {
        Arc::new(Self { store, registry, sessions, missed: Notify::new() })
    }

    /// Asks the database what changed for as long as the instance runs: now and then, more often while the relay is away,
    /// and at once when it is back.
    pub async fn watch(self: Arc<Self>) {
        if self.sessions.relay().state() == State::Single {
            return;
        }
        let mut watch = Watch::default();
        loop {
            let pause = if self.sessions.relay().state() == State::Up { ASK_EVERY } else { ASK_EVERY_AWAY };
            // An error is an early end of the pause: somebody has been missing something.
            let _ = timeout(pause, self.missed.notified()).await;
            if let Err(error) = self.look(&mut watch).await {
                tracing::debug!(
                    error = &error as &dyn std::error::Error,
                    "what changed elsewhere waits for the database"
                );
            }
        }
    }

    async fn look(&self, watch: &mut Watch) -> Result<(), StoreError> {
        let changed = self.store.changed(watch).await?;
        sleep(ON_ITS_WAY).await;
        for Changed { chatroom_id, pair, version } in changed {
            self.look_at(chatroom_id, pair, version);
        }
        self.check_tokens().await
    }

    fn look_at(&self, room: ChatroomId, pair: [ChatterId; 2], version: Version) {
        let both = if pair[0] == pair[1] { &pair[..1] } else { &pair[..] };
        for chatter in both {
            self.sessions.each(*chatter, |link| link.look(room, version));
        }
    }

    /// Ends the sockets whose sign-in or account has ended elsewhere without a word.
    async fn check_tokens(&self) -> Result<(), StoreError> {
        let mut tokens: HashMap<(ChatterId, Option<i64>), Vec<_>> = HashMap::new();
        for chatter in self.sessions.chatters() {
            self.sessions.each(chatter, |link| {
                tokens.entry((chatter, link.sign_in_id())).or_default().push(link.clone());
            });
        }
        let asked: Vec<(ChatterId, Option<i64>)> = tokens.keys().copied().collect();
        for some in asked.chunks(TOKENS_AT_ONCE) {
            for (token, standing) in self.store.standings(some).await? {
                if standing.is_err() {
                    let over = tokens.remove(&token).unwrap_or_default();
                    over.iter().for_each(|link| link.close(super::session::frame::Close::TOKEN_REFUSED));
                }
            }
        }
        Ok(())
    }
}

impl Hear for Cluster {
    fn told(&self, told: Told) {
        match told {
            Told::Changes(changes) => {
                // A room that is too busy leaves it to the next look at the database.
                let _ = self.registry.tell(changes.chatroom_id, Command::Relayed(changes));
            }
            Told::Frame { chatter_id, text, droppable } => {
                let frame = raw_text_frame(&text);
                if droppable {
                    self.sessions.mention_here(chatter_id, &frame);
                } else {
                    self.sessions.announce_here(chatter_id, &frame);
                }
            }
            Told::SignedOut { chatter_id, keep } => self.sessions.signed_out_here(chatter_id, keep),
            Told::AccountGone { chatter_id } => self.sessions.account_gone_here(chatter_id),
            Told::RoomGone { chatroom_id, chatters } => {
                self.sessions.close_room_here(chatroom_id, chatters);
                self.registry.tell_if_running(chatroom_id, Command::Deleted);
            }
        }
    }

    fn reconnected(&self) {
        self.missed.notify_one();
    }

    fn presumed_dead(&self) {
        self.sessions.all_untold();
    }
}
