//! `chatrooms`: the room of two chatters.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "chatrooms")]
pub struct Model {
    #[sea_orm(primary_key)]
    pub id: i64,
    pub owner_id: i64,
    pub opponent_id: i64,
    pub pair_low: i64,
    pub pair_high: i64,
    pub create_time: i64,
    pub last_chat_time: i64,
    pub last_seq: i64,
    pub version: i64,
    /// When one of the two chatters deleted their account.
    pub closed_time: Option<i64>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
