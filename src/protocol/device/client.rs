//! The frames of a client on the device socket. Unknown keys are ignored; of a repeated key the last value counts.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeOwned, Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::Ref;
use super::cursors::Cursors;
use crate::domain::{ChatId, ChatroomId, Seq, Version};
use crate::protocol::recover::value_of;

/// The most rooms that one `resume` names.
pub const RESUME_ROOMS_MAX: usize = 500;

/// One frame of a client.
pub struct ClientFrame {
    /// The `ref` of the frame, which the answer repeats; none if the client sent none.
    pub reference: Option<Ref>,
    /// The other keys, by the frame's `type`.
    pub body: Body,
}

macro_rules! types {
    ($($name:ident = $text:literal;)*) => {
        /// The type of a frame, as its key `type` names it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
        #[serde(rename_all = "snake_case")]
        pub enum Type { $(#[doc = concat!("The frame `", $text, "`.")] $name,)* }

        impl Type {
            /// Every type, in the order of the documents.
            pub const ALL: &'static [Type] = &[$(Type::$name,)*];

            /// The type as clients write it.
            #[must_use]
            pub const fn as_str(self) -> &'static str { match self { $(Type::$name => $text,)* } }

            fn parse(text: &str) -> Option<Self> { match text { $($text => Some(Self::$name),)* _ => None } }
        }
    };
}

types! {
    Auth = "auth";
    Send = "send";
    Edit = "edit";
    Delete = "delete";
    Receipt = "receipt";
    Typing = "typing";
    Resume = "resume";
    Ping = "ping";
}

/// The content of a frame. No `Debug`: it has tokens and contents.
#[cfg_attr(test, derive(utoipa::ToSchema), schema(rename_all = "snake_case"))]
pub enum Body {
    /// Sign in, or replace the token before it expires.
    Auth {
        /// A token of `POST /api/auth`, or one that your own backend has signed.
        token: String,
    },
    /// Send a new chat. With the same `client_id` it is stored once, however often it is sent.
    Send {
        /// A room of this chatter.
        chatroom_id: ChatroomId,
        /// The sender's own name for the chat, never used for another one: 1 to 64 printable ASCII characters.
        client_id: String,
        /// The text: 1 to 8,000 characters, at least one of them visible, no NUL.
        content: String,
    },
    /// Edit a chat that this chatter sent.
    Edit {
        /// The `id` of the chat.
        chat_id: ChatId,
        /// The new text, with the same rules as in `send`.
        content: String,
    },
    /// Delete a chat that this chatter sent, for both.
    Delete {
        /// The `id` of the chat.
        chat_id: ChatId,
    },
    /// Say how far this chatter has received and read. The marks only move forward: an older `seq` changes nothing.
    Receipt {
        /// A room of this chatter.
        chatroom_id: ChatroomId,
        /// This chatter has received the chats up to this `seq`. Left out or null: the mark stays.
        delivered_seq: Option<Seq>,
        /// This chatter has read the chats up to this `seq`; raises `delivered_seq` too. Left out or null: it stays.
        read_seq: Option<Seq>,
    },
    /// Say that this chatter is typing, or no longer. Nothing is stored; it ends by itself after 6 s.
    Typing {
        /// A room of this chatter.
        chatroom_id: ChatroomId,
        /// True when the chatter begins, and again within 6 s for as long as it goes on; false when it ends.
        typing: bool,
    },
    /// Request the changes above a cursor, for the rooms whose version in `ready` differs.
    Resume {
        /// The cursor of each room, by its id; at most 500.
        #[cfg_attr(test, schema(value_type = BTreeMap<String, i64>))]
        chatrooms: Vec<(ChatroomId, Version)>,
        /// The epoch of the cursors, from `ready` or `changes`. In another one each room is answered with `reset`.
        epoch: Option<String>,
    },
    /// Test the connection.
    Ping,
}

/// Why a frame could not be read.
#[derive(Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// The `ref` of the frame; none if it has none or cannot be read.
    pub reference: Option<Ref>,
    /// The text is not an object with a text `type`: the peer may speak another protocol.
    pub foreign: bool,
    /// What is wrong; never repeats values.
    pub detail: Cow<'static, str>,
}

impl ClientFrame {
    /// Reads one text frame.
    pub fn parse(text: &[u8]) -> Result<Self, Unreadable> {
        let foreign = |reference| Unreadable {
            reference,
            foreign: true,
            detail: "Send a JSON object with a \"type\", as GET /docs/socket shows.".into(),
        };
        let Ok(keys) = serde_json::from_slice::<Keys<'_>>(text) else {
            let named = std::str::from_utf8(text).ok().and_then(|text| value_of(text, "ref"));
            return Err(foreign(named.and_then(Ref::parse)));
        };
        let kind = keys.kind.and_then(|raw| serde_json::from_str::<Text<'_>>(raw.get()).ok());
        let Some(Text(kind)) = kind else { return Err(foreign(keys.reference().ok().flatten())) };
        let reference = keys.reference()?;
        let known = Type::parse(&kind).ok_or("There is no such type; GET /docs/socket lists them.".into());
        match known.and_then(|kind| keys.body(kind)) {
            Ok(body) => Ok(Self { reference, body }),
            Err(detail) => Err(Unreadable { reference, foreign: false, detail }),
        }
    }
}

/// A string that is borrowed where it has no escapes.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// The values of the known keys, not yet parsed.
#[derive(Default)]
struct Keys<'a> {
    kind: Option<&'a RawValue>,
    reference: Option<&'a RawValue>,
    token: Option<&'a RawValue>,
    chatroom_id: Option<&'a RawValue>,
    chat_id: Option<&'a RawValue>,
    client_id: Option<&'a RawValue>,
    content: Option<&'a RawValue>,
    delivered_seq: Option<&'a RawValue>,
    read_seq: Option<&'a RawValue>,
    typing: Option<&'a RawValue>,
    chatrooms: Option<&'a RawValue>,
    epoch: Option<&'a RawValue>,
}

impl<'a> Keys<'a> {
    fn body(&self, kind: Type) -> Result<Body, Cow<'static, str>> {
        Ok(match kind {
            Type::Auth => Body::Auth { token: needed("token", self.token)? },
            Type::Send => Body::Send {
                chatroom_id: needed("chatroom_id", self.chatroom_id)?,
                client_id: needed("client_id", self.client_id)?,
                content: needed("content", self.content)?,
            },
            Type::Edit => {
                Body::Edit { chat_id: needed("chat_id", self.chat_id)?, content: needed("content", self.content)? }
            }
            Type::Delete => Body::Delete { chat_id: needed("chat_id", self.chat_id)? },
            Type::Receipt => Body::Receipt {
                chatroom_id: needed("chatroom_id", self.chatroom_id)?,
                delivered_seq: optional("delivered_seq", self.delivered_seq)?,
                read_seq: optional("read_seq", self.read_seq)?,
            },
            Type::Typing => Body::Typing {
                chatroom_id: needed("chatroom_id", self.chatroom_id)?,
                typing: needed("typing", self.typing)?,
            },
            Type::Resume => Body::Resume {
                chatrooms: needed::<Cursors>("chatrooms", self.chatrooms)?.0,
                epoch: optional("epoch", self.epoch)?,
            },
            Type::Ping => Body::Ping,
        })
    }

    fn reference(&self) -> Result<Option<Ref>, Unreadable> {
        let Some(raw) = self.reference.filter(|raw| raw.get() != "null") else { return Ok(None) };
        Ref::parse(raw.get()).map(Some).ok_or(Unreadable {
            reference: None,
            foreign: false,
            detail: "ref must be an integer or a text of 1 to 64 characters.".into(),
        })
    }

    fn slot(&mut self, key: &str) -> Option<&mut Option<&'a RawValue>> {
        Some(match key {
            "type" => &mut self.kind,
            "ref" => &mut self.reference,
            "token" => &mut self.token,
            "chatroom_id" => &mut self.chatroom_id,
            "chat_id" => &mut self.chat_id,
            "client_id" => &mut self.client_id,
            "content" => &mut self.content,
            "delivered_seq" => &mut self.delivered_seq,
            "read_seq" => &mut self.read_seq,
            "typing" => &mut self.typing,
            "chatrooms" => &mut self.chatrooms,
            "epoch" => &mut self.epoch,
            _ => return None,
        })
    }
}

impl<'de> Deserialize<'de> for Keys<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OfKeys;

        impl<'de> Visitor<'de> for OfKeys {
            type Value = Keys<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object with a \"type\"")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Keys<'de>, A::Error> {
                let mut keys = Keys::default();
                while let Some(Text(key)) = map.next_key()? {
                    let value: &RawValue = map.next_value()?;
                    if let Some(slot) = keys.slot(&key) {
                        *slot = Some(value);
                    }
                }
                Ok(keys)
            }
        }

        deserializer.deserialize_map(OfKeys)
    }
}

fn needed<T: DeserializeOwned>(name: &'static str, raw: Option<&RawValue>) -> Result<T, Cow<'static, str>> {
    let raw = raw.ok_or_else(|| format!("{name} is missing."))?;
    serde_json::from_str(raw.get()).map_err(|_| refused(name))
}

fn optional<T: DeserializeOwned>(name: &'static str, raw: Option<&RawValue>) -> Result<Option<T>, Cow<'static, str>> {
    raw.map_or(Ok(None), |raw| serde_json::from_str(raw.get()).map_err(|_| refused(name)))
}

fn refused(name: &'static str) -> Cow<'static, str> {
    let what = match name {
        "chatrooms" => "an object of at most 500 chatroom ids with the version of each",
        "typing" => "true or false",
        "token" | "client_id" | "content" | "epoch" => "a text",
        _ => "a whole number",
    };
    format!("{name} must be {what}.").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> Unreadable {
        ClientFrame::parse(text.as_bytes()).err().unwrap_or_else(|| panic!("read: {text}"))
    }

    #[test]
    fn the_last_of_a_repeated_key_counts_and_unknown_keys_are_passed_over() {
        let text = r#"{"x":[{}],"ref":1,"ref":"b","type":"ping","type":"delete","chat_id":"no","chat_id":9}"#;
        let frame = ClientFrame::parse(text.as_bytes()).ok().unwrap();
        assert_eq!(frame.reference, Some(Ref::Text("b".into())));
        assert!(matches!(frame.body, Body::Delete { chat_id } if chat_id.get() == 9));
    }

    #[test]
    fn a_refusal_repeats_the_ref_and_names_the_key() {
        let missing = refusal(r#"{"type":"send","ref":7,"chatroom_id":1,"content":"a"}"#);
        assert_eq!((missing.reference, missing.foreign), (Some(Ref::Number(7)), false));
        assert_eq!(missing.detail, "client_id is missing.");
        assert_eq!(refusal(r#"{"type":"typing","chatroom_id":1,"typing":1}"#).detail, "typing must be true or false.");
        assert!(
            refusal(r#"{"type":"send","chatroom_id":1,"client_id":"a","content":"\ud800"}"#)
                .detail
                .starts_with("content")
        );
        assert!(!refusal(r#"{"type":"dance"}"#).foreign);
    }

    #[test]
    fn what_is_no_frame_is_foreign_and_never_a_panic() {
        let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
        for bad in ["", "x", "[]", "1", "{}", r#"{"type":1}"#, r#"{"type":null}"#, r#"{"type":"ping""#, &deep] {
            assert!(refusal(bad).foreign, "{bad}");
        }
        assert!(ClientFrame::parse(format!(r#"{{"type":"ping","x":{deep}}}"#).as_bytes()).is_ok());
    }

    #[test]
    fn c7_a_frame_that_cannot_be_read_is_refused_with_its_ref() {
        let send = |rest: &str| format!(r#"{{"type":"send","ref":"r7","chatroom_id":1,"client_id":"a",{rest}}}"#);
        for bad in [
            send(r#""content":"\ud800""#),
            send(r#""content":"\udc00x""#),
            send(r#""content":["a"]"#),
            send(r#""content":"\x""#),
            send(r#""content":tru"#),
            send(r#""\ud800":1,"content":"a""#),
            send("\"content\":\"a line\nbreak\""),
            send(r#""content":"a","#),
            send(r#""content":"the end is missing"#),
            r#"{"type":"\ud800","ref":"r7"}"#.to_owned(),
            r#"{"type":5,"ref":"r7"}"#.to_owned(),
            r#"{"typ":"send","ref":"r7"}"#.to_owned(),
            r#"{"type":"dance","ref":"r7"}"#.to_owned(),
            r#"{"content":"\ud800","x":tru,"type":"send","ref":"r7"}"#.to_owned(),
        ] {
            assert_eq!(refusal(&bad).reference, Some(Ref::Text("r7".into())), "{bad}");
        }
    }

    #[test]
    fn a_ref_is_a_number_or_a_short_text() {
        for bad in ["1.5", "true", "[]", "\"\"", &format!("\"{}\"", "x".repeat(65)), "99999999999999999999"] {
            assert!(!refusal(&format!(r#"{{"type":"ping","ref":{bad}}}"#)).foreign, "{bad}");
        }
        assert!(ClientFrame::parse(br#"{"type":"ping","ref":null}"#).is_ok_and(|f| f.reference.is_none()));
    }

    #[test]
    fn a_resume_names_at_most_500_rooms() {
        let resume = |rooms: usize| {
            let rooms: Vec<String> = (1..=rooms).map(|id| format!("\"{id}\":1")).collect();
            ClientFrame::parse(format!(r#"{{"type":"resume","chatrooms":{{{}}}}}"#, rooms.join(",")).as_bytes())
        };
        assert!(resume(500).is_ok());
        assert!(resume(501).is_err());
        assert!(ClientFrame::parse(br#"{"type":"resume","chatrooms":{"x":1}}"#).is_err());
        assert!(ClientFrame::parse(br#"{"type":"resume","chatrooms":{"1":-1}}"#).is_err());
    }

    #[test]
    fn every_type_is_found_by_its_name() {
        for kind in Type::ALL {
            assert_eq!(Type::parse(kind.as_str()), Some(*kind));
        }
    }
}
