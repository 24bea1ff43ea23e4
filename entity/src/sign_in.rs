//! `sign_ins`: a sign-in with a password; tokens name it as `sid`.

use sea_orm::entity::prelude::*;

/// A row of `sign_ins`; without it the tokens of the sign-in are refused.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "sign_ins")]
pub struct Model {
    /// The `sid` of the tokens.
    #[sea_orm(primary_key)]
    pub id: i64,
    /// The account that signed in.
    pub chatter_id: i64,
    /// When the password was accepted, in microseconds since 1970, UTC.
    pub create_time: i64,
    /// When the sign-in ends by itself, in microseconds since 1970, UTC; the cleanup removes the row after that.
    pub expire_time: i64,
    /// SHA-256 of the newest refresh token; none if a server of an earlier release opened the sign-in.
    pub refresh_hash: Option<Vec<u8>>,
    /// When that token replaced its predecessor, by the database's clock.
    pub refresh_time: Option<i64>,
    /// The `iat` of the token that was issued with it, by the clock of the instance that issued it.
    pub token_time: Option<i64>,
    /// When the chatter last signed in or refreshed here.
    pub last_used_time: Option<i64>,
    /// As the client named itself.
    pub device_name: Option<String>,
    /// The network that the last sign-in or refresh came from.
    pub address_class: Option<String>,
}

/// Empty: the store writes its joins in SQL. sea-orm needs the type.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
