//! Rooms: creating and finding them.

use ::entity::chatroom::{Column, Entity, Model};
use sea_orm::{
    ColumnTrait, ConnectionTrait, DatabaseTransaction, DbBackend, DbErr, EntityTrait, FromQueryResult, QueryFilter,
    Select, Statement, Value,
};

use super::error::{Unique, violates};
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
                    Err(error) if violates(&error, Unique::Pair) => return Ok(None),
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
        let row = self.lookups.run(async |db| of_pair(low, high).one(db).await).await?;
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
