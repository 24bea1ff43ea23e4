//! The cursors that a `resume` names.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, Visitor};

use super::client::RESUME_ROOMS_MAX;
use crate::domain::{ChatroomId, Version};

/// `{"7": 41}`: cursors by chatroom, at most [`RESUME_ROOMS_MAX`].
pub(super) struct Cursors(pub(super) Vec<(ChatroomId, Version)>);

impl<'de> Deserialize<'de> for Cursors {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OfCursors;

        impl<'de> Visitor<'de> for OfCursors {
            type Value = Cursors;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of chatroom ids and versions")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Cursors, A::Error> {
                let mut cursors = std::collections::BTreeMap::new();
                while let Some(key) = map.next_key::<Cow<'_, str>>()? {
                    let id: ChatroomId = key.parse().map_err(de::Error::custom)?;
                    let version: Version = map.next_value()?;
                    cursors.insert(id, version);
                    if version < Version::ZERO || cursors.len() > RESUME_ROOMS_MAX {
                        return Err(de::Error::custom("out of bounds"));
                    }
                }
                Ok(Cursors(cursors.into_iter().collect()))
            }
        }

        deserializer.deserialize_map(OfCursors)
    }
}
