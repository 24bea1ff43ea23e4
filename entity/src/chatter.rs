//! `chatters`: an account.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "chatters")]
pub struct Model {
    #[sea_orm(primary_key)]
    pub id: i64,
    pub username: String,
    /// The username in lower case; after deletion a hash of it.
    pub username_key: String,
    pub nickname: String,
    /// An argon2id PHC string; none for a deleted account.
    pub password_hash: Option<String>,
    /// Microseconds since 1970, UTC, as every `*_time`.
    pub create_time: i64,
    pub delete_time: Option<i64>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
