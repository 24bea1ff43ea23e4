//! `chatters`: an account.

use sea_orm::entity::prelude::*;

/// A row of `chatters`; it outlives a deleted account unless `accounts.deletion` is `cascade`.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "chatters")]
pub struct Model {
    /// The `sub` of the chatter's tokens (RFC 7519).
    #[sea_orm(primary_key)]
    pub id: i64,
    /// As the owner wrote it; `deleted-N` after deletion.
    pub username: String,
    /// The username in lower case; after deletion a hash of it.
    pub username_key: String,
    /// The name shown to others; `(deleted)` after deletion.
    pub nickname: String,
    /// An argon2id PHC string; none for a deleted account and for one of an identity provider.
    pub password_hash: Option<String>,
    /// Microseconds since 1970, UTC, as every `*_time`.
    pub create_time: i64,
    /// When the owner deleted the account; none until then.
    pub delete_time: Option<i64>,
    /// When the last socket closed.
    pub last_seen: Option<i64>,
    /// Whether chatters who share a room see `last_seen` and whether the chatter is online.
    pub show_last_seen: bool,
    /// Whether the other person of a room sees the chatter's watermarks.
    pub show_receipts: bool,
    /// The issuer of the account's tokens, a blank, and their subject; none for an account with a password.
    pub external_id: Option<String>,
    /// Tokens without a sign-in that were issued before this time are void; none means that no token is.
    pub tokens_void_before: Option<i64>,
}

/// Empty: the store writes its joins in SQL. sea-orm needs the type.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
