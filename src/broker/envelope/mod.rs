//! The encoding of a message between instances: format, origin, number, signature, JSON.
//!
//! `HC`, one byte of format, 8 bytes of origin, 8 of number (4 of time in seconds, 4 that count), 32 of HMAC-SHA256 over all the rest; then a JSON value.
//! The text of a frame follows its value as it is.

mod payload;
pub(super) mod replay;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use sha2::digest::InvalidLength;

use self::payload::Payload;
use super::ClusterMessage;
use crate::store::epoch::Epochs;

/// The longest message that is sealed or opened.
pub(super) const MESSAGE_BYTES_MAX: usize = 1024 * 1024;

/// The format that this version writes and reads; the names of the channels contain it as well.
pub(super) const FORMAT: u8 = 1;

const MAGIC: [u8; 2] = *b"HC";
/// Magic, format, origin, number.
const SIGNED_HEAD: usize = 2 + 1 + 8 + 8;
const MAC: usize = 32;
const HEAD: usize = SIGNED_HEAD + MAC;

/// Seals the messages of this instance and opens those of others.
pub(super) struct Envelope {
    /// Signs, and verifies.
    key: Hmac<Sha256>,
    /// These only verify, while the secret is being replaced.
    old_keys: Vec<Hmac<Sha256>>,
    origin: u64,
    next: AtomicU32,
    epochs: Arc<Epochs>,
}

/// Which instance sealed a message, and which of its messages this is: the same for each copy, never for two messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct MessageId {
    pub origin: u64,
    pub number: u64,
}

impl MessageId {
    /// The part of the number that counts the messages of its instance.
    fn counter(self) -> u32 {
        self.number as u32
    }

    /// Whether the message was sealed long ago, or in the future. Releases before 0.2 wrote no time.
    fn is_stale(self, now_s: u64) -> bool {
        let sealed_s = self.number >> 32;
        sealed_s != 0 && sealed_s.abs_diff(now_s) > replay::AGE_MAX.as_secs()
    }
}

/// Seconds since 1970, by this instance's clock.
fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Why a message is rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rejected {
    /// Not signed with our key, or addressed to another chatter.
    Forged,
    /// Sealed more than 30 s ago, or more than 30 s in the future: a replay, or the clocks of two instances differ.
    Stale,
    /// Written by another version.
    UnknownFormat,
    /// Not a message of ours, too long, or not readable.
    Garbled,
    /// About the rows of another epoch of the database, which this instance or the sender has not noticed yet.
    OtherEpoch,
}

impl Envelope {
    /// Signs with the first secret and verifies with each. `purpose` separates services that share a secret: one cannot
    /// open the messages of the other.
    pub(crate) fn new(secrets: &[&[u8]], purpose: &str, epochs: Arc<Epochs>) -> Result<Self, InvalidLength> {
        let derived = |secret: &&[u8]| {
            let derive =
                Hmac::<Sha256>::new_from_slice(secret)?.chain_update(b"hyper-chat relay\0").chain_update(purpose);
            Hmac::new_from_slice(&derive.finalize().into_bytes())
        };
        let mut keys = secrets.iter().map(derived);
        let key = keys.next().unwrap_or(Err(InvalidLength))?;
        let old_keys = keys.collect::<Result<_, _>>()?;
        Ok(Self { key, old_keys, origin: rand::random(), next: AtomicU32::new(0), epochs })
    }

    /// The bytes to publish.
    pub(crate) fn seal(&self, message: &ClusterMessage) -> Vec<u8> {
        let number = (now_s() << 32) | u64::from(self.next.fetch_add(1, Ordering::Relaxed));
        let mut sealed = Vec::with_capacity(512);
        sealed.extend_from_slice(&MAGIC);
        sealed.push(FORMAT);
        sealed.extend_from_slice(&self.origin.to_be_bytes());
        sealed.extend_from_slice(&number.to_be_bytes());
        sealed.extend_from_slice(&[0; MAC]);
        let epoch = self.epochs.name();
        let epoch = (!epoch.is_empty()).then_some(&*epoch);
        // Numbers and texts always encode. A message that did not would be rejected by its receivers.
        if serde_json::to_writer(&mut sealed, &Payload::of(message, epoch)).is_err() {
            sealed.truncate(HEAD);
        }
        if let ClusterMessage::Frame { text, .. } = message {
            sealed.extend_from_slice(text);
        }
        let mac = mac(&self.key, &sealed).finalize().into_bytes();
        sealed[SIGNED_HEAD..HEAD].copy_from_slice(&mac);
        sealed
    }

    /// The message's id by its own account; the signature is not checked yet.
    pub(crate) fn message_id(message: &[u8]) -> Result<MessageId, Rejected> {
        let rest = message.strip_prefix(&MAGIC).ok_or(Rejected::Garbled)?;
        match rest.split_first() {
            Some((&FORMAT, rest)) if message.len() >= HEAD && message.len() <= MESSAGE_BYTES_MAX => {
                let (origin, rest) = number(rest)?;
                Ok(MessageId { origin, number: number(rest)?.0 })
            }
            Some((&format, _)) if format != FORMAT => Err(Rejected::UnknownFormat),
            _ => Err(Rejected::Garbled),
        }
    }

    /// Whether this instance sealed the message.
    pub(crate) fn is_own(&self, id: MessageId) -> bool {
        id.origin == self.origin
    }

    /// The message, if it was signed with one of our keys. Called after [`Envelope::message_id`], which checks the form.
    pub(crate) fn open(&self, message: &Bytes) -> Result<ClusterMessage, Rejected> {
        let signature = message.get(SIGNED_HEAD..HEAD).ok_or(Rejected::Garbled)?;
        let mut keys = std::iter::once(&self.key).chain(&self.old_keys);
        if !keys.any(|key| mac(key, message).verify_slice(signature).is_ok()) {
            return Err(Rejected::Forged);
        }
        if Self::message_id(message)?.is_stale(now_s()) {
            return Err(Rejected::Stale);
        }
        let body = message.slice(HEAD..);
        let mut values = serde_json::Deserializer::from_slice(&body).into_iter::<Payload<'_>>();
        let Some(Ok(payload)) = values.next() else { return Err(Rejected::Garbled) };
        if payload.epoch().is_some_and(|epoch| *epoch != *self.epochs.name()) {
            return Err(Rejected::OtherEpoch);
        }
        let text = body.slice(values.byte_offset()..);
        Ok(payload.into_message(text))
    }
}

/// Over all bytes but those of the signature; the message has at least the length of a head.
fn mac(key: &Hmac<Sha256>, message: &[u8]) -> Hmac<Sha256> {
    key.clone().chain_update(&message[..SIGNED_HEAD]).chain_update(&message[HEAD..])
}

fn number(bytes: &[u8]) -> Result<(u64, &[u8]), Rejected> {
    let (head, rest) = bytes.split_first_chunk::<8>().ok_or(Rejected::Garbled)?;
    Ok((u64::from_be_bytes(*head), rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::broker::Durability;
    use crate::domain::ChatterId;

    fn envelope() -> Envelope {
        Envelope::new(&[b"a secret of the tests"], "here", Arc::default()).expect("any bytes are a key")
    }

    fn open(envelope: &Envelope, message: &[u8]) -> Result<ClusterMessage, Rejected> {
        Envelope::message_id(message)?;
        envelope.open(&Bytes::copy_from_slice(message))
    }

    #[test]
    fn each_message_has_an_id_of_its_own_and_an_instance_recognises_its_messages() {
        let (one, other) = (envelope(), envelope());
        let message = ClusterMessage::AccessEnded { chatter_id: 1.into() };
        let ids = [one.seal(&message), one.seal(&message)].map(|message| Envelope::message_id(&message).expect("ours"));
        assert_ne!(ids[0], ids[1]);
        assert!(one.is_own(ids[0]) && !other.is_own(ids[0]));
    }

    #[test]
    fn a_message_sealed_with_another_secret_or_purpose_is_forged() {
        let sealed = envelope().seal(&ClusterMessage::AccessEnded { chatter_id: 1.into() });
        for (secret, purpose) in [(&b"another"[..], "here"), (b"a secret of the tests", "there")] {
            let other = Envelope::new(&[secret], purpose, Arc::default()).expect("any bytes are a key");
            assert_eq!(open(&other, &sealed), Err(Rejected::Forged));
        }
    }

    #[test]
    fn b12_a_message_is_stale_half_a_minute_before_and_after_it_was_sealed() {
        let id = |sealed_s: u64| MessageId { origin: 1, number: (sealed_s << 32) | 7 };
        assert!(!id(1_000).is_stale(1_030) && !id(1_030).is_stale(1_000) && !id(0).is_stale(1_000));
        assert!(id(1_000).is_stale(1_031) && id(1_031).is_stale(1_000));
        let envelope = envelope();
        let sealed = envelope.seal(&ClusterMessage::AccessEnded { chatter_id: 1.into() });
        assert!(now_s() - (Envelope::message_id(&sealed).expect("ours").number >> 32) <= 1);
    }

    #[test]
    fn a_message_sealed_with_an_old_secret_is_opened_while_that_one_is_listed() {
        let sealed = envelope().seal(&ClusterMessage::AccessEnded { chatter_id: 1.into() });
        let replaced =
            Envelope::new(&[b"the next secret", b"a secret of the tests"], "here", Arc::default()).expect("keys");
        assert!(open(&replaced, &sealed).is_ok());
        let answer = replaced.seal(&ClusterMessage::AccessEnded { chatter_id: 1.into() });
        assert_eq!(open(&envelope(), &answer), Err(Rejected::Forged), "it signs with the next one");
    }

    #[test]
    fn the_json_keeps_the_names_that_other_releases_read() {
        let frame =
            |durability| ClusterMessage::Frame { chatter_id: 7.into(), text: Bytes::from_static(b"{}"), durability };
        let chatters = [7, 8].map(ChatterId::new);
        for (message, json) in [
            (frame(Durability::Ephemeral), r#"{"frame":{"chatter_id":7,"about":"passing"}}{}"#),
            (frame(Durability::Durable), r#"{"frame":{"chatter_id":7,"about":"lasting"}}{}"#),
            (
                ClusterMessage::RoomCreated { chatroom_id: 9.into(), chatters },
                r#"{"room_made":{"chatroom_id":9,"chatters":[7,8]}}"#,
            ),
            (
                ClusterMessage::RoomDeleted { chatroom_id: 9.into(), chatters },
                r#"{"room_gone":{"chatroom_id":9,"chatters":[7,8]}}"#,
            ),
            (ClusterMessage::AccessEnded { chatter_id: 7.into() }, r#"{"access_ended":{"chatter_id":7}}"#),
            (ClusterMessage::RepeatRequest { within_s: 13 }, r#"{"missed":{"within_s":13}}"#),
        ] {
            let sealed = envelope().seal(&message);
            assert_eq!(std::str::from_utf8(&sealed[HEAD..]), Ok(json));
        }
    }

    #[test]
    fn b4_a_message_about_the_rows_of_another_epoch_is_refused() {
        let of = |name: &str| {
            Envelope::new(&[b"a secret of the tests"], "here", Epochs::example(name)).expect("any bytes are a key")
        };
        let created = ClusterMessage::RoomCreated { chatroom_id: 9.into(), chatters: [7, 8].map(ChatterId::new) };
        let sealed = of("one").seal(&created);
        assert_eq!(open(&of("one"), &sealed), Ok(created.clone()));
        assert_eq!(open(&of("other"), &sealed), Err(Rejected::OtherEpoch));
        assert!(open(&of("one"), &envelope().seal(&created)).is_ok(), "an earlier release names no epoch");
        let recheck = ClusterMessage::AccessEnded { chatter_id: 7.into() };
        assert_eq!(open(&of("other"), &of("one").seal(&recheck)), Ok(recheck), "it only has the database read");
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_are_rejected_and_so_is_a_message_with_one_bit_changed(
            bytes in proptest::collection::vec(any::<u8>(), 0..200), at in 0_usize.., bit in 0_u8..8,
        ) {
            let envelope = envelope();
            prop_assert!(open(&envelope, &bytes).is_err());
            let ours = [&MAGIC[..], &[FORMAT], &bytes].concat();
            prop_assert!(matches!(open(&envelope, &ours), Err(Rejected::Garbled | Rejected::Forged)));
            let text = Bytes::from(bytes);
            let message = ClusterMessage::Frame { chatter_id: 1.into(), text, durability: Durability::Ephemeral };
            let mut sealed = envelope.seal(&message);
            prop_assert_eq!(open(&envelope, &sealed), Ok(message));
            let at = at % sealed.len();
            sealed[at] ^= 1 << bit;
            prop_assert!(open(&envelope, &sealed).is_err());
            prop_assert!(open(&envelope, &sealed[..at]).is_err());
        }
    }
}
