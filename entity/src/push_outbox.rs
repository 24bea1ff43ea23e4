//! `push_outbox`: a push that is owed: one row a room and receiver.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "push_outbox")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub chatroom_id: i64,
    #[sea_orm(primary_key, auto_increment = false)]
    pub receiver_id: i64,
    pub to_seq: i64,
    pub create_time: i64,
    /// When the row may be claimed.
    pub due_time: i64,
    pub attempts: i64,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
