//! Deleting rooms: their own rows at once, their chats later.

use sea_orm::{ConnectionTrait, DatabaseTransaction, DbBackend, DbErr};

use super::change_feed::Ending;
use super::deletion_jobs::Kind;
use super::sql::{IDS_MAX, id_list};
use super::transaction::begin;
use super::{Store, StoreError};
use crate::domain::{ChatroomId, ChatterId};

/// A room's id and its two chatters.
pub(super) type Room = (ChatroomId, [ChatterId; 2]);

impl Store {
    /// Deletes a room; false if it did not exist. Its chats are deleted in the background.
    pub async fn delete_chatroom(&self, id: ChatroomId) -> Result<bool, StoreError> {
        let deleted = self
            .writes
            .run(async |db| {
                let tx = begin(db).await?;
                let deleted = self.delete_rooms(&tx, &[id]).await?;
                tx.commit().await?;
                Ok(!deleted.is_empty())
            })
            .await?;
        self.deletions.added.notify_one();
        Ok(deleted)
    }

    /// Deletes all rows of these rooms but their chats, the rooms' own rows first: that waits for a transaction of the
    /// writer and makes it refuse the next chat, so none is stored behind what is left to delete. A caller that deletes
    /// several rooms has locked them in id order. Returns the rooms that existed.
    pub(super) async fn delete_rooms(&self, tx: &DatabaseTransaction, ids: &[ChatroomId]) -> Result<Vec<Room>, DbErr> {
        let mut deleted = Vec::with_capacity(ids.len());
        for ids in ids.chunks(IDS_MAX) {
            let (places, values) = id_list(ids, 0);
            let rooms =
                format!("DELETE FROM chatrooms WHERE id IN ({places}) RETURNING id, pair_low, pair_high, last_seq");
            let mut chats = Vec::with_capacity(ids.len());
            for row in tx.query_all_raw(self.sql(&rooms, values.clone())).await? {
                let id: ChatroomId = row.try_get_by_index(0)?;
                deleted.push((id, [row.try_get_by_index(1)?, row.try_get_by_index(2)?]));
                chats.push((id.get(), 0, row.try_get_by_index(3)?));
            }
            chats.retain(|(_, _, last_seq)| *last_seq > 0);
            if self.backend == DbBackend::Postgres {
                // The writer updates watermarks of several rooms in one statement, in this order.
                let lock = format!(
                    "SELECT 1 FROM members WHERE chatroom_id IN ({places}) ORDER BY chatroom_id, chatter_id FOR UPDATE"
                );
                tx.execute_raw(self.sql(&lock, values.clone())).await?;
            }
            for table in ["members", "push_outbox"] {
                let of_rooms = format!("DELETE FROM {table} WHERE chatroom_id IN ({places})");
                tx.execute_raw(self.sql(&of_rooms, values.clone())).await?;
            }
            self.add_jobs(tx, Kind::Chats, &chats).await?;
        }
        let endings: Vec<Ending> = deleted.iter().map(|(room, pair)| Ending::Room(*room, *pair)).collect();
        self.record_endings(tx, &endings).await?;
        Ok(deleted)
    }
}
