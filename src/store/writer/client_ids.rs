//! The client_ids of new chats, and the chats that are already stored under them. No I/O.

use std::collections::HashMap;

use ::entity::chat::Model;

use super::command::{Append, Command, Outcome, Refusal, Stored};
use crate::domain::chat::{Chat, first_hash};
use crate::store::rows::chat_of;

/// Whether the room of a chat exists; NULL where it was deleted. The chats of a deleted room stay for a while, and their
/// client_ids count no more. A scalar subquery keeps PostgreSQL's planner from hashing all rooms.
pub(super) const HAS_ROOM: &str = "(SELECT TRUE FROM chatrooms r WHERE r.id = chats.chatroom_id)";

/// The key of a client_id in its unique index.
pub(super) type ClientKey = [u8; 16];

/// A chat that is already stored under a client_id.
pub(super) struct Known {
    pub(super) chat: Chat,
    pub(super) first_hash: i64,
}

impl Known {
    /// The outcome of a chat that uses this client_id again; its hash tells a retry from another chat.
    pub(super) fn outcome(&self, hash: Option<i64>) -> Outcome {
        if Some(self.first_hash) == hash {
            Ok(Stored::Again(self.chat.clone()))
        } else {
            Err(Refusal::ClientIdConflict)
        }
    }
}

/// The keys to look up before anything is inserted, one per append.
pub(super) fn client_keys(appends: &[&Append]) -> Vec<Option<ClientKey>> {
    appends.iter().map(|append| append.client_id.as_ref().map(|id| id.key(append.sender_id))).collect()
}

/// The keys of all client_ids among these commands.
pub(super) fn keys_among(commands: &[&Command]) -> Vec<ClientKey> {
    let key = |command: &&Command| match command {
        Command::Append(append) => append.client_id.as_ref().map(|id| id.key(append.sender_id)),
        Command::Mutate(_) => None,
    };
    commands.iter().filter_map(key).collect()
}

/// The hash by which a retry is recognised; none for a chat without a client_id.
pub(super) fn hash_of(append: &Append) -> Option<i64> {
    append.client_id.as_ref().map(|_| first_hash(append.chatroom_id, append.content.as_str()))
}

/// The rows that a look-up of client_ids found, by key.
pub(super) fn known_of(rows: Vec<Model>, appends: &[&Append], keys: &[Option<ClientKey>]) -> HashMap<ClientKey, Known> {
    let mut known = HashMap::with_capacity(rows.len());
    for row in rows {
        let Some(key) = row.client_key.as_deref().and_then(|key| ClientKey::try_from(key).ok()) else { continue };
        let Some(at) = keys.iter().position(|k| *k == Some(key)) else { continue };
        let first_hash = row.first_hash.unwrap_or_default();
        known.insert(key, Known { chat: chat_of(row, appends[at].receiver_id), first_hash });
    }
    known
}
