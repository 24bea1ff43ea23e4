//! WebSocket frames (RFC 6455 section 5): encodes those of the server, and assembles messages from those of clients.

use std::time::{Duration, Instant};

use actix_http::ws::{Frame, Item, ProtocolError};
use bytes::{Bytes, BytesMut};
use serde::Serialize;

/// The longest time from the first to the last frame of a fragmented message.
pub const FRAGMENTS_TIME_MAX: Duration = Duration::from_secs(15);

const TEXT: u8 = 0x1;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xA;

/// Why a socket is closed: the code says to the client what to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Close {
    /// A code of RFC 6455, or from 4400 on one of this server's own.
    pub code: u16,
    /// The text of the close frame, for people.
    pub reason: &'static str,
}

macro_rules! closes {
    ($($name:ident = $code:literal, $reason:literal;)*) => {
        impl Close {
            $(#[doc = $reason] pub const $name: Close = Close { code: $code, reason: $reason };)*

            /// All of them, by code.
            pub const ALL: &'static [Close] = &[$(Close::$name,)*];

            /// Its place among all.
            #[must_use]
            pub fn place(self) -> usize {
                Self::ALL.iter().position(|close| *close == self).unwrap_or(Self::ALL.len())
            }
        }
    };
}

closes! {
    GOING_AWAY = 1001, "this instance is shutting down: come back, with jitter";
    PROTOCOL = 1002, "a frame broke RFC 6455";
    UNSUPPORTED = 1003, "binary messages are not understood";
    NOT_UTF8 = 1007, "a text message was not UTF-8";
    UNFINISHED = 1008, "a fragmented message took too long";
    TOO_BIG = 1009, "the message is too big: come back, do not send it again";
    BROKEN = 4400, "this does not speak the protocol: do not retry";
    TOKEN_REFUSED = 4401, "the token was revoked or has expired: come back with a new one";
    ROOM_GONE = 4404, "the room was deleted";
    SILENT = 4408, "nothing was heard for too long";
    REPLACED = 4409, "replaced by newer sockets of the same chatter";
    TOO_FAST = 4429, "too many frames: come back later, and send fewer";
    UNAVAILABLE = 4503, "the database does not answer: come back";
    TOO_SLOW = 4508, "the receiver reads too slowly: come back and resume";
}

/// A text frame with this value as JSON; its type must be one that always encodes.
pub fn text_frame(value: &impl Serialize) -> Bytes {
    frame(TEXT, &serde_json::to_vec(value).unwrap_or_default())
}

/// The text of a frame that [`text_frame`] made.
#[must_use]
pub fn text_of(frame: &Bytes) -> Bytes {
    let header = match frame.get(1) {
        Some(126) => 4,
        Some(127) => 10,
        _ => 2,
    };
    frame.slice(header.min(frame.len())..)
}

/// A text frame of these bytes.
#[must_use]
pub fn raw_text_frame(text: &[u8]) -> Bytes {
    frame(TEXT, text)
}

/// A binary frame of these bytes; the server sends none.
#[must_use]
pub fn raw_binary_frame(bytes: &[u8]) -> Bytes {
    frame(0x2, bytes)
}

/// A ping with a payload of at most 125 bytes.
#[must_use]
pub fn ping_frame(payload: &[u8]) -> Bytes {
    frame(PING, payload)
}

/// The answer to a ping.
#[must_use]
pub fn pong_frame(payload: &[u8]) -> Bytes {
    frame(PONG, payload)
}

/// A close frame; without a code where the peer gave none.
#[must_use]
pub fn close_frame(close: Option<(u16, &str)>) -> Bytes {
    let mut payload = Vec::new();
    if let Some((code, reason)) = close {
        payload.extend_from_slice(&code.to_be_bytes());
        payload.extend_from_slice(reason.as_bytes());
    }
    frame(CLOSE, &payload)
}

fn frame(opcode: u8, payload: &[u8]) -> Bytes {
    let header = match payload.len() {
        0..=125 => 2,
        126..=0xFFFF => 4,
        _ => 10,
    };
    // Of exactly this size: spare capacity would cost one more allocation for as long as the frame lives.
    let mut out = Vec::with_capacity(header + payload.len());
    out.push(0x80 | opcode);
    match payload.len() {
        short @ 0..=125 => out.push(short as u8),
        medium @ 126..=0xFFFF => {
            out.push(126);
            out.extend_from_slice(&(medium as u16).to_be_bytes());
        }
        long => {
            out.push(127);
            out.extend_from_slice(&(long as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(payload);
    out.into()
}

/// A whole message from the client.
#[derive(Debug, PartialEq, Eq)]
pub enum Message {
    /// UTF-8, as the assembler has checked.
    Text(Bytes),
    /// Sessions close the socket at one, with 1003.
    Binary(Bytes),
    /// The payload, which the pong has to repeat.
    Ping(Bytes),
    /// The payload, that of a ping unless the pong is unsolicited.
    Pong(Bytes),
    /// The peer's code, if it gave a permitted one.
    Close(Option<u16>),
}

/// Assembles fragments to messages, within limits of size and time.
pub struct Assembler {
    bytes_max: usize,
    partial: Option<Partial>,
}

struct Partial {
    kind: TextOrBinary,
    data: BytesMut,
    /// The length of the text that is known to be UTF-8.
    checked: usize,
    since: Instant,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum TextOrBinary {
    Text,
    Binary,
}

impl Assembler {
    /// `bytes_max` bounds a whole message, in one frame or many.
    #[must_use]
    pub fn new(bytes_max: usize) -> Self {
        Self { bytes_max, partial: None }
    }

    /// Takes a frame in, and gives the message that it completes.
    pub fn push(&mut self, frame: Frame) -> Result<Option<Message>, Close> {
        match frame {
            Frame::Text(data) => utf8(data).map(|text| Some(Message::Text(text))),
            Frame::Binary(data) => Ok(Some(Message::Binary(data))),
            Frame::Ping(data) => Ok(Some(Message::Ping(data))),
            Frame::Pong(data) => Ok(Some(Message::Pong(data))),
            Frame::Close(reason) => match reason {
                None => Ok(Some(Message::Close(None))),
                Some(reason) => {
                    let code = u16::from(reason.code);
                    if permitted(code) { Ok(Some(Message::Close(Some(code)))) } else { Err(Close::PROTOCOL) }
                }
            },
            Frame::Continuation(item) => self.push_fragment(item),
        }
    }

    /// When the fragmented message that is under way has to be complete.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.partial.as_ref().map(|partial| partial.since + FRAGMENTS_TIME_MAX)
    }

    fn push_fragment(&mut self, item: Item) -> Result<Option<Message>, Close> {
        let (data, last) = match item {
            Item::FirstText(data) => return self.begin(TextOrBinary::Text, &data),
            Item::FirstBinary(data) => return self.begin(TextOrBinary::Binary, &data),
            Item::Continue(data) => (data, false),
            Item::Last(data) => (data, true),
        };
        let Some(partial) = &mut self.partial else { return Err(Close::PROTOCOL) };
        if partial.data.len() + data.len() > self.bytes_max {
            return Err(Close::TOO_BIG);
        }
        partial.data.extend_from_slice(&data);
        if !last {
            return partial.check_so_far().map(|()| None);
        }
        let Some(Partial { kind, data, .. }) = self.partial.take() else { return Err(Close::PROTOCOL) };
        match kind {
            TextOrBinary::Text => utf8(data.freeze()).map(|text| Some(Message::Text(text))),
            TextOrBinary::Binary => Ok(Some(Message::Binary(data.freeze()))),
        }
    }

    fn begin(&mut self, kind: TextOrBinary, data: &[u8]) -> Result<Option<Message>, Close> {
        let mut partial = Partial { kind, data: BytesMut::from(data), checked: 0, since: Instant::now() };
        partial.check_so_far()?;
        self.partial = Some(partial);
        Ok(None)
    }
}

impl Partial {
    /// Refuses text that cannot become UTF-8; the next fragment may complete a character at the end.
    fn check_so_far(&mut self) -> Result<(), Close> {
        if self.kind == TextOrBinary::Binary {
            return Ok(());
        }
        match std::str::from_utf8(&self.data[self.checked..]) {
            Ok(_) => self.checked = self.data.len(),
            Err(e) if e.error_len().is_some() => return Err(Close::NOT_UTF8),
            Err(e) => self.checked += e.valid_up_to(),
        }
        Ok(())
    }
}

/// Checks text without copying it.
fn utf8(data: Bytes) -> Result<Bytes, Close> {
    if std::str::from_utf8(&data).is_ok() { Ok(data) } else { Err(Close::NOT_UTF8) }
}

/// The close codes that may be sent (RFC 6455 section 7.4).
fn permitted(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}

/// The close code for a frame that could not be decoded.
#[must_use]
pub fn close_for(error: &ProtocolError) -> Close {
    match error {
        ProtocolError::Overflow => Close::TOO_BIG,
        _ => Close::PROTOCOL,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(frames: Vec<Frame>) -> Result<Vec<Message>, Close> {
        let mut assembler = Assembler::new(10);
        let mut whole = Vec::new();
        for frame in frames {
            whole.extend(assembler.push(frame)?);
        }
        Ok(whole)
    }

    fn part(item: Item) -> Frame {
        Frame::Continuation(item)
    }

    #[test]
    fn fragments_become_one_message_with_pings_between_them() {
        let text = "한글";
        let (a, b) = text.as_bytes().split_at(2);
        let frames = vec![
            part(Item::FirstText(Bytes::copy_from_slice(a))),
            Frame::Ping(Bytes::from_static(b"p")),
            part(Item::Last(Bytes::copy_from_slice(b))),
        ];
        assert_eq!(all(frames), Ok(vec![Message::Ping(Bytes::from_static(b"p")), Message::Text(Bytes::from(text))]));
    }

    #[test]
    fn fragments_are_bounded_together() {
        let frames = vec![part(Item::FirstBinary(vec![0; 8].into())), part(Item::Continue(vec![0; 3].into()))];
        assert_eq!(all(frames), Err(Close::TOO_BIG));
    }

    #[test]
    fn text_that_is_not_utf8_is_refused_at_once() {
        assert_eq!(all(vec![Frame::Text(vec![0xC0, 0x80].into())]), Err(Close::NOT_UTF8));
        assert_eq!(all(vec![part(Item::FirstText(vec![b'a', 0xFF].into()))]), Err(Close::NOT_UTF8));
    }

    #[test]
    fn headers_are_as_short_as_the_rfc_asks() {
        assert_eq!(&frame(TEXT, b"hi")[..], b"\x81\x02hi");
        assert_eq!(&frame(TEXT, &[b'x'; 126])[..4], b"\x81\x7e\x00\x7e");
        assert_eq!(&frame(TEXT, &vec![b'x'; 65_536])[..10], b"\x81\x7f\x00\x00\x00\x00\x00\x01\x00\x00");
        assert_eq!(&close_frame(None)[..], b"\x88\x00");
        for length in [0, 2, 125, 126, 65_535, 65_536] {
            assert_eq!(text_of(&raw_text_frame(&vec![b'x'; length])).len(), length);
        }
    }
}
