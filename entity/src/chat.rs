//! `chats`: one message in a room.

use sea_orm::entity::prelude::*;

/// A row of `chats`: a stored chat, or its tombstone once `delete_time` is set. Rows of former releases also have
/// `folded`, which nothing reads.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "chats")]
pub struct Model {
    /// Unique over all rooms; grows with `seq` within a room, with gaps.
    #[sea_orm(primary_key)]
    pub id: i64,
    /// The room's row in `chatrooms`.
    pub chatroom_id: i64,
    /// The place in the room: 1, 2, 3 …; deletion does not free it.
    pub seq: i64,
    /// The room's version at the last change of this chat.
    pub version: i64,
    /// The chatter who sent it; the receiver is the other one of the room's pair.
    pub sender_id: i64,
    /// Empty once the chat is deleted.
    pub content: String,
    /// The sender's own name for the chat; none for a chat that was sent without one.
    pub client_id: Option<String>,
    /// First 16 bytes of SHA-256 over sender and `client_id`.
    pub client_key: Option<Vec<u8>>,
    /// Hash of room and content as first sent.
    pub first_hash: Option<i64>,
    /// When it was stored, in microseconds since 1970, UTC, as every `*_time`; never before the room's earlier chats.
    pub create_time: i64,
    /// When it was last edited; none if it never was.
    pub edit_time: Option<i64>,
    /// When the sender deleted it; none until then.
    pub delete_time: Option<i64>,
}

/// Empty: the store writes its joins in SQL. sea-orm needs the type.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
