//! A WebSocket client that can violate the protocol: it writes any bytes and reads frames by hand.

use std::time::Duration;

use socket2::{Domain, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::http::{RawAnswer, read_answer};

pub const CONTINUATION: u8 = 0;
pub const TEXT: u8 = 1;
pub const BINARY: u8 = 2;
pub const CLOSE: u8 = 8;
pub const PING: u8 = 9;
pub const PONG: u8 = 10;

/// A frame as the server wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    pub first_byte: u8,
    pub payload: Vec<u8>,
}

impl Frame {
    pub fn opcode(&self) -> u8 {
        self.first_byte & 0x0f
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.payload).unwrap_or(serde_json::Value::Null)
    }

    /// The code of a close frame; 1005 where it has none.
    pub fn close_code(&self) -> u16 {
        match self.payload[..] {
            [a, b, ..] => u16::from_be_bytes([a, b]),
            _ => 1005,
        }
    }
}

pub struct RawSocket {
    tcp: TcpStream,
    unread: Vec<u8>,
}

impl RawSocket {
    /// Upgrades; the server's answer if it refuses.
    pub async fn open(port: u16, path: &str, headers: &str) -> Result<Self, RawAnswer> {
        Self::open_on(connect(port, None).await, port, path, headers).await
    }

    /// Upgrades with a small receive buffer, so that the server soon notices that the client does not read.
    pub async fn open_narrow(port: u16, path: &str) -> Self {
        let tcp = connect(port, Some(4096)).await;
        Self::open_on(tcp, port, path, "").await.expect("a socket")
    }

    async fn open_on(mut tcp: TcpStream, port: u16, path: &str, headers: &str) -> Result<Self, RawAnswer> {
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n"
        );
        tcp.write_all(request.as_bytes()).await.expect("the server reads");
        let answer = tokio::time::timeout(Duration::from_secs(20), read_answer(&mut tcp)).await;
        let (answer, unread) = answer.expect("an answer to the upgrade");
        if answer.status != 101 {
            return Err(answer);
        }
        assert_eq!(answer.header("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "RFC 6455's example");
        Ok(Self { tcp, unread })
    }

    /// The client's port, by which the server's end can be found.
    pub fn local_port(&self) -> u16 {
        self.tcp.local_addr().expect("connected").port()
    }

    /// Any bytes; whether they could be written.
    pub async fn write(&mut self, bytes: &[u8]) -> bool {
        tokio::time::timeout(Duration::from_secs(20), self.tcp.write_all(bytes)).await.is_ok_and(|r| r.is_ok())
    }

    /// A proper, masked, final frame.
    pub async fn send(&mut self, opcode: u8, payload: &[u8]) -> bool {
        self.write(&frame(0x80 | opcode, Some([1, 2, 3, 4]), payload)).await
    }

    /// A masked part of a message.
    pub async fn send_part(&mut self, opcode: u8, last: bool, payload: &[u8]) -> bool {
        self.write(&frame(if last { 0x80 } else { 0 } | opcode, Some([9, 8, 7, 6]), payload)).await
    }

    /// The next frame; none when the connection ended.
    pub async fn next(&mut self, within: Duration) -> Option<Frame> {
        tokio::time::timeout(within, self.read()).await.unwrap_or_else(|_| panic!("no frame within {within:?}"))
    }

    async fn read(&mut self) -> Option<Frame> {
        let mut chunk = [0; 16_384];
        loop {
            if let Some((frame, used)) = parse(&self.unread) {
                self.unread.drain(..used);
                return Some(frame);
            }
            match self.tcp.read(&mut chunk).await {
                Ok(n) if n > 0 => self.unread.extend_from_slice(&chunk[..n]),
                _ => return None,
            }
        }
    }

    /// Reads on to the close frame and answers nothing; its code (1006 when the connection just ended).
    pub async fn expect_close(&mut self, within: Duration) -> u16 {
        let deadline = tokio::time::Instant::now() + within;
        loop {
            let frame = tokio::time::timeout_at(deadline, self.read()).await;
            match frame.unwrap_or_else(|_| panic!("not closed within {within:?}")) {
                Some(frame) if frame.opcode() == CLOSE => return frame.close_code(),
                Some(_) => {}
                None => return 1006,
            }
        }
    }

    /// Reads on to the end of the connection.
    pub async fn expect_end(&mut self, within: Duration) {
        let deadline = tokio::time::Instant::now() + within;
        while tokio::time::timeout_at(deadline, self.read())
            .await
            .unwrap_or_else(|_| panic!("the connection is still open after {within:?}"))
            .is_some()
        {}
    }

    /// Reads on to the next frame of this kind.
    pub async fn expect(&mut self, opcode: u8, within: Duration) -> Frame {
        let deadline = tokio::time::Instant::now() + within;
        loop {
            let frame = tokio::time::timeout_at(deadline, self.read()).await;
            match frame.unwrap_or_else(|_| panic!("no frame of kind {opcode} within {within:?}")) {
                Some(frame) if frame.opcode() == opcode => return frame,
                Some(frame) => assert_ne!(frame.opcode(), CLOSE, "closed with {}", frame.close_code()),
                None => panic!("the connection ended before a frame of kind {opcode}"),
            }
        }
    }

    /// Reads on to the next text frame; its JSON.
    pub async fn expect_text(&mut self) -> serde_json::Value {
        self.expect(TEXT, Duration::from_secs(10)).await.json()
    }
}

/// The bytes of a frame; `first` holds FIN, the reserved bits and the opcode.
pub fn frame(first: u8, mask: Option<[u8; 4]>, payload: &[u8]) -> Vec<u8> {
    let mut bytes = head(first, mask.is_some(), payload.len() as u64);
    match mask {
        Some(mask) => {
            bytes.extend_from_slice(&mask);
            bytes.extend(payload.iter().zip(mask.iter().cycle()).map(|(b, m)| b ^ m));
        }
        None => bytes.extend_from_slice(payload),
    }
    bytes
}

/// The first bytes of a frame that claims this length.
pub fn head(first: u8, masked: bool, length: u64) -> Vec<u8> {
    let bit = if masked { 0x80 } else { 0 };
    let mut bytes = vec![first];
    match length {
        0..=125 => bytes.push(bit | length as u8),
        126..=65_535 => {
            bytes.push(bit | 126);
            bytes.extend_from_slice(&(length as u16).to_be_bytes());
        }
        _ => {
            bytes.push(bit | 127);
            bytes.extend_from_slice(&length.to_be_bytes());
        }
    }
    bytes
}

/// A whole frame from a server (never masked) and the bytes that it took.
fn parse(bytes: &[u8]) -> Option<(Frame, usize)> {
    let (first, second) = (*bytes.first()?, *bytes.get(1)?);
    assert_eq!(second & 0x80, 0, "a server must not mask");
    let (length, start) = match second {
        126 => (u64::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?)), 4),
        127 => (u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?), 10),
        short => (u64::from(short), 2),
    };
    let end = start + usize::try_from(length).expect("a length that fits");
    Some((Frame { first_byte: first, payload: bytes.get(start..end)?.to_vec() }, end))
}

async fn connect(port: u16, receive_buffer: Option<usize>) -> TcpStream {
    let Some(bytes) = receive_buffer else {
        return TcpStream::connect(("127.0.0.1", port)).await.expect("the server listens");
    };
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.set_recv_buffer_size(bytes).expect("a small buffer");
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], port));
    socket.connect(&address.into()).expect("the server listens");
    socket.set_nonblocking(true).expect("non-blocking");
    TcpStream::from_std(socket.into()).expect("inside a runtime")
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::{SinkExt, StreamExt};
    use tokio_tungstenite::tungstenite::{Error, Message, error::ProtocolError};

    /// A tungstenite server that reports what it read and echoes it.
    async fn echo() -> (u16, tokio::task::JoinHandle<Vec<Result<Message, Error>>>) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let port = listener.local_addr().expect("bound").port();
        let task = tokio::spawn(async move {
            let (tcp, _) = listener.accept().await.expect("accepts");
            let mut stream = tokio_tungstenite::accept_async(tcp).await.expect("upgrades");
            let mut read = Vec::new();
            while let Some(message) = stream.next().await {
                if let Ok(message @ Message::Text(_)) = &message {
                    stream.send(message.clone()).await.expect("echoes");
                }
                let end = message.is_err();
                read.push(message);
                if end {
                    break;
                }
            }
            read
        });
        (port, task)
    }

    #[tokio::test]
    async fn it_speaks_proper_frames_of_every_length_form() {
        let (port, task) = echo().await;
        let mut socket = RawSocket::open(port, "/", "").await.expect("upgrades");
        for length in [0, 125, 126, 65_535, 65_536, 100_000] {
            let text = "x".repeat(length);
            assert!(socket.send(TEXT, text.as_bytes()).await);
            let back = socket.next(Duration::from_secs(5)).await.expect("an echo");
            assert_eq!((back.opcode(), back.payload.len()), (TEXT, length));
        }
        assert!(socket.send_part(TEXT, false, b"two ").await && socket.send_part(CONTINUATION, true, b"parts").await);
        assert_eq!(socket.next(Duration::from_secs(5)).await.expect("an echo").payload, b"two parts");
        assert!(socket.send(PING, b"nonce").await);
        assert_eq!(socket.expect(PONG, Duration::from_secs(5)).await.payload, b"nonce");
        assert!(socket.send(CLOSE, &1000u16.to_be_bytes()).await);
        assert_eq!(socket.expect_close(Duration::from_secs(5)).await, 1000);
        socket.expect_end(Duration::from_secs(5)).await;
        assert!(task.await.expect("no panic").len() >= 8);
    }

    #[tokio::test]
    async fn it_breaks_the_rules_as_asked() {
        let (port, task) = echo().await;
        let mut socket = RawSocket::open(port, "/", "").await.expect("upgrades");
        assert!(socket.write(&frame(0x80 | TEXT, None, b"no mask")).await);
        socket.expect_end(Duration::from_secs(5)).await;
        let read = task.await.expect("no panic");
        assert!(
            matches!(read.last(), Some(Err(Error::Protocol(ProtocolError::UnmaskedFrameFromClient)))),
            "{:?}",
            read.last()
        );
    }

    #[tokio::test]
    async fn it_hands_over_the_answer_of_a_server_that_refuses() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let port = listener.local_addr().expect("bound").port();
        tokio::spawn(async move {
            let (mut tcp, _) = listener.accept().await.expect("accepts");
            let mut chunk = [0; 1024];
            assert!(tcp.read(&mut chunk).await.expect("a request") > 0);
            tcp.write_all(b"HTTP/1.1 401 No\r\nContent-Length: 12\r\n\r\n{\"code\":\"x\"}").await.expect("writes");
        });
        let refused = RawSocket::open(port, "/", "").await.err().expect("refused");
        assert_eq!((refused.status, refused.json()["code"].as_str()), (401, Some("x")));
    }
}
