//! `chats`: one message in a room.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "chats")]
pub struct Model {
    #[sea_orm(primary_key)]
    pub id: i64,
    pub chatroom_id: i64,
    pub seq: i64,
    pub version: i64,
    pub sender_id: i64,
    /// Empty once the chat is deleted.
    pub content: String,
    /// The content as search compares it; none where that is the content itself.
    pub folded: Option<String>,
    pub client_id: Option<String>,
    /// First 16 bytes of SHA-256 over sender and `client_id`.
    pub client_key: Option<Vec<u8>>,
    /// Hash of room and content as first sent.
    pub first_hash: Option<i64>,
    pub create_time: i64,
    pub edit_time: Option<i64>,
    pub delete_time: Option<i64>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
