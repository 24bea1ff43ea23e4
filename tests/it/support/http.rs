//! HTTP by hand, for requests that no client library would send.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

/// An answer as it came over the wire.
#[derive(Debug, Default)]
pub struct RawAnswer {
    /// 0 when the server closed without an answer.
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl RawAnswer {
    /// A header's value, whatever the case of its name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or(serde_json::Value::Null)
    }
}

/// Sends these bytes on a new connection and reads one answer.
pub async fn send_bytes(port: u16, bytes: &[u8], within: Duration) -> RawAnswer {
    let mut tcp = TcpStream::connect(("127.0.0.1", port)).await.expect("the server listens");
    // The server may refuse before it has read all bytes; then the rest cannot be written, but there is an answer.
    tcp.write_all(bytes).await.ok();
    tokio::time::timeout(within, read_answer(&mut tcp))
        .await
        .unwrap_or_else(|_| panic!("no answer within {within:?}"))
        .0
}

/// A GET with a token on a connection whose kernel buffers little, so that the server waits for its reader.
pub async fn get_slowly(port: u16, path: &str, token: &str, headers: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(65_536).expect("a small buffer");
    let mut tcp = socket.connect(([127, 0, 0, 1], port).into()).await.expect("the server listens");
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n{headers}\r\n"
    );
    tcp.write_all(request.as_bytes()).await.expect("the server reads");
    tcp
}

/// Reads a head and, if its length is given, a body; also the bytes after the head of a 101.
pub async fn read_answer(tcp: &mut TcpStream) -> (RawAnswer, Vec<u8>) {
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    let head_end = loop {
        if let Some(at) = find(&bytes, b"\r\n\r\n") {
            break at + 4;
        }
        match tcp.read(&mut chunk).await {
            Ok(n) if n > 0 => bytes.extend_from_slice(&chunk[..n]),
            _ => return (RawAnswer::default(), Vec::new()),
        }
    };
    let head = String::from_utf8_lossy(&bytes[..head_end]).into_owned();
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
    let mut answer = RawAnswer { status, head, body: Vec::new() };
    let mut rest = bytes.split_off(head_end);
    if status == 101 {
        return (answer, rest);
    }
    let length = answer.header("content-length").and_then(|v| v.parse().ok()).unwrap_or(0);
    while rest.len() < length {
        match tcp.read(&mut chunk).await {
            Ok(n) if n > 0 => rest.extend_from_slice(&chunk[..n]),
            _ => break,
        }
    }
    answer.body = rest;
    (answer, Vec::new())
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|w| w == needle)
}
