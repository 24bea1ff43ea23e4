//! The frames of the socket of one room: clients send `{"message": …}`; the server sends chats, errors and, with
//! `&events=1`, edits and deletions.

use std::fmt;

use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
#[cfg(test)]
use utoipa::ToSchema;

use crate::domain::chat::Chat;
use crate::domain::clock::Micros;
use crate::domain::{ChatId, ChatroomId, ChatterId, Seq, Version};
use crate::problem::Problem;
use crate::protocol::recover::value_of;

/// A new chat from a client. Unknown keys are ignored; of a repeated key the last value counts.
#[cfg_attr(test, derive(ToSchema))]
#[cfg_attr(test, derive(Debug, PartialEq, Eq))]
#[cfg_attr(test, schema(as = RoomMessage))]
pub struct ClientFrame {
    /// The text of the chat, stored as sent; at least one character that can be seen, no NUL.
    #[cfg_attr(test, schema(min_length = 1, max_length = 8000))]
    pub message: String,
    /// Makes the chat safe to send again: a name that the sender chooses and never uses for another chat.
    #[cfg_attr(test, schema(min_length = 1, max_length = 64))]
    pub client_id: Option<String>,
}

/// The text is no frame that could be read.
#[derive(Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// The `client_id` that the text names, if it can be found.
    pub client_id: Option<String>,
}

impl ClientFrame {
    /// Reads one text frame.
    pub fn parse(text: &[u8]) -> Result<Self, Unreadable> {
        serde_json::from_slice(text).map_err(|_| {
            let named = std::str::from_utf8(text).ok().and_then(|text| value_of(text, "client_id"));
            Unreadable { client_id: named.and_then(|json| serde_json::from_str(json).ok()) }
        })
    }
}

impl<'de> Deserialize<'de> for ClientFrame {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(FrameVisitor)
    }
}

struct FrameVisitor;

impl<'de> Visitor<'de> for FrameVisitor {
    type Value = ClientFrame;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object like {\"message\": \"text\"}")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<ClientFrame, A::Error> {
        let (mut message, mut client_id) = (None, None);
        while let Some(key) = map.next_key::<std::borrow::Cow<'de, str>>()? {
            match key.as_ref() {
                "message" => message = Some(map.next_value::<String>()?),
                "client_id" => client_id = map.next_value::<Option<String>>()?,
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        let message = message.ok_or_else(|| serde::de::Error::missing_field("message"))?;
        Ok(ClientFrame { message, client_id })
    }
}

/// A new chat, for every socket of the room, including the sender's.
#[derive(Serialize)]
#[cfg_attr(test, derive(ToSchema), schema(as = RoomChat))]
pub struct ChatFrame<'a> {
    /// The text of the chat, as sent.
    message: &'a str,
    /// Unique over all rooms; names the chat in `/api/chats/{id}`.
    id: ChatId,
    /// The room of this socket.
    chatroom_id: ChatroomId,
    /// The chatter who sent the chat.
    sender_id: ChatterId,
    /// The other person of the room; the sender in notes to oneself.
    receiver_id: ChatterId,
    /// The place of the chat in the room: 1, 2, 3 …
    seq: Seq,
    /// The room's version at the last change of this chat: a cursor for `changes?since=`.
    version: Version,
    /// When the chat was stored.
    create_time: Micros,
    /// The sender's own name for the chat. Absent if it was sent without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    client_id: Option<&'a str>,
}

impl<'a> ChatFrame<'a> {
    /// The frame of this chat.
    #[must_use]
    pub fn new(chat: &'a Chat) -> Self {
        Self {
            message: &chat.content,
            id: chat.id,
            chatroom_id: chat.chatroom_id,
            sender_id: chat.sender_id,
            receiver_id: chat.receiver_id,
            seq: chat.seq,
            version: chat.version,
            create_time: chat.create_time,
            client_id: chat.client_id.as_deref(),
        }
    }
}

/// A changed chat, for the sockets with `&events=1`.
#[derive(Serialize)]
#[cfg_attr(test, derive(ToSchema), schema(as = RoomEvent))]
#[serde(tag = "event", rename_all = "lowercase")]
pub enum EventFrame<'a> {
    /// A chat was edited; only with `&events=1`.
    Edited {
        /// The new text.
        message: &'a str,
        /// The chat's id, the same as before.
        id: ChatId,
        /// The room of this socket.
        chatroom_id: ChatroomId,
        /// The chatter who sent and edited the chat.
        sender_id: ChatterId,
        /// The other person of the room; the sender in notes to oneself.
        receiver_id: ChatterId,
        /// The place of the chat in the room, the same as before.
        seq: Seq,
        /// The room's version after the edit.
        version: Version,
        /// When the chat was stored.
        create_time: Micros,
        /// When the chat was last edited.
        #[cfg_attr(test, schema(required))]
        edit_time: Option<Micros>,
    },
    /// A chat was deleted; only with `&events=1`.
    Deleted {
        /// The chat that was deleted.
        id: ChatId,
        /// The room of this socket.
        chatroom_id: ChatroomId,
        /// The place that the chat had in the room; no other chat takes it.
        seq: Seq,
        /// The room's version after the deletion.
        version: Version,
    },
}

impl<'a> EventFrame<'a> {
    /// The frame of this edited chat.
    #[must_use]
    pub fn edited(chat: &'a Chat) -> Self {
        Self::Edited {
            message: &chat.content,
            id: chat.id,
            chatroom_id: chat.chatroom_id,
            sender_id: chat.sender_id,
            receiver_id: chat.receiver_id,
            seq: chat.seq,
            version: chat.version,
            create_time: chat.create_time,
            edit_time: chat.edit_time,
        }
    }

    /// The frame of this tombstone.
    #[must_use]
    pub fn deleted(chat: &Chat) -> Self {
        Self::Deleted { id: chat.id, chatroom_id: chat.chatroom_id, seq: chat.seq, version: chat.version }
    }
}

/// A refused frame; the socket stays open.
#[derive(Serialize)]
#[cfg_attr(test, derive(ToSchema), schema(as = RoomError))]
pub struct ErrorFrame<'a> {
    /// Why the frame was refused, as over REST.
    pub error: &'a Problem,
    /// The `client_id` of the refused chat.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_id: Option<&'a str>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<ClientFrame, serde_json::Error> {
        serde_json::from_str(text)
    }

    #[test]
    fn the_last_of_a_repeated_key_counts_and_unknown_keys_are_ignored() {
        let frame = parse(r#"{"message":"a","x":[{}],"message":"b","client_id":null}"#).unwrap();
        assert_eq!(frame, ClientFrame { message: "b".into(), client_id: None });
    }

    #[test]
    fn deep_nesting_below_unknown_keys_is_skipped() {
        let deep = format!("{{\"message\":\"a\",\"x\":{}{}}}", "[".repeat(10_000), "]".repeat(10_000));
        assert!(parse(&deep).is_ok());
        assert!(parse(&format!("{{\"message\":{}{}}}", "[".repeat(10_000), "]".repeat(10_000))).is_err());
    }

    #[test]
    fn a_text_that_is_not_a_frame_is_an_error_and_never_a_panic() {
        for bad in [
            "",
            "x",
            "[]",
            "1",
            "{}",
            r#"{"message":null}"#,
            r#"{"message":1}"#,
            r#"{"message":["a"]}"#,
            r#"{"message":"\ud800"}"#,
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
    #[test]
    fn c7_a_frame_that_cannot_be_read_is_refused_with_its_client_id() {
        for bad in [
            r#"{"client_id":"c7","message":"\ud800"}"#,
            r#"{"client_id":"c7","message":7}"#,
            r#"{"client_id":"c7"}"#,
            r#"{"message":tru,"client_id":"c7"}"#,
            r#"{"message":"a","client_id":"c7",}"#,
            r#"{"client_id":"c7","message":"the end is missing"#,
        ] {
            assert_eq!(ClientFrame::parse(bad.as_bytes()).unwrap_err().client_id.as_deref(), Some("c7"), "{bad}");
        }
        assert_eq!(ClientFrame::parse(br#"{"message":"a","client_id":7}"#), Err(Unreadable { client_id: None }));
    }
}
