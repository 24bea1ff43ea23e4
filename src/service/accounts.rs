//! Accounts: how a viewer sees them, changed privacy, the end of access, deletion.

use std::collections::HashSet;

use super::Service;
use crate::domain::chatter::Chatter;
use crate::domain::{ChatterId, Grant};
use crate::problem::Problem;
use crate::protocol::device::server::{RemovalReason, ServerFrame};
use crate::protocol::rest::ChatterBody;
use crate::store::chatters::{ChangedChatter, ChatterUpdate};
use crate::websocket::framing::text_frame;

/// What the deletion of an account does to its rooms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deletion {
    /// The row stays as `deleted-N` and the other person keeps the conversation.
    Anonymise,
    /// The rooms and all their chats are deleted too.
    Cascade,
}

impl Service {
    /// The chatter's own account; refused where it was deleted.
    pub async fn own_account(&self, chatter: ChatterId) -> Result<ChatterBody, Problem> {
        let account = self.store.chatter(chatter).await?.ok_or_else(Problem::account_deleted)?;
        Ok(ChatterBody::own(&account, self.store.account_token(chatter).await?))
    }

    /// Another chatter's account as the viewer may see it.
    pub async fn account(&self, viewer: ChatterId, chatter: ChatterId) -> Result<ChatterBody, Problem> {
        let account = self.store.chatter(chatter).await?.ok_or_else(|| Problem::not_found("chatter"))?;
        let shared = self.store.sharing(viewer, &[chatter]).await?;
        let connected = self.broadcaster.connected(&shared.iter().copied().collect::<Vec<_>>()).await;
        Ok(body_of_other(&account, &shared, &connected))
    }

    /// These accounts as the viewer may see them; without a viewer only their public part.
    pub async fn accounts(&self, viewer: Option<ChatterId>, chatters: &[Chatter]) -> Result<Vec<ChatterBody>, Problem> {
        let Some(viewer) = viewer else { return Ok(chatters.iter().map(ChatterBody::public).collect()) };
        let ids: Vec<ChatterId> = chatters.iter().map(|chatter| chatter.id).collect();
        let shared = self.store.sharing(viewer, &ids).await?;
        let others: Vec<ChatterId> = shared.iter().filter(|id| **id != viewer).copied().collect();
        let connected = self.broadcaster.connected(&others).await;
        let mut bodies = Vec::with_capacity(chatters.len());
        for chatter in chatters {
            bodies.push(if chatter.id == viewer {
                ChatterBody::own(chatter, self.store.account_token(viewer).await?)
            } else {
                body_of_other(chatter, &shared, &connected)
            });
        }
        Ok(bodies)
    }

    /// Changes an account. A new password closes the sockets of all other tokens; a changed `show_last_seen` reaches
    /// the chatters who share a room; a push token that was taken from another account, that account's devices. `None`:
    /// the store refused the change and nothing happened.
    pub async fn change_account(
        &self,
        chatter: ChatterId,
        own: Grant,
        change: ChatterUpdate,
    ) -> Result<Option<ChangedChatter>, Problem> {
        let (show_last_seen, new_password) = (change.show_last_seen, change.password.is_some());
        // Read before the change: afterwards the database no longer gives the chatters who saw the presence.
        let watchers = match show_last_seen {
            Some(false) => self.store.watchers_of(&[chatter]).await?,
            Some(true) | None => Vec::new(),
        };
        let Some(changed) = self.store.change_chatter(chatter, change).await? else { return Ok(None) };
        if let Some(owner) = changed.token_taken_from {
            let frame = text_frame(&ServerFrame::DeviceRemoved { reason: RemovalReason::Moved });
            self.broadcaster.send_durable(owner, &frame);
        }
        if !watchers.is_empty() {
            let frame = text_frame(&ServerFrame::Presence { chatter_id: chatter, online: false, last_seen: None });
            watchers.iter().for_each(|(_, watcher)| self.broadcaster.send_durable(*watcher, &frame));
        }
        if show_last_seen == Some(true) {
            self.presence_changes.forget(&[chatter]);
        }
        if new_password {
            self.broadcaster.end_other_tokens(chatter, own);
        }
        Ok(Some(changed))
    }

    /// Deletes an account: its sockets are closed, and rooms that are deleted with it disappear from the other devices.
    /// An account with very many rooms may lose the last of them after the answer.
    pub async fn delete_account(&self, chatter: ChatterId, deletion: Deletion) -> Result<(), Problem> {
        let deleted = match deletion {
            Deletion::Anonymise => self.store.anonymise_chatter(chatter).await?,
            Deletion::Cascade => self.store.cascade_chatter(chatter).await?,
        };
        let deleted = deleted.ok_or_else(|| Problem::not_found("chatter"))?;
        self.broadcaster.end_account(chatter);
        deleted.deleted_rooms.into_iter().for_each(|(room, pair)| self.chatroom_deleted(room, pair));
        if let Some(pending) = deleted.pending {
            self.wait_for_deletion(pending).await;
        }
        Ok(())
    }
}

fn body_of_other(chatter: &Chatter, shared: &HashSet<ChatterId>, connected: &HashSet<ChatterId>) -> ChatterBody {
    if shared.contains(&chatter.id) {
        return ChatterBody::known(chatter, connected.contains(&chatter.id));
    }
    ChatterBody::public(chatter)
}
