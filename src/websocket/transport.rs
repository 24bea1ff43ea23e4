//! The transport of a WebSocket: the handshake, and whole messages from the bytes of the request.
//!
//! This is the only file that names `actix_web_actors`, which is deprecated: the handshake comes from there, the codec
//! from `actix_http`, and the session is an ordinary actor (see `out_queue`).

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use actix_http::ws::Codec;
use actix_web::error::PayloadError;
use actix_web::http::Version;
use actix_web::http::header::SEC_WEBSOCKET_PROTOCOL;
use actix_web::{HttpRequest, HttpResponse};
use actix_web_actors::ws::{HandshakeError, handshake_with_protocols};
use bytes::{Bytes, BytesMut};
use futures_util::Stream;
use tokio_util::codec::Decoder;

use super::framing::{Assembler, Close, Message, close_for};
use super::out_queue::OutBody;
use super::pace::Pace;

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
    // The handshake itself reads only the first line of the subprotocols.
    match handshake_with_protocols(request, &[]) {
        // RFC 6455 section 4.1 asks for HTTP/1.1.
        Ok(_) if request.version() < Version::HTTP_11 => Err(Refused::NotWebSocket),
        Ok(_) if key != Some(24) => Err(Refused::Malformed),
        Ok(mut response) => {
            if let Some(chosen) = offered(request).find(|offer| protocols.contains(offer)) {
                response.insert_header((SEC_WEBSOCKET_PROTOCOL, chosen));
            }
            Ok(response.streaming(body))
        }
        Err(HandshakeError::BadWebsocketKey) => Err(Refused::Malformed),
        Err(_) => Err(Refused::NotWebSocket),
    }
}

/// The subprotocols that the client offers, in its order: all header lines are one list (RFC 6455 section 11.3.4). A
/// line that is not text offers an empty name, which no server knows.
pub fn offered(request: &HttpRequest) -> impl Iterator<Item = &str> {
    let lines = request.headers().get_all(SEC_WEBSOCKET_PROTOCOL);
    lines.flat_map(|line| line.to_str().unwrap_or_default().split(',').map(str::trim))
}

/// Frames that may be decoded without a message before other sockets of the worker have their turn.
const FRAMES_A_TURN: usize = 64;

/// The messages of one socket. Ends after the first error, or when the connection ends; after a flood the session has
/// to end it.
///
/// A frame is decoded when the session asks for the next message, so the bytes that were read are all that it keeps.
pub struct Incoming<S> {
    bytes: S,
    codec: Codec,
    buffer: BytesMut,
    assembler: Assembler,
    pace: Pace,
    frame_bytes_max: usize,
    /// The deadline of the unfinished message that the session knows.
    deadline: Option<Instant>,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// The peer floods: nothing more is read of it, so that it has to stop, until the session ends.
    Flooded,
    Over,
}

impl<S: Stream<Item = Result<Bytes, PayloadError>> + Unpin> Incoming<S> {
    /// Reads messages of at most `bytes_max` from the request's payload.
    pub fn new(bytes: S, bytes_max: usize) -> Self {
        Self {
            bytes,
            codec: Codec::new().max_size(bytes_max),
            buffer: BytesMut::new(),
            assembler: Assembler::new(bytes_max),
            pace: Pace::new(),
            frame_bytes_max: bytes_max,
            deadline: None,
            state: State::Open,
        }
    }

    /// Takes one frame out of the buffer.
    fn decode(&mut self) -> Result<Decoded, Close> {
        // The codec would wait for all of a frame before it finds it too long.
        if declared_length(&self.buffer).is_some_and(|length| length > self.frame_bytes_max as u64) {
            return Err(Close::TOO_BIG);
        }
        let decoded = self.codec.decode(&mut self.buffer).map_err(|error| close_for(&error))?;
        let Some(frame) = decoded else { return Ok(Decoded::NeedsBytes) };
        self.pace.count(&frame)?;
        Ok(self.assembler.push(frame)?.map_or(Decoded::Part, Decoded::Message))
    }

    /// The next event that the buffer holds, unless the turn of this socket is over before.
    fn next_of_buffer(&mut self) -> Step {
        for _ in 0..FRAMES_A_TURN {
            match self.decode() {
                Ok(Decoded::Message(message)) => return Step::Event(Received::Message(message)),
                Ok(Decoded::Part) => {}
                Ok(Decoded::NeedsBytes) => {
                    if self.buffer.is_empty() && self.buffer.capacity() > 4_096 {
                        self.buffer = BytesMut::new();
                    }
                    // A message that is complete again by now needed no timer.
                    let deadline = self.assembler.deadline();
                    if std::mem::replace(&mut self.deadline, deadline) != deadline {
                        return Step::Event(Received::Unfinished(deadline));
                    }
                    return Step::NeedsBytes;
                }
                Err(close) => {
                    self.state = if close == Close::TOO_FAST { State::Flooded } else { State::Over };
                    self.buffer = BytesMut::new();
                    return Step::Event(Received::Broken(close));
                }
            }
        }
        Step::TurnOver
    }
}

/// The result of decoding one frame.
enum Decoded {
    Message(Message),
    /// The frame completes no message.
    Part,
    /// The buffer holds no whole frame.
    NeedsBytes,
}

/// What the buffer gives.
enum Step {
    Event(Received),
    NeedsBytes,
    /// Other sockets come first.
    TurnOver,
}

/// What a socket's peer has sent.
#[derive(Debug, PartialEq, Eq)]
pub enum Received {
    /// A whole message, in one frame or assembled.
    Message(Message),
    /// A fragmented message is under way and has to be complete by this time; none when it is.
    Unfinished(Option<Instant>),
    /// The peer broke a rule: close with this.
    Broken(Close),
}

impl<S: Stream<Item = Result<Bytes, PayloadError>> + Unpin> Stream for Incoming<S> {
    type Item = Received;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Received>> {
        let this = &mut *self;
        loop {
            match this.state {
                State::Open => {}
                State::Flooded => return Poll::Pending,
                State::Over => return Poll::Ready(None),
            }
            match this.next_of_buffer() {
                Step::Event(received) => return Poll::Ready(Some(received)),
                Step::NeedsBytes => {}
                Step::TurnOver => {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
            }
            match Pin::new(&mut this.bytes).poll_next(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Some(Ok(chunk))) => this.buffer.extend_from_slice(&chunk),
                Poll::Ready(Some(Err(_)) | None) => this.state = State::Over,
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
    #[test]
    fn c6_several_lines_of_subprotocols_are_one_list() {
        let chosen = |lines: &[&str]| {
            let mut request = actix_web::test::TestRequest::get()
                .insert_header(("upgrade", "websocket"))
                .insert_header(("connection", "upgrade"))
                .insert_header(("sec-websocket-version", "13"))
                .insert_header(("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="));
            for line in lines {
                request = request.append_header((SEC_WEBSOCKET_PROTOCOL, *line));
            }
            let (_, body) = super::super::out_queue::OutQueue::new(1_000);
            let answer = accept(&request.to_http_request(), &["ours", "older"], body).expect("an upgrade");
            let chosen: Vec<_> =
                answer.headers().get_all(SEC_WEBSOCKET_PROTOCOL).map(|v| v.to_str().unwrap()).collect();
            chosen.join("+")
        };
        for (lines, expected) in [
            (&["bearer.token, ours"][..], "ours"),
            (&["bearer.token", "ours"], "ours"),
            (&["x, y", "z", "older,ours"], "older"),
            (&["ours", "bearer.token"], "ours"),
            (&["bearer.ours", "oursx"], ""),
            (&[], ""),
        ] {
            assert_eq!(chosen(lines), expected, "{lines:?}");
        }
    }

    #[test]
    fn a4_a_flood_of_empty_fragments_yields_to_other_sockets_and_then_ends_the_socket() {
        let mut flood = masked(0x01, b"x");
        (0..100).for_each(|_| flood.extend(masked(0x00, b"")));
        let mut incoming = Incoming::new(stream::iter([Ok(Bytes::from(flood))]), 1_000);
        let mut cx = Context::from_waker(std::task::Waker::noop());
        assert_eq!(Pin::new(&mut incoming).poll_next(&mut cx), Poll::Pending, "it holds the worker for one turn");
        let chunks = (0..100).map(|_| masked(0x00, b"").repeat(100));
        let bytes = [masked(0x01, b"x")].into_iter().chain(chunks).map(|chunk| Ok(Bytes::from(chunk)));
        let mut incoming = Incoming::new(stream::iter(bytes), 1_000);
        let mut events = Vec::new();
        while events.last() != Some(&Received::Broken(Close::TOO_FAST)) {
            if let Poll::Ready(event) = Pin::new(&mut incoming).poll_next(&mut cx) {
                events.push(event.expect("it is open"));
            }
        }
        assert_eq!(events.len(), 2, "{events:?}");
        assert_eq!(Pin::new(&mut incoming).poll_next(&mut cx), Poll::Pending, "nothing more is read");
    }
}
