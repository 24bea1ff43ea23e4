//! Sign-ins: the rows that passwords open and tokens name, and whether a token is still valid.

use std::collections::HashSet;
use std::time::Duration;

use ::entity::sign_in::{Column, Entity};
use ::entity::{chatroom, chatter};
use sea_orm::{
    ColumnTrait, ConnectionTrait, DatabaseTransaction, DbBackend, DbErr, EntityTrait, FromQueryResult, QueryFilter,
    QuerySelect, Value,
};

use super::change_feed::Ending;
use super::rows::chatroom_of;
use super::sql::columns;
use super::{Store, StoreError};
use crate::domain::chatroom::Chatroom;
use crate::domain::clock::Micros;
use crate::domain::{ChatroomId, ChatterId, SignInId};

/// Why a token is no longer valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The sign-in was deleted: the password was changed, or the chatter signed out.
    SignedOut,
    /// The account was deleted, or never existed.
    NoChatter,
}

/// Whether a token's chatter and sign-in still exist.
pub type Standing = Result<(), Ended>;

/// Which sign-ins a change of the account ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SignInUpdate {
    /// Ends none.
    #[default]
    Keep,
    /// Ends all of the chatter's.
    EndAll,
    /// All but the one that asks for it.
    EndOthers(SignInId),
}

impl Store {
    /// Opens a sign-in that expires with its token, where the account still has the password hash that was verified;
    /// returns its id. `None` where the hash has changed since, or the account was deleted.
    pub async fn open_sign_in(
        &self,
        chatter: ChatterId,
        verified_hash: &str,
        ttl: Duration,
    ) -> Result<Option<SignInId>, StoreError> {
        let now = Micros::now();
        // The lock waits for a change of the password that has not committed yet, and makes a later one wait, so that
        // the change finds this sign-in and ends it.
        let lock = if self.backend == DbBackend::Postgres { "FOR NO KEY UPDATE" } else { "" };
        let sql = format!(
            "INSERT INTO sign_ins (chatter_id, create_time, expire_time)
             SELECT id, CAST($3 AS BIGINT), CAST($4 AS BIGINT) FROM chatters
             WHERE id = $1 AND password_hash = $2 AND delete_time IS NULL {lock} RETURNING id"
        );
        let values: [Value; 4] = [chatter.into(), verified_hash.into(), now.0.into(), now.plus(ttl).0.into()];
        let insert = self.sql(&sql, values);
        let row = self.sign_ins.run(async |db| db.query_one_raw(insert).await).await?;
        Ok(row.map(|row| row.try_get_by_index(0)).transpose()?)
    }

    /// Whether a token with these claims is still valid. Every request and every new socket calls it.
    pub async fn standing(&self, chatter: ChatterId, sign_in: Option<SignInId>) -> Result<Standing, StoreError> {
        let sql = "SELECT EXISTS (SELECT 1 FROM sign_ins s WHERE s.id = $2 AND s.chatter_id = c.id) AS signed_in
                   FROM chatters c WHERE c.id = $1 AND c.delete_time IS NULL";
        let row = self.row(self.sql(sql, [chatter.into(), sign_in.map_or(0, SignInId::get).into()])).await?;
        let Some(row) = row else { return Ok(Err(Ended::NoChatter)) };
        Ok(standing_of(row.try_get("", "signed_in")?, sign_in))
    }

    /// The same for a chatroom socket, with the room; `None` where the chatter is not in it.
    pub async fn admission(
        &self,
        chatter: ChatterId,
        sign_in: Option<SignInId>,
        chatroom: ChatroomId,
    ) -> Result<(Standing, Option<Chatroom>), StoreError> {
        let sql = format!(
            "SELECT {}, EXISTS (SELECT 1 FROM sign_ins s WHERE s.id = $2 AND s.chatter_id = c.id) AS signed_in
             FROM chatters c LEFT JOIN chatrooms r ON r.id = $3 AND (r.pair_low = c.id OR r.pair_high = c.id)
             WHERE c.id = $1 AND c.delete_time IS NULL",
            columns::<chatroom::Entity>("r")
        );
        let statement = self.sql(&sql, [chatter.into(), sign_in.map_or(0, SignInId::get).into(), chatroom.into()]);
        let Some(row) = self.row(statement).await? else { return Ok((Err(Ended::NoChatter), None)) };
        let standing = standing_of(row.try_get("", "signed_in")?, sign_in);
        let room = chatroom::Model::from_query_result_optional(&row, "")?;
        Ok((standing, room.map(chatroom_of)))
    }

    /// The same for many tokens.
    pub async fn standings(
        &self,
        tokens: &[(ChatterId, Option<SignInId>)],
    ) -> Result<Vec<((ChatterId, Option<SignInId>), Standing)>, StoreError> {
        let chatters: Vec<ChatterId> = tokens.iter().map(|(chatter, _)| *chatter).collect();
        let sign_ins: Vec<SignInId> = tokens.iter().filter_map(|(_, sign_in)| *sign_in).collect();
        let (chatters, sign_ins) = self
            .lookups
            .run(async |db| {
                let found = chatter::Entity::find().filter(chatter::Column::Id.is_in(chatters.iter().copied()));
                let found = found.filter(chatter::Column::DeleteTime.is_null()).select_only();
                let found: Vec<i64> = found.column(chatter::Column::Id).into_tuple().all(db).await?;
                let open = Entity::find().filter(Column::Id.is_in(sign_ins.iter().copied())).select_only();
                let open = open.column(Column::Id).column(Column::ChatterId);
                let open: Vec<(i64, i64)> = open.into_tuple().all(db).await?;
                Ok((found, open))
            })
            .await?;
        let found: HashSet<ChatterId> = chatters.into_iter().map(ChatterId::from).collect();
        let open: HashSet<(SignInId, ChatterId)> =
            sign_ins.into_iter().map(|(id, chatter)| (id.into(), chatter.into())).collect();
        let standing = |(chatter, sign_in): (ChatterId, Option<SignInId>)| match sign_in {
            _ if !found.contains(&chatter) => Err(Ended::NoChatter),
            Some(id) if !open.contains(&(id, chatter)) => Err(Ended::SignedOut),
            _ => Ok(()),
        };
        Ok(tokens.iter().map(|token| (*token, standing(*token))).collect())
    }

    /// Whether a sign-in is open within a transaction; a token without one always counts as open.
    pub(super) async fn is_open(
        &self,
        tx: &DatabaseTransaction,
        chatter: ChatterId,
        sign_in: Option<SignInId>,
    ) -> Result<bool, DbErr> {
        let Some(id) = sign_in else { return Ok(true) };
        let found = Entity::find_by_id(id.get()).filter(Column::ChatterId.eq(chatter)).one(tx).await?;
        Ok(found.is_some())
    }

    /// Ends sign-ins of the chatter within a transaction.
    pub(super) async fn end_sign_ins(
        &self,
        tx: &DatabaseTransaction,
        chatter: ChatterId,
        update: SignInUpdate,
    ) -> Result<(), DbErr> {
        let of_chatter = Entity::delete_many().filter(Column::ChatterId.eq(chatter));
        let ended = match update {
            SignInUpdate::Keep => return Ok(()),
            SignInUpdate::EndAll => of_chatter,
            SignInUpdate::EndOthers(kept) => of_chatter.filter(Column::Id.ne(kept)),
        };
        ended.exec(tx).await?;
        self.record_endings(tx, &[Ending::Access(chatter)]).await
    }
}

/// A token without a sign-in is valid as long as its account is.
fn standing_of(signed_in: bool, sign_in: Option<SignInId>) -> Standing {
    if signed_in || sign_in.is_none() { Ok(()) } else { Err(Ended::SignedOut) }
}
