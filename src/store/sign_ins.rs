//! Sign-ins: the rows that passwords open and tokens name, and whether a token is still valid.

use std::collections::{HashMap, HashSet};

use ::entity::sign_in::{Column, Entity, Model};
use ::entity::{chatroom, chatter};
use sea_orm::{
    ColumnTrait, ConnectionTrait, DatabaseTransaction, DbErr, EntityTrait, FromQueryResult, QueryFilter, QueryResult,
    QuerySelect,
};

use super::change_feed::Ending;
use super::epoch::sign_in_is_current;
use super::rows::chatroom_of;
use super::sql::{columns, id_list};
use super::transaction::begin;
use super::{Store, StoreError};
use crate::domain::chatroom::Chatroom;
use crate::domain::clock::Micros;
use crate::domain::{ChatroomId, ChatterId, Grant, SignInId};

/// Why a token is no longer valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The sign-in was deleted: the password was changed, or the chatter signed out.
    SignedOut,
    /// The account was deleted, or never existed.
    NoChatter,
    /// The token names no sign-in, and was issued in an earlier epoch of the database or does not say when.
    OtherEpoch,
    /// The token names no sign-in, and the chatter has ended all those that were issued so early.
    Void,
}

/// Whether the sign-in `$2` of the row `c` of `chatters` is open, and the time before which other tokens are void.
const STANDING: &str = concat!(
    "EXISTS (SELECT 1 FROM sign_ins s WHERE s.id = $2 AND s.chatter_id = c.id AND ",
    sign_in_is_current!(),
    ") AS signed_in, c.tokens_void_before"
);

/// Whether a token's chatter and sign-in still exist.
pub type Standing = Result<(), Ended>;

/// Which tokens a change of the account ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SignInUpdate {
    /// Ends none.
    #[default]
    Keep,
    /// Ends all but the one that asks for it.
    EndOthers(Grant),
}

/// A sign-in as its chatter sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenSignIn {
    /// The `sid` of its tokens.
    pub id: SignInId,
    /// When the password was accepted.
    pub create_time: Micros,
    /// When the chatter last signed in or refreshed here.
    pub last_used: Micros,
    /// When the sign-in ends unless it is refreshed.
    pub expire_time: Micros,
    /// As the client named itself.
    pub device_name: Option<String>,
    /// The network that the last sign-in or refresh came from.
    pub address_class: Option<String>,
}

/// The most sign-ins that are listed.
const LISTED_MAX: u64 = 1_000;

impl Store {
    /// The open sign-ins of a chatter, the one used last first.
    pub async fn sign_ins(&self, chatter: ChatterId) -> Result<Vec<OpenSignIn>, StoreError> {
        let sql = format!(
            "SELECT {} FROM sign_ins s WHERE s.chatter_id = $1 AND s.expire_time > {} AND {}
             ORDER BY coalesce(s.last_used_time, s.create_time) DESC, s.id DESC LIMIT {LISTED_MAX}",
            columns::<Entity>("s"),
            self.clock_sql(),
            sign_in_is_current!()
        );
        let rows = self.rows(self.sql(&sql, [chatter.into()])).await?;
        let of_row = |row| Model::from_query_result(row, "").map(open_sign_in_of);
        Ok(rows.iter().map(of_row).collect::<Result<_, DbErr>>()?)
    }

    /// Ends one sign-in of the chatter; returns whether there was one.
    pub async fn end_sign_in(&self, chatter: ChatterId, id: SignInId) -> Result<bool, StoreError> {
        self.writes
            .run(async |db| {
                let tx = begin(db).await?;
                let one = Entity::delete_many().filter(Column::Id.eq(id)).filter(Column::ChatterId.eq(chatter));
                let ended = one.exec(&tx).await?.rows_affected > 0;
                if ended {
                    self.record_endings(&tx, &[Ending::Access(chatter)]).await?;
                }
                tx.commit().await?;
                Ok(ended)
            })
            .await
    }

    /// Ends all sign-ins of the chatter but that of this token, and the tokens without a sign-in that are older.
    pub async fn end_other_sign_ins(&self, chatter: ChatterId, keep: Grant) -> Result<(), StoreError> {
        self.writes
            .run(async |db| {
                let tx = begin(db).await?;
                self.end_sign_ins(&tx, chatter, SignInUpdate::EndOthers(keep)).await?;
                tx.commit().await
            })
            .await
    }

    /// Ends the chatter's tokens without a sign-in that were issued before this time.
    pub async fn end_tokens_before(&self, chatter: ChatterId, before: Micros) -> Result<(), StoreError> {
        self.writes
            .run(async |db| {
                let tx = begin(db).await?;
                self.void_tokens(&tx, chatter, before).await?;
                self.record_endings(&tx, &[Ending::Access(chatter)]).await?;
                tx.commit().await
            })
            .await
    }

    /// Whether a token with these claims is still valid. Every request and every new socket calls it.
    pub async fn standing(&self, chatter: ChatterId, grant: Grant) -> Result<Standing, StoreError> {
        let sql = format!("SELECT {STANDING} FROM chatters c WHERE c.id = $1 AND c.delete_time IS NULL");
        let row = self.row(self.sql(&sql, [chatter.into(), sign_in_of(grant).into()])).await?;
        let Some(row) = row else { return Ok(Err(Ended::NoChatter)) };
        Ok(self.standing_of(&row, grant)?)
    }

    /// The same for a chatroom socket, with the room; `None` where the chatter is not in it.
    pub async fn admission(
        &self,
        chatter: ChatterId,
        grant: Grant,
        chatroom: ChatroomId,
    ) -> Result<(Standing, Option<Chatroom>), StoreError> {
        let sql = format!(
            "SELECT {}, {STANDING}
             FROM chatters c LEFT JOIN chatrooms r ON r.id = $3 AND (r.pair_low = c.id OR r.pair_high = c.id)
             WHERE c.id = $1 AND c.delete_time IS NULL",
            columns::<chatroom::Entity>("r")
        );
        let statement = self.sql(&sql, [chatter.into(), sign_in_of(grant).into(), chatroom.into()]);
        let Some(row) = self.row(statement).await? else { return Ok((Err(Ended::NoChatter), None)) };
        let standing = self.standing_of(&row, grant)?;
        let room = chatroom::Model::from_query_result_optional(&row, "")?;
        Ok((standing, room.map(chatroom_of)))
    }

    /// The same for many tokens.
    pub async fn standings(
        &self,
        tokens: &[(ChatterId, Grant)],
    ) -> Result<Vec<((ChatterId, Grant), Standing)>, StoreError> {
        let chatters: Vec<ChatterId> = tokens.iter().map(|(chatter, _)| *chatter).collect();
        let sign_ins: Vec<SignInId> = tokens.iter().filter_map(|(_, grant)| grant.sign_in_id()).collect();
        let (places, ids) = id_list(&sign_ins, 0);
        let current = sign_in_is_current!();
        let open = format!("SELECT s.id, s.chatter_id FROM sign_ins s WHERE s.id IN ({places}) AND {current}");
        let open = self.sql(&open, ids);
        let (chatters, sign_ins) = self
            .lookups
            .run(async |db| {
                let found = chatter::Entity::find().filter(chatter::Column::Id.is_in(chatters.iter().copied()));
                let found = found.filter(chatter::Column::DeleteTime.is_null()).select_only();
                let found = found.column(chatter::Column::Id).column(chatter::Column::TokensVoidBefore);
                let found: Vec<(i64, Option<i64>)> = found.into_tuple().all(db).await?;
                Ok((found, db.query_all_raw(open).await?))
            })
            .await?;
        let void_before: HashMap<ChatterId, Option<Micros>> =
            chatters.into_iter().map(|(id, before)| (id.into(), before.map(Micros))).collect();
        let key = |row: &QueryResult| Ok::<_, DbErr>((row.try_get_by_index(0)?, row.try_get_by_index(1)?));
        let open: HashSet<(SignInId, ChatterId)> = sign_ins.iter().map(key).collect::<Result<_, _>>()?;
        let standing = |(chatter, grant): (ChatterId, Grant)| match (void_before.get(&chatter), grant) {
            (None, _) => Err(Ended::NoChatter),
            (Some(_), Grant::SignIn(id)) if !open.contains(&(id, chatter)) => Err(Ended::SignedOut),
            (Some(before), _) if grant.is_void(*before) => Err(Ended::Void),
            (Some(_), _) => Ok(()),
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

    /// A token without a sign-in is valid as long as its account is, within one epoch. The query before this call has
    /// noticed a new one.
    fn standing_of(&self, row: &QueryResult, grant: Grant) -> Result<Standing, DbErr> {
        let void_before: Option<i64> = row.try_get("", "tokens_void_before")?;
        Ok(match grant {
            Grant::SignIn(_) if row.try_get("", "signed_in")? => Ok(()),
            Grant::SignIn(_) => Err(Ended::SignedOut),
            Grant::Issued(_) if grant.is_void(void_before.map(Micros)) => Err(Ended::Void),
            Grant::Issued(issued_at) if self.epochs.current().includes(issued_at) => Ok(()),
            Grant::Issued(_) => Err(Ended::OtherEpoch),
        })
    }

    /// Ends tokens without a sign-in within a transaction. The time only moves forward.
    async fn void_tokens(&self, tx: &DatabaseTransaction, chatter: ChatterId, before: Micros) -> Result<(), DbErr> {
        let set = "UPDATE chatters SET tokens_void_before = $2
                   WHERE id = $1 AND (tokens_void_before IS NULL OR tokens_void_before < $2)";
        tx.execute_raw(self.sql(set, [chatter.into(), before.0.into()])).await.map(|_| ())
    }

    /// Ends sign-ins and other tokens of the chatter within a transaction.
    pub(super) async fn end_sign_ins(
        &self,
        tx: &DatabaseTransaction,
        chatter: ChatterId,
        update: SignInUpdate,
    ) -> Result<(), DbErr> {
        let SignInUpdate::EndOthers(kept) = update else { return Ok(()) };
        self.void_tokens(tx, chatter, kept.ends_all_but_own_before(Micros::now())).await?;
        let of_chatter = Entity::delete_many().filter(Column::ChatterId.eq(chatter));
        of_chatter.filter(Column::Id.ne(sign_in_of(kept))).exec(tx).await?;
        self.record_endings(tx, &[Ending::Access(chatter)]).await
    }
}

/// The id of the sign-in, or one that no sign-in has.
fn sign_in_of(grant: Grant) -> i64 {
    grant.sign_in_id().map_or(0, SignInId::get)
}

fn open_sign_in_of(row: Model) -> OpenSignIn {
    OpenSignIn {
        id: row.id.into(),
        create_time: Micros(row.create_time),
        last_used: Micros(row.last_used_time.unwrap_or(row.create_time)),
        expire_time: Micros(row.expire_time),
        device_name: row.device_name,
        address_class: row.address_class,
    }
}
