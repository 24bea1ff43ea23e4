//! One message in a room: what its content and its `client_id` may be.

use std::borrow::Cow;
use std::fmt;

use sha2::{Digest, Sha256};
use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfc_quick};

use super::clock::Micros;
use super::unicode::is_blank;
use super::{Broken, ChatId, ChatroomId, ChatterId, Seq, Version};

/// The most characters a chat may have, counted after NFC.
pub const CONTENT_CHARS_MAX: usize = 8_000;

/// A stored chat; a tombstone once `delete_time` is set. Its `Debug` leaves the content out.
#[derive(Clone, PartialEq, Eq)]
pub struct Chat {
    /// Unique over all rooms.
    pub id: ChatId,
    /// The room in which it was sent.
    pub chatroom_id: ChatroomId,
    /// The place in the room: 1, 2, 3 …; edits and deletion leave it.
    pub seq: Seq,
    /// The room's version at the last change of this chat.
    pub version: Version,
    /// The only chatter who may edit or delete it.
    pub sender_id: ChatterId,
    /// The other one of the two; the sender itself in notes to self.
    pub receiver_id: ChatterId,
    /// Empty in a tombstone.
    pub content: String,
    /// The sender's own name for it; none if it was sent without one.
    pub client_id: Option<String>,
    /// When it was stored, by the database's clock.
    pub create_time: Micros,
    /// When it was last edited; none if it never was.
    pub edit_time: Option<Micros>,
    /// When it became a tombstone; none until then.
    pub delete_time: Option<Micros>,
}

/// What a change did to a chat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// The chat was stored: it has the room's next `seq` and next `version`.
    Created,
    /// The content is new; the chat has the room's next `version` and keeps its `seq`.
    Edited,
    /// The chat is a tombstone; it has the room's next `version` and keeps its `seq`.
    Deleted,
}

impl fmt::Debug for Chat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, chatroom_id, seq, version, .. } = self;
        write!(f, "Chat {{ id: {id}, chatroom_id: {chatroom_id}, seq: {seq}, version: {version}, .. }}")
    }
}

/// The text of a chat: 1 to 8,000 characters, at least one of them visible, no NUL; stored as sent.
#[derive(Clone, PartialEq, Eq)]
pub struct Content(String);

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Content({} bytes)", self.0.len())
    }
}

impl Content {
    /// Checks the rules.
    ///
    /// ```
    /// use hyper_chat::domain::chat::Content;
    ///
    /// assert!(Content::parse("Hello".to_owned()).is_ok());
    /// assert!(Content::parse(" \n".to_owned()).is_err(), "at least one character must be visible");
    /// assert!(Content::parse("x".repeat(8_001)).is_err());
    /// ```
    pub fn parse(text: String) -> Result<Self, Broken> {
        if text.contains('\0') {
            return Err(Broken::new("content", "must not have a NUL character"));
        }
        if is_blank(&text) {
            return Err(Broken::new("content", "must have at least one character that can be seen"));
        }
        // NFC never lengthens a text beyond three times its characters, so short texts need no count.
        if text.len() > CONTENT_CHARS_MAX && nfc(&text).chars().count() > CONTENT_CHARS_MAX {
            return Err(Broken::new("content", "must have at most 8000 characters"));
        }
        Ok(Self(text))
    }

    /// As sent.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// As sent.
    #[must_use]
    pub fn into_string(self) -> String {
        self.0
    }
}

fn nfc(text: &str) -> Cow<'_, str> {
    match is_nfc_quick(text.chars()) {
        IsNormalized::Yes => Cow::Borrowed(text),
        _ => Cow::Owned(text.nfc().collect()),
    }
}

/// The sender's own name for a chat: 1 to 64 printable ASCII characters, unique per sender for ever.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientId(String);

impl ClientId {
    /// Checks the rules.
    pub fn parse(text: String) -> Result<Self, Broken> {
        if text.is_empty() || text.len() > 64 || !text.bytes().all(|b| (0x20..0x7f).contains(&b)) {
            return Err(Broken::new("client_id", "must be 1 to 64 printable ASCII characters"));
        }
        Ok(Self(text))
    }

    /// As given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What the unique index holds: 16 bytes of SHA-256 over sender and client_id.
    #[must_use]
    pub fn key(&self, sender: ChatterId) -> [u8; 16] {
        let digest = Sha256::new().chain_update(sender.get().to_be_bytes()).chain_update(&self.0).finalize();
        let mut key = [0; 16];
        key.copy_from_slice(&digest[..16]);
        key
    }
}

/// Tells a retry from a second use of a client_id: a hash of room and content as first sent.
#[must_use]
pub fn first_hash(chatroom: ChatroomId, content: &str) -> i64 {
    let digest = Sha256::new().chain_update(chatroom.get().to_be_bytes()).chain_update(content).finalize();
    let mut head = [0; 8];
    head.copy_from_slice(&digest[..8]);
    i64::from_be_bytes(head)
}

#[cfg(test)]
impl Chat {
    /// A chat of chatter 1 to 2 in room 1.
    pub(crate) fn example(seq: Seq, version: Version) -> Self {
        Self {
            id: seq.get().into(),
            chatroom_id: 1.into(),
            seq,
            version,
            sender_id: 1.into(),
            receiver_id: 2.into(),
            content: "x".into(),
            client_id: None,
            create_time: Micros(0),
            edit_time: None,
            delete_time: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(text: &str) -> Result<Content, Broken> {
        Content::parse(text.to_owned())
    }

    #[test]
    fn c1_a_content_needs_one_character_that_can_be_seen() {
        for blank in ["", " \n\t\u{3000}", "\u{200b}", "\u{2060}", "\u{3164}", "\u{2800}", "\u{ad} \u{202e}"] {
            assert!(content(blank).is_err(), "{blank:?}");
        }
        assert!(content("\u{202e}a").is_ok() && content("👨\u{200d}👩").is_ok());
        assert!(content(" a ").is_ok());
        assert!(content("a\0b").is_err());
    }

    #[test]
    fn a_content_is_counted_in_characters_after_nfc() {
        assert!(content(&"가".repeat(8_000)).is_ok());
        assert!(content(&"가".repeat(8_001)).is_err());
        let decomposed = "\u{1100}\u{1161}".repeat(8_000);
        assert_eq!(content(&decomposed).map(Content::into_string), Ok(decomposed), "stored as sent");
    }

    #[test]
    fn a_client_id_is_short_and_printable() {
        assert!(ClientId::parse("a b~".into()).is_ok());
        for bad in [String::new(), "x".repeat(65), "é".into(), "a\n".into()] {
            assert!(ClientId::parse(bad).is_err());
        }
    }
}
