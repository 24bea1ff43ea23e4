//! What a conversation does when the server's database was set back to an earlier state.

use super::ChatError;
use super::api::Person;
use super::conversation::Conversation;
use super::socket::{Broken, unread};
use crate::domain::Seq;

impl Conversation {
    /// Checks that the room is the one that it was. Where the server's database was set back, ids and `seq`s have begun
    /// anew: finds the two people and their room again, and shows its last chats.
    pub(super) async fn check_epoch(&mut self) -> Result<(), Broken> {
        match self.api.epoch(self.room, self.epoch.as_deref()).await {
            Ok(epoch) => self.epoch = epoch.or(self.epoch.take()),
            Err(error) if error.has_code("epoch_changed") => {
                let (me, other) = (self.find(&self.me).await?, self.find(&self.other).await?);
                self.room = self.api.chatroom_with(other.id).await.map_err(unread)?;
                self.epoch = self.api.epoch(self.room, None).await.map_err(unread)?;
                (self.me, self.other, self.shown_seq) = (me, other, Seq::ZERO);
                let note = "The server's database was set back to an earlier state. These are its last chats:";
                self.screen.note(note).map_err(|e| Broken::For(e.into()))?;
                let recent = self.api.recent(self.room).await.map_err(unread)?;
                self.show_all(recent).map_err(|e| Broken::For(e.into()))?;
            }
            Err(error) => return Err(unread(error)),
        }
        Ok(())
    }

    async fn find(&self, person: &Person) -> Result<Person, Broken> {
        let lost = || format!("the server's database was set back, and has no account {}", person.username);
        let found = self.api.find(&person.username).await.map_err(unread)?;
        found.ok_or_else(|| Broken::For(ChatError::Ended(lost())))
    }
}
