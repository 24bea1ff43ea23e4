//! `devices`: a push target.

use sea_orm::entity::prelude::*;

/// A row of `devices`.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "devices")]
pub struct Model {
    /// Drawn by the database; no other table refers to it.
    #[sea_orm(primary_key)]
    pub id: i64,
    /// The account whose pushes go to this device.
    pub chatter_id: i64,
    /// None for an account's `fcm_reg_id`.
    pub sign_in_id: Option<i64>,
    /// The registration token of Firebase Cloud Messaging; unique, so a device belongs to the account that set it last.
    pub token: String,
    /// When the token was set, in microseconds since 1970, UTC.
    pub create_time: i64,
}

/// Empty: the store writes its joins in SQL. sea-orm needs the type.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
