//! Password hashes: finding them, and replacing the one that was verified.

use ::entity::chatter::{Column, Entity};
use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter};

use super::{Store, StoreError};
use crate::domain::ChatterId;

/// A new password, which replaces the one that was verified and no other.
pub struct NewPassword {
    /// The stored hash with which the current password was verified.
    pub verified_hash: String,
    /// The argon2id hash of the new password, in PHC format.
    pub hash: String,
}

impl Store {
    /// The id and the password's hash of the account with this name.
    pub async fn credentials(&self, username_key: &str) -> Result<Option<(ChatterId, String)>, StoreError> {
        let found = self
            .lookups
            .run(async |db| Entity::find().filter(Column::UsernameKey.eq(username_key)).one(db).await)
            .await?;
        Ok(found.and_then(|row| row.password_hash.map(|hash| (row.id.into(), hash))))
    }

    /// A chatter's password hash, to verify the current password before it is changed.
    pub async fn password_hash(&self, id: ChatterId) -> Result<Option<String>, StoreError> {
        let row = self.lookups.run(async |db| Entity::find_by_id(id.get()).one(db).await).await?;
        Ok(row.and_then(|row| row.password_hash))
    }

    /// Replaces the hash of a password by a new hash of the same password, where it is still the one that was verified.
    pub async fn rehash(&self, id: ChatterId, verified_hash: &str, hash: String) -> Result<(), StoreError> {
        let set = "UPDATE chatters SET password_hash = $3 WHERE id = $1 AND password_hash = $2 AND delete_time IS NULL";
        let statement = self.sql(set, [id.into(), verified_hash.into(), hash.into()]);
        self.writes.run(async |db| db.execute_raw(statement).await).await?;
        Ok(())
    }
}
