//! The one push token that an account may have. A token has one row, whoever registers it.

use ::entity::device::{Column, Entity};
use sea_orm::{ColumnTrait, ConnectionTrait, DatabaseTransaction, DbBackend, DbErr, EntityTrait, QueryFilter};

use super::{Store, StoreError};
use crate::domain::ChatterId;
use crate::domain::clock::Micros;

/// What a registration may take away from others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taking {
    Nothing,
    /// The token, from the account that has it.
    FromAnother,
}

/// The result of a registration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Registered {
    /// No other account had the token.
    New,
    /// This account had it until now.
    TakenFrom(ChatterId),
    /// Another account has it, or has just registered it. Nothing was written for this one, which may have lost its
    /// former token: a change is rolled back.
    OfAnother,
}

impl Store {
    /// The push token that belongs to the account itself; only its owner sees it.
    pub async fn account_token(&self, id: ChatterId) -> Result<Option<String>, StoreError> {
        let find = Entity::find().filter(Column::ChatterId.eq(id)).filter(Column::SignInId.is_null());
        let row = self.lookups.run(async |db| find.one(db).await).await?;
        Ok(row.map(|row| row.token))
    }

    /// The account that has this push token.
    pub async fn token_owner(&self, token: &str) -> Result<Option<ChatterId>, StoreError> {
        let row = self.lookups.run(async |db| Entity::find().filter(Column::Token.eq(token)).one(db).await).await?;
        Ok(row.map(|row| row.chatter_id.into()))
    }

    /// Sets the account's push token. Of two accounts that register one at the same time, the second waits for the
    /// first, and its insert does nothing.
    pub(super) async fn set_account_token(
        &self,
        tx: &DatabaseTransaction,
        id: ChatterId,
        token: &str,
        taking: Taking,
    ) -> Result<Registered, DbErr> {
        // One statement locks all rows in the order of their ids: two accounts that swap their tokens do not deadlock.
        let lock = if self.backend == DbBackend::Postgres { "FOR UPDATE" } else { "" };
        let rows = format!(
            "SELECT chatter_id, token FROM devices WHERE token = $1 OR (chatter_id = $2 AND sign_in_id IS NULL)
             ORDER BY id {lock}"
        );
        let mut owner = id;
        for row in tx.query_all_raw(self.sql(&rows, [token.into(), id.into()])).await? {
            if row.try_get::<String>("", "token")? == token {
                owner = row.try_get("", "chatter_id")?;
            }
        }
        if owner != id && taking == Taking::Nothing {
            return Ok(Registered::OfAnother);
        }
        // By its owner: another account may have registered the token since it was read.
        let delete = "DELETE FROM devices
             WHERE (token = $1 AND chatter_id IN ($2, $3)) OR (chatter_id = $2 AND sign_in_id IS NULL)";
        tx.execute_raw(self.sql(delete, [token.into(), id.into(), owner.into()])).await?;
        let insert = "INSERT INTO devices (chatter_id, sign_in_id, token, create_time) VALUES ($1, NULL, $2, $3)
             ON CONFLICT (token) DO NOTHING";
        let values = [id.into(), token.into(), Micros::now().0.into()];
        if tx.execute_raw(self.sql(insert, values)).await?.rows_affected() == 0 {
            return Ok(Registered::OfAnother);
        }
        Ok(if owner == id { Registered::New } else { Registered::TakenFrom(owner) })
    }

    /// Deletes the account's token, not those of sign-ins.
    pub(super) async fn remove_account_token(
        &self,
        tx: &DatabaseTransaction,
        id: ChatterId,
    ) -> Result<Registered, DbErr> {
        let of_account = Entity::delete_many().filter(Column::ChatterId.eq(id)).filter(Column::SignInId.is_null());
        of_account.exec(tx).await?;
        Ok(Registered::New)
    }
}
