//! Deleting accounts: the account and its access at once, and the first of its rooms; if it has more, they follow in the
//! background.

use ::entity::chatter::{Column, Entity, Model};
use sea_orm::{
    ColumnTrait, ConnectionTrait, DatabaseTransaction, DbBackend, DbErr, EntityTrait, QueryFilter, QuerySelect, Value,
};

use super::change_feed::Ending;
use super::chatters::retired_key;
use super::deletion_jobs::{Job, Kind};
use super::deletions::PendingDeletion;
use super::room_deletion::Room;
use super::sql::id_list;
use super::transaction::begin;
use super::{Store, StoreError};
use crate::domain::chatter::{DELETED_NICKNAME, deleted_username};
use crate::domain::clock::Micros;
use crate::domain::{ChatroomId, ChatterId};

/// How many rooms of an account one transaction deletes or closes.
const ROOMS_PER_PIECE: i64 = 100;

/// What the deletion of an account did at once, and what is left.
#[derive(Debug, Default)]
pub struct DeletedAccount {
    /// The rooms that were deleted with the account, each with its two chatters, so that their sockets can be closed.
    pub deleted_rooms: Vec<(ChatroomId, [ChatterId; 2])>,
    /// The account's other rooms, if it has too many for one transaction.
    pub pending: Option<PendingDeletion>,
}

impl Store {
    /// Deletes an account but keeps its row as `deleted-N`, so that the other person keeps the conversation.
    pub async fn anonymise_chatter(&self, id: ChatterId) -> Result<Option<DeletedAccount>, StoreError> {
        let deleted = self
            .writes
            .run(async |db| {
                let tx = begin(db).await?;
                let Some(row) = lock(&tx, id).await? else { return Ok(None) };
                let anonymise = "UPDATE chatters SET username = $2, username_key = $3, nickname = $4,
                                   password_hash = NULL, external_id = NULL, delete_time = $5, last_seen = NULL
                                 WHERE id = $1 AND delete_time IS NULL";
                let values: [Value; 5] = [
                    id.into(),
                    deleted_username(id).into(),
                    retired_key(&row.username_key).into(),
                    DELETED_NICKNAME.into(),
                    Micros::now().0.into(),
                ];
                if tx.execute_raw(self.sql(anonymise, values)).await?.rows_affected() == 0 {
                    return Ok(None);
                }
                self.delete_access_and_rooms(tx, &row, Kind::RoomsClosing).await.map(Some)
            })
            .await?;
        self.deletions.added.notify_one();
        Ok(deleted)
    }

    /// Deletes an account, its rooms and every chat in them.
    pub async fn cascade_chatter(&self, id: ChatterId) -> Result<Option<DeletedAccount>, StoreError> {
        let deleted = self
            .writes
            .run(async |db| {
                let tx = begin(db).await?;
                let Some(row) = lock(&tx, id).await? else { return Ok(None) };
                Entity::delete_by_id(row.id).exec(&tx).await?;
                self.delete_access_and_rooms(tx, &row, Kind::Rooms).await.map(Some)
            })
            .await?;
        self.deletions.added.notify_one();
        Ok(deleted)
    }

    /// Deletes the account's sign-ins, devices and pushes, and deletes or closes its first rooms.
    async fn delete_access_and_rooms(
        &self,
        tx: DatabaseTransaction,
        account: &Model,
        kind: Kind,
    ) -> Result<DeletedAccount, DbErr> {
        let id = ChatterId::new(account.id);
        if let Some(external_id) = &account.external_id {
            self.retire(&tx, external_id).await?;
        }
        let (deleted_rooms, last) = self.next_rooms(&tx, kind, id, 0).await?;
        let pending = match last {
            Some(done) => self.add_jobs(&tx, kind, &[(id.get(), done, i64::MAX)]).await?.pop(),
            None => None,
        };
        for sql in [
            "DELETE FROM push_outbox WHERE receiver_id = $1",
            "DELETE FROM sign_ins WHERE chatter_id = $1",
            "DELETE FROM devices WHERE chatter_id = $1",
        ] {
            tx.execute_raw(self.sql(sql, [id.into()])).await?;
        }
        self.record_endings(&tx, &[Ending::Access(id)]).await?;
        tx.commit().await?;
        Ok(DeletedAccount { deleted_rooms, pending })
    }

    /// One piece of a deleted account's rooms; returns those that were deleted.
    pub(super) async fn delete_next_rooms(&self, tx: &DatabaseTransaction, job: &Job) -> Result<Vec<Room>, DbErr> {
        let (deleted, last) = self.next_rooms(tx, job.kind, job.subject_id.into(), job.done).await?;
        match last {
            Some(done) => self.advance(tx, &Job { done, ..*job }).await?,
            None => self.finish(tx, &[job.id]).await?,
        }
        Ok(deleted)
    }

    /// Deletes or closes the next rooms of a deleted account, which gets no new ones. Returns the deleted rooms, and the
    /// last id if there may be more.
    async fn next_rooms(
        &self,
        tx: &DatabaseTransaction,
        kind: Kind,
        chatter: ChatterId,
        after: i64,
    ) -> Result<(Vec<Room>, Option<i64>), DbErr> {
        let page = "SELECT chatroom_id FROM members WHERE chatter_id = $1 AND chatroom_id > $2
                    ORDER BY chatroom_id LIMIT $3";
        let rows = tx.query_all_raw(self.sql(page, [chatter.into(), after.into(), ROOMS_PER_PIECE.into()])).await?;
        let ids: Vec<ChatroomId> = rows.iter().map(|row| row.try_get_by_index(0)).collect::<Result<_, _>>()?;
        let is_full = i64::try_from(ids.len()).is_ok_and(|rooms| rooms >= ROOMS_PER_PIECE);
        let last = ids.last().filter(|_| is_full).map(|id| id.get());
        // In id order, as every statement that locks rooms does.
        let lock = if self.backend == DbBackend::Postgres { "FOR UPDATE" } else { "" };
        let (places, values) = id_list(&ids, 0);
        let rooms = format!("SELECT id, pair_low = pair_high FROM chatrooms WHERE id IN ({places}) ORDER BY id {lock}");
        let (mut notes, mut shared) = (Vec::new(), Vec::new());
        for row in tx.query_all_raw(self.sql(&rooms, values)).await? {
            if row.try_get_by_index(1)? { &mut notes } else { &mut shared }.push(row.try_get_by_index(0)?);
        }
        if kind == Kind::RoomsClosing {
            self.close_rooms(tx, &shared).await?;
            return Ok((self.delete_rooms(tx, &notes).await?, last));
        }
        notes.append(&mut shared);
        Ok((self.delete_rooms(tx, &notes).await?, last))
    }

    /// Closes rooms whose history stays: nothing new is stored, and no push is sent.
    async fn close_rooms(&self, tx: &DatabaseTransaction, ids: &[ChatroomId]) -> Result<(), DbErr> {
        let (places, values) = id_list(ids, 1);
        let close = format!("UPDATE chatrooms SET closed_time = $1 WHERE id IN ({places}) AND closed_time IS NULL");
        let values_with_time = std::iter::once(Value::from(Micros::now().0)).chain(values);
        tx.execute_raw(self.sql(&close, values_with_time)).await?;
        let (places, values) = id_list(ids, 0);
        let pushes = format!("DELETE FROM push_outbox WHERE chatroom_id IN ({places})");
        tx.execute_raw(self.sql(&pushes, values)).await.map(|_| ())
    }
}

/// Locks an account, so that no new room includes it; none if it was deleted.
async fn lock(tx: &DatabaseTransaction, id: ChatterId) -> Result<Option<Model>, DbErr> {
    let account = Entity::find_by_id(id.get()).filter(Column::DeleteTime.is_null()).lock_exclusive();
    account.one(tx).await
}
