//! Rooms: creating, finding and deleting them.

use ::entity::chatroom::{Column, Entity, Model};
use sea_orm::{
    ColumnTrait, ConnectionTrait, DatabaseTransaction, DbBackend, DbErr, EntityTrait, FromQueryResult, QueryFilter,
    QueryResult, Select, Statement, Value,
};

use super::change_feed::Ending;
use super::error::is_duplicate;
use super::rows::chatroom_of;
use super::sql::{IDS_MAX, columns, id_list};
use super::transaction::begin;
use super::{Store, StoreError};
use crate::domain::chatroom::Chatroom;
use crate::domain::{ChatroomId, ChatterId};

/// The result of [`Store::create_chatroom`].
#[derive(Debug)]
pub enum Created {
    /// The pair had no room; this one was created.
    New(Chatroom),
    /// The pair has this room already.
    Exists(ChatroomId),
    /// One of the two accounts does not exist or was deleted.
    NoOpponent,
}

impl Store {
    /// One room.
    pub async fn chatroom(&self, id: ChatroomId) -> Result<Option<Chatroom>, StoreError> {
        let row = self.lookups.run(async |db| Entity::find_by_id(id.get()).one(db).await).await?;
        Ok(row.map(chatroom_of))
    }

    /// Creates the room of two chatters, or finds it; two concurrent calls end with one room.
    pub async fn create_chatroom(&self, owner: ChatterId, opponent: ChatterId) -> Result<Created, StoreError> {
        let (low, high) = (owner.min(opponent), owner.max(opponent));
        let created = self
            .writes
            .run(async |db| {
                let tx = begin(db).await?;
                let sql = format!(
                    "WITH clock AS (SELECT {} AS now)
                     INSERT INTO chatrooms (owner_id, opponent_id, pair_low, pair_high, create_time, last_chat_time)
                     SELECT $1, $2, $3, $4, now, now FROM clock RETURNING {}",
                    self.clock_sql(),
                    columns::<Entity>("chatrooms")
                );
                let values: [Value; 4] = [owner.into(), opponent.into(), low.into(), high.into()];
                let row = match tx.query_one_raw(self.sql(&sql, values)).await {
                    Ok(Some(row)) => Model::from_query_result(&row, "")?,
                    Ok(None) => return Err(DbErr::RecordNotInserted),
                    Err(error) if is_duplicate(&error) => return Ok(None),
                    Err(error) => return Err(error),
                };
                if !both_exist(&tx, low, high).await? {
                    return Ok(Some(Created::NoOpponent));
                }
                let members =
                    "INSERT INTO members (chatroom_id, chatter_id) SELECT $1, id FROM chatters WHERE id IN ($2, $3)";
                tx.execute_raw(self.sql(members, [row.id.into(), low.into(), high.into()])).await?;
                tx.commit().await?;
                Ok(Some(Created::New(chatroom_of(row))))
            })
            .await?;
        if let Some(created) = created {
            return Ok(created);
        }
        let row = self.writes.run(async |db| of_pair(low, high).one(db).await).await?;
        // The room was deleted between the two statements; another try may create it.
        row.map_or_else(|| Err(StoreError::Unavailable(None)), |row| Ok(Created::Exists(row.id.into())))
    }

    /// The room that these two have.
    pub async fn chatroom_of(&self, pair: [ChatterId; 2]) -> Result<Option<ChatroomId>, StoreError> {
        let (low, high) = (pair[0].min(pair[1]), pair[0].max(pair[1]));
        let row = self.reads.run(async |db| of_pair(low, high).one(db).await).await?;
        Ok(row.map(|row| row.id.into()))
    }

    /// The rooms among these ids that exist and that the viewer is in.
    pub async fn rooms_among(&self, viewer: ChatterId, ids: &[ChatroomId]) -> Result<Vec<Chatroom>, StoreError> {
        let mut found = Vec::with_capacity(ids.len());
        for ids in ids.chunks(IDS_MAX) {
            let (places, of_ids) = id_list(ids, 1);
            let sql = format!(
                "SELECT {} FROM chatrooms r WHERE r.id IN ({places}) AND (r.pair_low = $1 OR r.pair_high = $1)
                 ORDER BY r.id",
                columns::<Entity>("r")
            );
            let statement = self.sql(&sql, std::iter::once(viewer.into()).chain(of_ids));
            for row in self.rows(statement).await? {
                found.push(chatroom_of(Model::from_query_result(&row, "")?));
            }
        }
        Ok(found)
    }

    /// Deletes a room and everything in it; false if it did not exist.
    pub async fn delete_chatroom(&self, id: ChatroomId) -> Result<bool, StoreError> {
        self.writes
            .run(async |db| {
                let tx = begin(db).await?;
                let deleted = self.delete_rows(&tx, &[id]).await?;
                tx.commit().await?;
                Ok(!deleted.is_empty())
            })
            .await
    }

    /// Deletes these rooms, their own rows first: that waits for a transaction of the writer and makes it refuse the
    /// next chat. A caller that deletes several rooms has locked them in id order. Returns the rooms that existed.
    pub(super) async fn delete_rows(&self, tx: &DatabaseTransaction, ids: &[ChatroomId]) -> Result<Vec<Room>, DbErr> {
        let mut deleted = Vec::with_capacity(ids.len());
        for ids in ids.chunks(IDS_MAX) {
            let (places, values) = id_list(ids, 0);
            let rooms = format!("DELETE FROM chatrooms WHERE id IN ({places}) RETURNING id, pair_low, pair_high");
            for row in tx.query_all_raw(self.sql(&rooms, values.clone())).await? {
                deleted.push(room_of(&row)?);
            }
            if self.backend == DbBackend::Postgres {
                // The writer updates watermarks of several rooms in one statement, in this order.
                let lock = format!(
                    "SELECT 1 FROM members WHERE chatroom_id IN ({places}) ORDER BY chatroom_id, chatter_id FOR UPDATE"
                );
                tx.execute_raw(self.sql(&lock, values.clone())).await?;
            }
            for table in ["members", "chats", "push_outbox"] {
                let of_rooms = format!("DELETE FROM {table} WHERE chatroom_id IN ({places})");
                tx.execute_raw(self.sql(&of_rooms, values.clone())).await?;
            }
        }
        let endings: Vec<Ending> = deleted.iter().map(|(room, pair)| Ending::Room(*room, *pair)).collect();
        self.record_endings(tx, &endings).await?;
        Ok(deleted)
    }
}

/// A room's id and its two chatters, as the first three columns of a row.
pub(super) type Room = (ChatroomId, [ChatterId; 2]);

pub(super) fn room_of(row: &QueryResult) -> Result<Room, DbErr> {
    Ok((row.try_get_by_index(0)?, [row.try_get_by_index(1)?, row.try_get_by_index(2)?]))
}

fn of_pair(low: ChatterId, high: ChatterId) -> Select<Entity> {
    Entity::find().filter(Column::PairLow.eq(low)).filter(Column::PairHigh.eq(high))
}

/// Whether both accounts exist; they are locked until the end of the transaction.
async fn both_exist(tx: &DatabaseTransaction, low: ChatterId, high: ChatterId) -> Result<bool, DbErr> {
    let backend = tx.get_database_backend();
    let lock = if backend == DbBackend::Postgres { "FOR SHARE" } else { "" };
    let sql = format!("SELECT id FROM chatters WHERE id IN ($1, $2) AND delete_time IS NULL ORDER BY id {lock}");
    let rows = tx.query_all_raw(Statement::from_sql_and_values(backend, sql, [low.into(), high.into()])).await?;
    Ok(rows.len() == if low == high { 1 } else { 2 })
}
