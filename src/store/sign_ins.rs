//! Sign-ins: the rows that passwords open and tokens name, and whether a token is still valid.

use std::collections::HashSet;

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
use crate::domain::{ChatroomId, ChatterId, SignInId};

/// Why a token is no longer valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The sign-in was deleted: the password was changed, or the chatter signed out.
    SignedOut,
    /// The account was deleted, or never existed.
    NoChatter,
    /// The token names no sign-in, and was issued in an earlier epoch of the database or does not say when.
    OtherEpoch,
}

/// Whether the sign-in `$2` of the row `c` of `chatters` is open.
const SIGNED_IN: &str = concat!(
    "EXISTS (SELECT 1 FROM sign_ins s WHERE s.id = $2 AND s.chatter_id = c.id AND ",
    sign_in_is_current!(),
    ")"
);

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

    /// Ends all sign-ins of the chatter but this one.
    pub async fn end_other_sign_ins(&self, chatter: ChatterId, keep: Option<SignInId>) -> Result<(), StoreError> {
        let update = keep.map_or(SignInUpdate::EndAll, SignInUpdate::EndOthers);
        self.writes
            .run(async |db| {
                let tx = begin(db).await?;
                self.end_sign_ins(&tx, chatter, update).await?;
                tx.commit().await
            })
            .await
    }

    /// Whether a token with these claims is still valid. Every request and every new socket calls it.
    pub async fn standing(
        &self,
        chatter: ChatterId,
        sign_in: Option<SignInId>,
        issued_at: Option<Micros>,
    ) -> Result<Standing, StoreError> {
        let sql = format!("SELECT {SIGNED_IN} AS signed_in FROM chatters c WHERE c.id = $1 AND c.delete_time IS NULL");
        let row = self.row(self.sql(&sql, [chatter.into(), sign_in.map_or(0, SignInId::get).into()])).await?;
        let Some(row) = row else { return Ok(Err(Ended::NoChatter)) };
        Ok(self.standing_of(row.try_get("", "signed_in")?, sign_in, issued_at))
    }

    /// The same for a chatroom socket, with the room; `None` where the chatter is not in it.
    pub async fn admission(
        &self,
        chatter: ChatterId,
        sign_in: Option<SignInId>,
        issued_at: Option<Micros>,
        chatroom: ChatroomId,
    ) -> Result<(Standing, Option<Chatroom>), StoreError> {
        let sql = format!(
            "SELECT {}, {SIGNED_IN} AS signed_in
             FROM chatters c LEFT JOIN chatrooms r ON r.id = $3 AND (r.pair_low = c.id OR r.pair_high = c.id)
             WHERE c.id = $1 AND c.delete_time IS NULL",
            columns::<chatroom::Entity>("r")
        );
        let statement = self.sql(&sql, [chatter.into(), sign_in.map_or(0, SignInId::get).into(), chatroom.into()]);
        let Some(row) = self.row(statement).await? else { return Ok((Err(Ended::NoChatter), None)) };
        let standing = self.standing_of(row.try_get("", "signed_in")?, sign_in, issued_at);
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
        let (places, ids) = id_list(&sign_ins, 0);
        let current = sign_in_is_current!();
        let open = format!("SELECT s.id, s.chatter_id FROM sign_ins s WHERE s.id IN ({places}) AND {current}");
        let open = self.sql(&open, ids);
        let (chatters, sign_ins) = self
            .lookups
            .run(async |db| {
                let found = chatter::Entity::find().filter(chatter::Column::Id.is_in(chatters.iter().copied()));
                let found = found.filter(chatter::Column::DeleteTime.is_null()).select_only();
                let found: Vec<i64> = found.column(chatter::Column::Id).into_tuple().all(db).await?;
                Ok((found, db.query_all_raw(open).await?))
            })
            .await?;
        let found: HashSet<ChatterId> = chatters.into_iter().map(ChatterId::from).collect();
        let key = |row: &QueryResult| Ok::<_, DbErr>((row.try_get_by_index(0)?, row.try_get_by_index(1)?));
        let open: HashSet<(SignInId, ChatterId)> = sign_ins.iter().map(key).collect::<Result<_, _>>()?;
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

    /// A token without a sign-in is valid as long as its account is, within one epoch. The query before this call has
    /// noticed a new one.
    fn standing_of(&self, signed_in: bool, sign_in: Option<SignInId>, issued_at: Option<Micros>) -> Standing {
        match sign_in {
            Some(_) if signed_in => Ok(()),
            Some(_) => Err(Ended::SignedOut),
            None if self.epochs.current().includes(issued_at) => Ok(()),
            None => Err(Ended::OtherEpoch),
        }
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
