//! Accounts: creating, finding and changing them.

use std::collections::HashMap;

use ::entity::chatter::{ActiveModel, Column, Entity};
use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect, Set, Value};
use sha2::{Digest, Sha256};

use super::devices::{Registered, Taking};
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
    /// The argon2id hash of the password, in PHC format; none where an identity provider signs the chatter in.
    pub password_hash: Option<String>,
    /// The issuer and the subject of an identity provider; none for an account with a password.
    pub external_id: Option<String>,
    /// The account's own push token. The account begins without one for `None`, and where another account has it: this
    /// request is of a client that has not signed in.
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
    /// Replaces the token by one that no other account has.
    Set(String),
    /// Replaces the token, and takes the new one from the account that has it.
    Move(String),
}

/// An account that was changed.
pub struct ChangedChatter {
    /// As it is now.
    pub chatter: Chatter,
    /// The account that had its push token until now.
    pub token_taken_from: Option<ChatterId>,
}

impl Store {
    /// Creates an account, and gives its push token; `None` if the name is taken, also by a deleted account, or if the
    /// external id has an account or had one.
    pub async fn create_chatter(&self, new: NewChatter) -> Result<Option<(Chatter, Option<String>)>, StoreError> {
        let NewChatter { username, nickname, password_hash, external_id, fcm_reg_id } = new;
        let created = self
            .writes
            .run(async |db| {
                let tx = begin(db).await?;
                let row = ActiveModel {
                    username: Set(username.as_str().to_owned()),
                    username_key: Set(username.key()),
                    nickname: Set(nickname.clone()),
                    password_hash: Set(password_hash),
                    external_id: Set(external_id.clone()),
                    create_time: Set(Micros::now().0),
                    ..Default::default()
                };
                let id = match Entity::insert(row).exec(&tx).await {
                    Ok(inserted) => ChatterId::new(inserted.last_insert_id),
                    Err(error) if violates(&error, Unique::Username) => return Ok(None),
                    Err(error) if violates(&error, Unique::ExternalId) => return Ok(None),
                    Err(error) => return Err(error),
                };
                // Behind the insert, which waits for a deletion of the same name that has not committed yet.
                let retired =
                    Entity::find().filter(Column::UsernameKey.eq(retired_key(&username.key()))).one(&tx).await?;
                if retired.is_some() {
                    return Ok(None);
                }
                if let Some(external_id) = &external_id
                    && self.is_retired(&tx, external_id).await?
                {
                    return Ok(None);
                }
                let has_token = match &fcm_reg_id {
                    Some(token) => self.set_account_token(&tx, id, token, Taking::Nothing).await? == Registered::New,
                    None => false,
                };
                tx.commit().await?;
                Ok(Some((id, has_token)))
            })
            .await?;
        Ok(created.map(|(id, has_token)| {
            (Chatter::new(id, username.as_str().to_owned(), nickname), fcm_reg_id.filter(|_| has_token))
        }))
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

    /// Changes an account and returns it; `None` if it was deleted, the sign-in that asks has ended, the password is no
    /// longer the one that was verified, or another account has the push token that is to be set.
    pub async fn change_chatter(
        &self,
        id: ChatterId,
        update: ChatterUpdate,
    ) -> Result<Option<ChangedChatter>, StoreError> {
        let (verified, hash) = update.password.map(|new| (new.verified_hash, new.hash)).unzip();
        let changed = self
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
                let registered = match &update.fcm_reg_id {
                    TokenUpdate::Keep => Registered::New,
                    TokenUpdate::Remove => self.remove_account_token(&tx, id).await?,
                    TokenUpdate::Set(token) => self.set_account_token(&tx, id, token, Taking::Nothing).await?,
                    TokenUpdate::Move(token) => self.set_account_token(&tx, id, token, Taking::FromAnother).await?,
                };
                let token_taken_from = match registered {
                    Registered::New => None,
                    Registered::TakenFrom(owner) => Some(owner),
                    Registered::OfAnother => return Ok(None),
                };
                self.end_sign_ins(&tx, id, update.sign_ins).await?;
                let row = Entity::find_by_id(id.get()).one(&tx).await?;
                tx.commit().await?;
                Ok(row.map(|row| ChangedChatter { chatter: chatter_of(row), token_taken_from }))
            })
            .await?;
        Ok(changed)
    }
}

/// The key that keeps a deleted account's name from being taken again: a hash, because the name itself must not stay.
pub(super) fn retired_key(username_key: &str) -> String {
    format!("retired:{}", sha256_hex(username_key))
}

/// SHA-256 of a text, as hexadecimal digits.
pub(super) fn sha256_hex(text: &str) -> String {
    Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}
