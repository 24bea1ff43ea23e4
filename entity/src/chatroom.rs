//! `chatrooms`: the room of two chatters.

use sea_orm::entity::prelude::*;

/// A row of `chatrooms`.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "chatrooms")]
pub struct Model {
    /// The key of `members`, `chats` and `push_outbox`, and the `chatroom_id` of clients.
    #[sea_orm(primary_key)]
    pub id: i64,
    /// The chatter who created the room.
    pub owner_id: i64,
    /// The chatter with whom the room was created; the owner in notes to oneself.
    pub opponent_id: i64,
    /// The smaller id of the two chatters; unique together with `pair_high`, so that a pair has one room.
    pub pair_low: i64,
    /// The larger id of the two chatters; equal to `pair_low` in notes to oneself.
    pub pair_high: i64,
    /// Microseconds since 1970, UTC, as every `*_time`.
    pub create_time: i64,
    /// The `create_time` of the newest chat, or the room's own while it has no chat; never goes back.
    pub last_chat_time: i64,
    /// The `seq` of the newest chat, tombstones included; 0 before the first.
    pub last_seq: i64,
    /// The number of the last change in the room; 0 before the first.
    pub version: i64,
    /// When one of the two chatters deleted their account.
    pub closed_time: Option<i64>,
}

/// Empty: the store writes its joins in SQL. sea-orm needs the type.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
