//! Sign-ins: the rows that passwords open and tokens name, and whether a token still counts.

use std::collections::HashSet;
use std::time::Duration;

use ::entity::sign_in::{ActiveModel, Column, Entity};
use sea_orm::{
    ColumnTrait, ConnectionTrait, DatabaseTransaction, DbErr, EntityTrait, FromQueryResult, QueryFilter, Set,
};

use super::change_feed::Ending;
use super::chatrooms::chatroom_of;
use super::{Store, StoreError, columns};
use crate::domain::chatroom::Chatroom;
use crate::domain::clock::Micros;
use crate::domain::{ChatroomId, ChatterId, SignInId};

/// Why a token counts no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The sign-in is gone: the password was changed, or somebody signed out.
    SignedOut,
    /// The account is gone, or never was.
    NoChatter,
}

/// Whether a token's chatter and sign-in are still there.
pub type Standing = Result<(), Ended>;

impl Store {
    /// Opens a sign-in that ends when its token does; gives its id.
    pub async fn open_sign_in(&self, chatter: ChatterId, ttl: Duration) -> Result<SignInId, StoreError> {
        let now = Micros::now();
        let row = ActiveModel {
            chatter_id: Set(chatter.get()),
            create_time: Set(now.0),
            expire_time: Set(now.plus(ttl).0),
            ..Default::default()
        };
        self.writes.run(async |db| Ok(Entity::insert(row).exec(db).await?.last_insert_id.into())).await
    }

    /// The same for a socket, with the room it wants: `None` where the chatter is not in it.
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
            columns::<::entity::chatroom::Entity>("r")
        );
        let statement = self.sql(&sql, [chatter.into(), sign_in.map_or(0, SignInId::get).into(), chatroom.into()]);
        let row = self.reads.run(async move |db| db.query_one_raw(statement).await).await?;
        let Some(row) = row else { return Ok((Err(Ended::NoChatter), None)) };
        let signed_in: bool = row.try_get("", "signed_in").map_err(StoreError::from)?;
        let room = ::entity::chatroom::Model::from_query_result_optional(&row, "")?;
        Ok((standing_of(signed_in, sign_in), room.map(chatroom_of)))
    }

    /// Ends every sign-in of the chatter but this one.
    pub(super) async fn end_other_sign_ins(
        &self,
        tx: &DatabaseTransaction,
        chatter: ChatterId,
        keep: Option<SignInId>,
    ) -> Result<(), DbErr> {
        let mut others = Entity::delete_many().filter(Column::ChatterId.eq(chatter));
        if let Some(keep) = keep {
            others = others.filter(Column::Id.ne(keep));
        }
        others.exec(tx).await?;
        self.note_endings(tx, &[Ending::Access(chatter)]).await
    }

    /// Whether a token with these claims still counts. Asked for every request and every new socket.
    pub async fn standing(&self, chatter: ChatterId, sign_in: Option<SignInId>) -> Result<Standing, StoreError> {
        let sql = "SELECT EXISTS (SELECT 1 FROM sign_ins s WHERE s.id = $2 AND s.chatter_id = c.id) AS signed_in
                   FROM chatters c WHERE c.id = $1 AND c.delete_time IS NULL";
        let statement = self.sql(sql, [chatter.into(), sign_in.map_or(0, SignInId::get).into()]);
        let row = self.reads.run(async move |db| db.query_one_raw(statement.clone()).await).await?;
        let Some(row) = row else { return Ok(Err(Ended::NoChatter)) };
        let signed_in: bool = row.try_get_by_index(0).map_err(StoreError::from)?;
        Ok(standing_of(signed_in, sign_in))
    }

    /// The same for many tokens.
    pub async fn standings(
        &self,
        tokens: &[(ChatterId, Option<SignInId>)],
    ) -> Result<Vec<((ChatterId, Option<SignInId>), Standing)>, StoreError> {
        let chatters: Vec<ChatterId> = tokens.iter().map(|(chatter, _)| *chatter).collect();
        let sign_ins: Vec<SignInId> = tokens.iter().filter_map(|(_, sign_in)| *sign_in).collect();
        let (chatters, sign_ins) = self
            .reads
            .run(async |db| {
                use ::entity::chatter;
                let there = chatter::Entity::find().filter(chatter::Column::Id.is_in(chatters.iter().copied()));
                let there = there.filter(chatter::Column::DeleteTime.is_null()).all(db).await?;
                let open = Entity::find().filter(Column::Id.is_in(sign_ins.iter().copied())).all(db).await?;
                Ok((there, open))
            })
            .await?;
        let there: HashSet<ChatterId> = chatters.into_iter().map(|row| row.id.into()).collect();
        let open: HashSet<(SignInId, ChatterId)> =
            sign_ins.into_iter().map(|row| (row.id.into(), row.chatter_id.into())).collect();
        let standing = |(chatter, sign_in): (ChatterId, Option<SignInId>)| match sign_in {
            _ if !there.contains(&chatter) => Err(Ended::NoChatter),
            Some(id) if !open.contains(&(id, chatter)) => Err(Ended::SignedOut),
            _ => Ok(()),
        };
        Ok(tokens.iter().map(|token| (*token, standing(*token))).collect())
    }
}

/// A token without a sign-in stands for the chatter alone.
fn standing_of(signed_in: bool, sign_in: Option<SignInId>) -> Standing {
    if signed_in || sign_in.is_none() { Ok(()) } else { Err(Ended::SignedOut) }
}
