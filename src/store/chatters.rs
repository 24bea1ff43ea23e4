//! Accounts: creating, finding and changing them, and the one push token that an account may have.

use std::collections::HashMap;

use ::entity::chatter::{ActiveModel, Column, Entity};
use ::entity::device;
use sea_orm::{
    ColumnTrait, ConnectionTrait, DatabaseTransaction, DbErr, EntityTrait, QueryFilter, QueryOrder, QuerySelect, Set,
    Value,
};
use sha2::{Digest, Sha256};

use super::error::{Unique, violates};
use super::passwords::NewPassword;
use super::rows::chatter_of;
use super::sign_ins::SignInUpdate;
use super::transaction::begin;
use super::{Store, StoreError};
use crate::domain::chatter::{Chatter, Username};
use crate::domain::clock::Micros;
use crate::domain::{ChatterId, SignInId};

/// A new account.
pub struct NewChatter {
    /// As the chatter wrote it; unique regardless of case.
    pub username: Username,
    /// The name that others see; need not be unique.
    pub nickname: String,
    /// The argon2id hash of the password, in PHC format.
    pub password_hash: String,
    /// The account's own push token. `None` means that it begins without one.
    pub fcm_reg_id: Option<String>,
}

/// A change of an account; `None` and `Keep` leave a field as it is.
#[derive(Default)]
pub struct ChatterUpdate {
    /// The new name that others see.
    pub nickname: Option<String>,
    /// What happens to the account's push token.
    pub fcm_reg_id: TokenUpdate,
    /// The new password.
    pub password: Option<NewPassword>,
    /// The sign-in that asks for the change, which must still be open; none in a token of a team's own backend.
    pub by: Option<SignInId>,
    /// The sign-ins that end in the same transaction.
    pub sign_ins: SignInUpdate,
    /// Whether those who share a room see `online` and `last_seen`.
    pub show_last_seen: Option<bool>,
    /// Whether the other person of a room sees what was delivered and read.
    pub show_receipts: Option<bool>,
}

/// A change of the account's push token.
#[derive(Default)]
pub enum TokenUpdate {
    /// Leaves the token, or its absence, as it is.
    #[default]
    Keep,
    /// Deletes the account's token, not those of sign-ins.
    Remove,
    /// Replaces the token, and takes the new one from the account that had it.
    Set(String),
}

impl Store {
    /// Creates an account; `None` if the name is taken, also by a deleted account.
    pub async fn create_chatter(&self, new: NewChatter) -> Result<Option<Chatter>, StoreError> {
        let NewChatter { username, nickname, password_hash, fcm_reg_id } = new;
        let created = self
            .writes
            .run(async |db| {
                let tx = begin(db).await?;
                let row = ActiveModel {
                    username: Set(username.as_str().to_owned()),
                    username_key: Set(username.key()),
                    nickname: Set(nickname.clone()),
                    password_hash: Set(Some(password_hash)),
                    create_time: Set(Micros::now().0),
                    ..Default::default()
                };
                let id = match Entity::insert(row).exec(&tx).await {
                    Ok(inserted) => ChatterId::new(inserted.last_insert_id),
                    Err(error) if violates(&error, Unique::Username) => return Ok(None),
                    Err(error) => return Err(error),
                };
                // Behind the insert, which waits for a deletion of the same name that has not committed yet.
                let retired =
                    Entity::find().filter(Column::UsernameKey.eq(retired_key(&username.key()))).one(&tx).await?;
                if retired.is_some() {
                    return Ok(None);
                }
                if let Some(token) = &fcm_reg_id {
                    set_account_token(&tx, id, token).await?;
                }
                tx.commit().await?;
                Ok(Some(id))
            })
            .await?;
        Ok(created.map(|id| Chatter::new(id, username.as_str().to_owned(), nickname)))
    }

    /// One account, also a deleted one.
    pub async fn chatter(&self, id: ChatterId) -> Result<Option<Chatter>, StoreError> {
        let row = self.lookups.run(async |db| Entity::find_by_id(id.get()).one(db).await).await?;
        Ok(row.map(chatter_of))
    }

    /// Several accounts by id.
    pub async fn chatters_by_id(&self, ids: Vec<ChatterId>) -> Result<HashMap<ChatterId, Chatter>, StoreError> {
        let rows = self.reads.run(async |db| Entity::find().filter(Column::Id.is_in(ids)).all(db).await).await?;
        Ok(rows.into_iter().map(|row| (row.id.into(), chatter_of(row))).collect())
    }

    /// One page of the directory by id, without deleted accounts; `prefix` is the folded beginning of a username.
    pub async fn directory(
        &self,
        prefix: Option<&str>,
        after: Option<ChatterId>,
        limit: u64,
    ) -> Result<Vec<Chatter>, StoreError> {
        let after = after.map_or(0, ChatterId::get);
        let mut page = Entity::find().filter(Column::DeleteTime.is_null()).filter(Column::Id.gt(after));
        if let Some(prefix) = prefix {
            // Usernames are ASCII, so the prefix with DEL behind it sorts after every key with this prefix.
            page = page.filter(Column::UsernameKey.gte(prefix)).filter(Column::UsernameKey.lt(format!("{prefix}\x7f")));
        }
        let rows = self.reads.run(async |db| page.order_by_asc(Column::Id).limit(limit).all(db).await).await?;
        Ok(rows.into_iter().map(chatter_of).collect())
    }

    /// The push token that belongs to the account itself; only its owner sees it.
    pub async fn account_token(&self, id: ChatterId) -> Result<Option<String>, StoreError> {
        let find =
            device::Entity::find().filter(device::Column::ChatterId.eq(id)).filter(device::Column::SignInId.is_null());
        let row = self.lookups.run(async |db| find.one(db).await).await?;
        Ok(row.map(|row| row.token))
    }

    /// Changes an account and returns it; `None` if it was deleted, the sign-in that asks has ended, or the password
    /// is no longer the one that was verified.
    pub async fn change_chatter(&self, id: ChatterId, update: ChatterUpdate) -> Result<Option<Chatter>, StoreError> {
        let (verified, hash) = update.password.map(|new| (new.verified_hash, new.hash)).unzip();
        let row = self
            .writes
            .run(async |db| {
                let tx = begin(db).await?;
                let set = "UPDATE chatters SET nickname = coalesce($2, nickname),
                             password_hash = coalesce($3, password_hash),
                             show_last_seen = coalesce($4, show_last_seen), show_receipts = coalesce($5, show_receipts)
                           WHERE id = $1 AND delete_time IS NULL AND ($6 IS NULL OR password_hash = $6)";
                let values: [Value; 6] = [
                    id.into(),
                    update.nickname.clone().into(),
                    hash.into(),
                    update.show_last_seen.into(),
                    update.show_receipts.into(),
                    verified.into(),
                ];
                let updated = tx.execute_raw(self.sql(set, values)).await?;
                // The sign-in is read behind the lock of the account, under which a new password ends it.
                if updated.rows_affected() == 0 || !self.is_open(&tx, id, update.by).await? {
                    return Ok(None);
                }
                match &update.fcm_reg_id {
                    TokenUpdate::Keep => {}
                    TokenUpdate::Remove => remove_account_token(&tx, id).await?,
                    TokenUpdate::Set(token) => set_account_token(&tx, id, token).await?,
                }
                self.end_sign_ins(&tx, id, update.sign_ins).await?;
                let row = Entity::find_by_id(id.get()).one(&tx).await?;
                tx.commit().await?;
                Ok(row)
            })
            .await?;
        Ok(row.map(chatter_of))
    }
}

/// The key that keeps a deleted account's name from being taken again: a hash, because the name itself must not stay.
pub(super) fn retired_key(username_key: &str) -> String {
    let digest = Sha256::digest(username_key);
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("retired:{hex}")
}

/// Sets the account's push token. A token has one row, so a device that changed hands leaves its former owner.
async fn set_account_token(tx: &DatabaseTransaction, id: ChatterId, token: &str) -> Result<(), DbErr> {
    remove_account_token(tx, id).await?;
    device::Entity::delete_many().filter(device::Column::Token.eq(token)).exec(tx).await?;
    let row = device::ActiveModel {
        chatter_id: Set(id.get()),
        sign_in_id: Set(None),
        token: Set(token.to_owned()),
        create_time: Set(Micros::now().0),
        ..Default::default()
    };
    device::Entity::insert(row).exec_without_returning(tx).await?;
    Ok(())
}

async fn remove_account_token(tx: &DatabaseTransaction, id: ChatterId) -> Result<(), DbErr> {
    let of_account = device::Entity::delete_many()
        .filter(device::Column::ChatterId.eq(id))
        .filter(device::Column::SignInId.is_null());
    of_account.exec(tx).await?;
    Ok(())
}
