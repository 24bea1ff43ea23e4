//! How a told thing travels: format, who told it, a number, a signature, and JSON.
//!
//! `HC`, one byte of format, 8 bytes of origin, 8 of number, 32 of HMAC-SHA256 over all the rest; then a JSON value. A
//! frame's text follows its value as it is.

use std::borrow::Cow;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use sha2::digest::InvalidLength;

use super::{Changes, ClusterMessage, Durability};
use crate::domain::chat::{ChangeKind, Chat};
use crate::domain::clock::Micros;
use crate::domain::{ChatId, ChatroomId, ChatterId, Seq, Version};

/// The longest message that is sent or opened.
pub(super) const MESSAGE_BYTES_MAX: usize = 1024 * 1024;

/// The format that this version writes and reads; it stands in the names of the channels as well.
pub(super) const FORMAT: u8 = 1;

const MAGIC: [u8; 2] = *b"HC";
/// Magic, format, origin, number.
const SIGNED_HEAD: usize = 2 + 1 + 8 + 8;
const MAC: usize = 32;
const HEAD: usize = SIGNED_HEAD + MAC;

/// Seals what this instance tells and opens what others told.
pub(super) struct Envelope {
    key: Hmac<Sha256>,
    origin: u64,
    next: AtomicU64,
}

/// Who told something, and which of all that they told it is: the same for each copy, never for two things.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    pub origin: u64,
    pub number: u64,
}

/// Why a message is not opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bad {
    Forged,
    UnknownFormat,
    Garbled,
}

impl Envelope {
    /// `purpose` parts services that share a secret: one does not open what the other sealed.
    pub fn new(secret: &[u8], purpose: &str) -> Result<Self, InvalidLength> {
        let derive = Hmac::<Sha256>::new_from_slice(secret)?.chain_update(b"hyper-chat relay\0").chain_update(purpose);
        let key = Hmac::new_from_slice(&derive.finalize().into_bytes())?;
        Ok(Self { key, origin: rand::random(), next: AtomicU64::new(0) })
    }

    /// The message to send.
    pub fn seal(&self, message: &ClusterMessage) -> Vec<u8> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let mut sealed = Vec::with_capacity(512);
        sealed.extend_from_slice(&MAGIC);
        sealed.push(FORMAT);
        sealed.extend_from_slice(&self.origin.to_be_bytes());
        sealed.extend_from_slice(&number.to_be_bytes());
        sealed.extend_from_slice(&[0; MAC]);
        // Numbers and texts always become JSON; what did not would be dropped by who opens it.
        if serde_json::to_writer(&mut sealed, &Payload::of(message)).is_err() {
            sealed.truncate(HEAD);
        }
        if let ClusterMessage::Frame { text, .. } = message {
            sealed.extend_from_slice(text);
        }
        let mac = self.mac(&sealed).finalize().into_bytes();
        sealed[SIGNED_HEAD..HEAD].copy_from_slice(&mac);
        sealed
    }

    /// Who told it, by its own account: not checked yet.
    pub fn mark(message: &[u8]) -> Result<Mark, Bad> {
        let rest = message.strip_prefix(&MAGIC).ok_or(Bad::Garbled)?;
        match rest.split_first() {
            Some((&FORMAT, rest)) if message.len() >= HEAD && message.len() <= MESSAGE_BYTES_MAX => {
                let (origin, rest) = number(rest)?;
                Ok(Mark { origin, number: number(rest)?.0 })
            }
            Some((&format, _)) if format != FORMAT => Err(Bad::UnknownFormat),
            _ => Err(Bad::Garbled),
        }
    }

    /// Whether this instance told it.
    pub fn is_own(&self, mark: Mark) -> bool {
        mark.origin == self.origin
    }

    /// What was told, if it was signed with our key; after `mark`.
    pub fn open(&self, message: &Bytes) -> Result<ClusterMessage, Bad> {
        let signature = message.get(SIGNED_HEAD..HEAD).ok_or(Bad::Garbled)?;
        self.mac(message).verify_slice(signature).map_err(|_| Bad::Forged)?;
        let body = message.slice(HEAD..);
        let mut values = serde_json::Deserializer::from_slice(&body).into_iter::<Payload<'_>>();
        let Some(Ok(payload)) = values.next() else { return Err(Bad::Garbled) };
        let text = body.slice(values.byte_offset()..);
        Ok(payload.into_message(text))
    }

    /// Over all but the place of the signature; the message is as long as a head at least.
    fn mac(&self, message: &[u8]) -> Hmac<Sha256> {
        self.key.clone().chain_update(&message[..SIGNED_HEAD]).chain_update(&message[HEAD..])
    }
}

fn number(bytes: &[u8]) -> Result<(u64, &[u8]), Bad> {
    let (head, rest) = bytes.split_first_chunk::<8>().ok_or(Bad::Garbled)?;
    Ok((u64::from_be_bytes(*head), rest))
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Payload<'a> {
    Changes {
        chatroom_id: ChatroomId,
        owner_id: ChatterId,
        opponent_id: ChatterId,
        from: Version,
        to: Version,
        #[serde(borrow)]
        changes: Vec<Change<'a>>,
    },
    Frame {
        chatter_id: ChatterId,
        durability: Durability,
    },
    RoomMade {
        chatroom_id: ChatroomId,
        chatters: [ChatterId; 2],
    },
    AccessEnded {
        chatter_id: ChatterId,
    },
    RoomGone {
        chatroom_id: ChatroomId,
        chatters: [ChatterId; 2],
    },
    Missed {
        within_s: u64,
    },
}

/// A chat and what happened to it; times in microseconds.
#[derive(Serialize, Deserialize)]
struct Change<'a> {
    kind: Kind,
    id: ChatId,
    seq: Seq,
    version: Version,
    sender_id: ChatterId,
    receiver_id: ChatterId,
    #[serde(borrow)]
    content: Cow<'a, str>,
    #[serde(borrow)]
    client_id: Option<Cow<'a, str>>,
    create_time: i64,
    edit_time: Option<i64>,
    delete_time: Option<i64>,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Created,
    Edited,
    Deleted,
}

impl<'a> Payload<'a> {
    fn of(message: &'a ClusterMessage) -> Self {
        match *message {
            ClusterMessage::Changes(ref message) => Self::Changes {
                chatroom_id: message.chatroom_id,
                owner_id: message.owner_id,
                opponent_id: message.opponent_id,
                from: message.from,
                to: message.to,
                changes: message.changes.iter().map(|(kind, chat)| Change::of(*kind, chat)).collect(),
            },
            ClusterMessage::Frame { chatter_id, durability, .. } => Self::Frame { chatter_id, durability },
            ClusterMessage::RoomMade { chatroom_id, chatters } => Self::RoomMade { chatroom_id, chatters },
            ClusterMessage::AccessEnded { chatter_id } => Self::AccessEnded { chatter_id },
            ClusterMessage::RoomGone { chatroom_id, chatters } => Self::RoomGone { chatroom_id, chatters },
            ClusterMessage::Missed { within_s } => Self::Missed { within_s },
        }
    }

    fn into_message(self, text: Bytes) -> ClusterMessage {
        match self {
            Self::Changes { chatroom_id, owner_id, opponent_id, from, to, changes } => {
                let changes = changes.into_iter().map(|change| change.made_in(chatroom_id)).collect();
                ClusterMessage::Changes(Changes { chatroom_id, owner_id, opponent_id, from, to, changes })
            }
            Self::Frame { chatter_id, durability } => ClusterMessage::Frame { chatter_id, text, durability },
            Self::RoomMade { chatroom_id, chatters } => ClusterMessage::RoomMade { chatroom_id, chatters },
            Self::AccessEnded { chatter_id } => ClusterMessage::AccessEnded { chatter_id },
            Self::RoomGone { chatroom_id, chatters } => ClusterMessage::RoomGone { chatroom_id, chatters },
            Self::Missed { within_s } => ClusterMessage::Missed { within_s },
        }
    }
}

impl<'a> Change<'a> {
    fn of(kind: ChangeKind, chat: &'a Chat) -> Self {
        Self {
            kind: match kind {
                ChangeKind::Created => Kind::Created,
                ChangeKind::Edited => Kind::Edited,
                ChangeKind::Deleted => Kind::Deleted,
            },
            id: chat.id,
            seq: chat.seq,
            version: chat.version,
            sender_id: chat.sender_id,
            receiver_id: chat.receiver_id,
            content: Cow::Borrowed(&chat.content),
            client_id: chat.client_id.as_deref().map(Cow::Borrowed),
            create_time: chat.create_time.0,
            edit_time: chat.edit_time.map(|time| time.0),
            delete_time: chat.delete_time.map(|time| time.0),
        }
    }

    fn made_in(self, chatroom_id: ChatroomId) -> (ChangeKind, Chat) {
        let kind = match self.kind {
            Kind::Created => ChangeKind::Created,
            Kind::Edited => ChangeKind::Edited,
            Kind::Deleted => ChangeKind::Deleted,
        };
        let chat = Chat {
            id: self.id,
            chatroom_id,
            seq: self.seq,
            version: self.version,
            sender_id: self.sender_id,
            receiver_id: self.receiver_id,
            content: self.content.into_owned(),
            client_id: self.client_id.map(Cow::into_owned),
            create_time: Micros(self.create_time),
            edit_time: self.edit_time.map(Micros),
            delete_time: self.delete_time.map(Micros),
        };
        (kind, chat)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn envelope() -> Envelope {
        Envelope::new(b"a secret of the tests", "here").expect("any bytes are a key")
    }

    fn open(envelope: &Envelope, message: &[u8]) -> Result<ClusterMessage, Bad> {
        Envelope::mark(message)?;
        envelope.open(&Bytes::copy_from_slice(message))
    }

    #[test]
    fn each_message_has_a_mark_of_its_own_and_ones_own_are_known() {
        let (one, other) = (envelope(), envelope());
        let message = ClusterMessage::AccessEnded { chatter_id: 1.into() };
        let marks = [one.seal(&message), one.seal(&message)].map(|message| Envelope::mark(&message).expect("ours"));
        assert_ne!(marks[0], marks[1]);
        assert!(one.is_own(marks[0]) && !other.is_own(marks[0]));
    }

    #[test]
    fn another_secret_or_purpose_opens_nothing() {
        let sealed = envelope().seal(&ClusterMessage::AccessEnded { chatter_id: 1.into() });
        for (secret, purpose) in [(&b"another"[..], "here"), (b"a secret of the tests", "there")] {
            let other = Envelope::new(secret, purpose).expect("any bytes are a key");
            assert_eq!(open(&other, &sealed), Err(Bad::Forged));
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_refused_and_no_bit_may_change(
            bytes in proptest::collection::vec(any::<u8>(), 0..200), at in 0_usize.., bit in 0_u8..8,
        ) {
            let envelope = envelope();
            prop_assert!(open(&envelope, &bytes).is_err());
            let ours = [&MAGIC[..], &[FORMAT], &bytes].concat();
            prop_assert!(matches!(open(&envelope, &ours), Err(Bad::Garbled | Bad::Forged)));
            let message = ClusterMessage::Frame { chatter_id: 1.into(), text: Bytes::from(bytes), durability: Durability::Ephemeral };
            let mut sealed = envelope.seal(&message);
            prop_assert_eq!(open(&envelope, &sealed), Ok(message));
            let at = at % sealed.len();
            sealed[at] ^= 1 << bit;
            prop_assert!(open(&envelope, &sealed).is_err());
            prop_assert!(open(&envelope, &sealed[..at]).is_err());
        }
    }
}
