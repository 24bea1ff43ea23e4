//! The transport of a WebSocket: the handshake, and whole messages from the bytes of the request.
//!
//! This is the only file that names `actix_web_actors`, which is deprecated: the handshake comes from there, the codec
//! from `actix_http`, and the session is an ordinary actor (see `out_queue`).

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

use actix_http::ws::Codec;
use actix_web::error::PayloadError;
use actix_web::http::Version;
use actix_web::{HttpRequest, HttpResponse};
use actix_web_actors::ws::{HandshakeError, handshake_with_protocols};
use bytes::{Bytes, BytesMut};
use futures_util::Stream;
use tokio_util::codec::Decoder;

use super::framing::{Assembler, Close, Message, close_for};
use super::out_queue::OutBody;

/// Why the upgrade was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The request is no WebSocket request, or names an unknown version: 426.
    NotWebSocket,
    /// The WebSocket request breaks the rules of the handshake: 400.
    Malformed,
}

/// Answers the upgrade with a response whose body is the socket's out-queue, and the first of these subprotocols that
/// the client offers.
pub fn accept(request: &HttpRequest, protocols: &[&str], body: OutBody) -> Result<HttpResponse, Refused> {
    // 16 bytes in base64 (RFC 6455 section 4.1).
    let key = request.headers().get("sec-websocket-key").map(|key| key.as_bytes().len());
    match handshake_with_protocols(request, protocols) {
        // RFC 6455 section 4.1 asks for HTTP/1.1.
        Ok(_) if request.version() < Version::HTTP_11 => Err(Refused::NotWebSocket),
        Ok(_) if key != Some(24) => Err(Refused::Malformed),
        Ok(mut response) => Ok(response.streaming(body)),
        Err(HandshakeError::BadWebsocketKey) => Err(Refused::Malformed),
        Err(_) => Err(Refused::NotWebSocket),
    }
}

/// The messages of one socket. Ends after the first error, or when the connection ends.
pub struct Incoming<S> {
    bytes: S,
    codec: Codec,
    buffer: BytesMut,
    assembler: Assembler,
    frame_bytes_max: usize,
    ready: VecDeque<Received>,
    over: bool,
}

impl<S: Stream<Item = Result<Bytes, PayloadError>> + Unpin> Incoming<S> {
    /// Reads messages of at most `bytes_max` from the request's payload.
    pub fn new(bytes: S, bytes_max: usize) -> Self {
        Self {
            bytes,
            codec: Codec::new().max_size(bytes_max),
            buffer: BytesMut::new(),
            assembler: Assembler::new(bytes_max),
            frame_bytes_max: bytes_max,
            ready: VecDeque::new(),
            over: false,
        }
    }

    fn take_in(&mut self, chunk: &[u8]) {
        self.buffer.extend_from_slice(chunk);
        let before = self.assembler.deadline();
        if let Err(close) = self.decode() {
            self.over = true;
            self.ready.push_back(Received::Broken(close));
        } else if self.assembler.deadline() != before {
            self.ready.push_back(Received::Unfinished(self.assembler.deadline()));
        }
        if self.buffer.is_empty() && self.buffer.capacity() > 4_096 {
            self.buffer = BytesMut::new();
        }
    }

    /// Takes the whole messages out of the buffer.
    fn decode(&mut self) -> Result<(), Close> {
        loop {
            // The codec would wait for all of a frame before it finds it too long.
            if declared_length(&self.buffer).is_some_and(|length| length > self.frame_bytes_max as u64) {
                return Err(Close::TOO_BIG);
            }
            match self.codec.decode(&mut self.buffer) {
                Ok(Some(frame)) => self.ready.extend(self.assembler.push(frame)?.map(Received::Message)),
                Ok(None) => return Ok(()),
                Err(error) => return Err(close_for(&error)),
            }
        }
    }
}

/// What a socket's peer has sent.
#[derive(Debug, PartialEq, Eq)]
pub enum Received {
    /// A whole message, in one frame or assembled.
    Message(Message),
    /// A fragmented message is under way and has to be complete by this time; none when it is.
    Unfinished(Option<std::time::Instant>),
    /// The peer broke a rule: close with this.
    Broken(Close),
}

impl<S: Stream<Item = Result<Bytes, PayloadError>> + Unpin> Stream for Incoming<S> {
    type Item = Received;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Received>> {
        let this = &mut *self;
        loop {
            if let Some(received) = this.ready.pop_front() {
                return Poll::Ready(Some(received));
            }
            if this.over {
                return Poll::Ready(None);
            }
            match Pin::new(&mut this.bytes).poll_next(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Some(Ok(chunk))) => this.take_in(&chunk),
                Poll::Ready(Some(Err(_)) | None) => this.over = true,
            }
        }
    }
}

/// The payload length that the next frame's header claims, as soon as it can be read (RFC 6455 section 5.2).
fn declared_length(buffer: &[u8]) -> Option<u64> {
    match *buffer.get(1)? & 0x7f {
        126 => Some(u64::from(u16::from_be_bytes(buffer.get(2..4)?.try_into().ok()?))),
        127 => Some(u64::from_be_bytes(buffer.get(2..10)?.try_into().ok()?)),
        short => Some(u64::from(short)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::StreamExt;
    use futures_util::stream;

    fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
        let length = u8::try_from(payload.len()).expect("a short payload");
        let mut frame = if length < 126 { vec![first, 0x80 | length] } else { vec![first, 0xFE, 0, length] };
        frame.extend_from_slice(&[0; 4]);
        frame.extend_from_slice(payload);
        frame
    }

    fn received(chunks: Vec<Vec<u8>>) -> Vec<Received> {
        let bytes = stream::iter(chunks.into_iter().map(|chunk| Ok(Bytes::from(chunk))));
        actix_web::rt::System::new().block_on(Incoming::new(bytes, 1_000).collect())
    }

    #[test]
    fn messages_are_decoded_however_the_bytes_are_split() {
        let bytes = [masked(0x81, b"one"), masked(0x81, b"two")].concat();
        let expected =
            vec![Received::Message(Message::Text("one".into())), Received::Message(Message::Text("two".into()))];
        assert_eq!(received(vec![bytes.clone()]), expected);
        assert_eq!(received(bytes.iter().map(|b| vec![*b]).collect()), expected);
    }

    #[test]
    fn a_frame_with_too_large_a_length_is_refused_by_its_header() {
        let mut claim = vec![0x81, 0xff];
        claim.extend_from_slice(&(1_u64 << 40).to_be_bytes());
        assert_eq!(received(vec![claim]), [Received::Broken(Close::TOO_BIG)]);
        let mut claim = vec![0x81, 0xff];
        claim.extend_from_slice(&(1_u64 << 63).to_be_bytes());
        assert_eq!(received(vec![claim]), [Received::Broken(Close::TOO_BIG)]);
    }

    #[test]
    fn broken_frames_are_protocol_errors() {
        for broken in [
            vec![0x81, 0x01, b'x'],
            masked(0xC1, b"rsv"),
            masked(0x83, b"opcode"),
            masked(0x80, b"stray"),
            masked(0x89, &[0; 126]),
        ] {
            assert!(matches!(received(vec![broken]).as_slice(), [Received::Broken(Close::PROTOCOL)]));
        }
    }
}
