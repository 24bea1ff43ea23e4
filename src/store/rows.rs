//! Rows of the database as domain types.

use ::entity::{chat, chatroom, chatter};
use sea_orm::{FromQueryResult, QueryResult, sqlx};

use crate::domain::ChatterId;
use crate::domain::chat::Chat;
use crate::domain::chatroom::Chatroom;
use crate::domain::chatter::Chatter;
use crate::domain::clock::Micros;

pub(super) fn chat_of(row: chat::Model, receiver_id: ChatterId) -> Chat {
    Chat {
        id: row.id.into(),
        chatroom_id: row.chatroom_id.into(),
        seq: row.seq.into(),
        version: row.version.into(),
        sender_id: row.sender_id.into(),
        receiver_id,
        content: row.content,
        client_id: row.client_id,
        create_time: Micros(row.create_time),
        edit_time: row.edit_time.map(Micros),
        delete_time: row.delete_time.map(Micros),
    }
}

/// A chat whose room is at hand, which names the receiver.
pub(super) fn chat_in(room: &Chatroom, row: chat::Model) -> Chat {
    let receiver = room.other(row.sender_id.into());
    chat_of(row, receiver)
}

/// A chat's row that the writer's own connection returned.
pub(super) fn chat_row(row: impl Into<QueryResult>) -> Result<chat::Model, sqlx::Error> {
    chat::Model::from_query_result(&row.into(), "").map_err(|error| sqlx::Error::Decode(Box::new(error)))
}

pub(super) fn chatroom_of(row: chatroom::Model) -> Chatroom {
    Chatroom {
        id: row.id.into(),
        owner_id: row.owner_id.into(),
        opponent_id: row.opponent_id.into(),
        create_time: Micros(row.create_time),
        last_chat_time: Micros(row.last_chat_time),
        last_seq: row.last_seq.into(),
        version: row.version.into(),
        closed: row.closed_time.is_some(),
    }
}

pub(super) fn chatter_of(row: chatter::Model) -> Chatter {
    Chatter {
        deleted: row.delete_time.is_some(),
        last_seen: row.last_seen.map(Micros),
        show_last_seen: row.show_last_seen,
        show_receipts: row.show_receipts,
        ..Chatter::new(row.id.into(), row.username, row.nickname)
    }
}
