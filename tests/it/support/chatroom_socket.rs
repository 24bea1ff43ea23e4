//! A client of the chatroom socket: it answers pings as every WebSocket library does and keeps all chats.

use std::collections::VecDeque;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::frames::{Frames, Received};
use super::rest::Api;

/// How long an expected frame may take on a loaded machine.
const FRAME_WAIT: Duration = Duration::from_secs(10);

pub struct ChatroomSocket {
    frames: Frames,
    waiting: VecDeque<Value>,
    /// All chats in the order of arrival.
    pub chats: Vec<Value>,
}

impl ChatroomSocket {
    /// Connects; fails with the server's answer when it refuses.
    pub async fn open(api: &Api, path: &str, headers: &[(&str, &str)]) -> Self {
        Self::try_open(api, path, headers).await.unwrap_or_else(|e| panic!("no socket: {e}"))
    }

    /// Connects; a text with the status when the server refuses.
    pub async fn try_open(api: &Api, path: &str, headers: &[(&str, &str)]) -> Result<Self, String> {
        let frames = Frames::open(api.ports.pick(), path, headers).await?;
        Ok(Self { frames, waiting: VecDeque::new(), chats: Vec::new() })
    }

    /// Sends a chat without a `client_id`.
    pub fn send(&self, text: &str) {
        self.send_json(&json!({"message": text}));
    }

    pub fn send_with_client_id(&self, text: &str, client_id: &str) {
        self.send_json(&json!({"message": text, "client_id": client_id}));
    }

    pub fn send_json(&self, frame: &Value) {
        self.send_text(&frame.to_string());
    }

    pub fn send_text(&self, text: &str) {
        self.frames.send_text(text);
    }

    /// Closes from this side.
    pub fn close(&self) {
        self.frames.close();
    }

    /// The next frame of any kind; none once the socket is closed.
    pub async fn next(&mut self, within: Duration) -> Option<Value> {
        if let Some(frame) = self.waiting.pop_front() {
            return Some(frame);
        }
        match self.frames.wait(Instant::now() + within).await {
            Received::Text(frame) => Some(self.note(frame)),
            Received::Closed => None,
            Received::Nothing => panic!("no frame within {within:?}"),
        }
    }

    fn note(&mut self, frame: Value) -> Value {
        if frame.get("message").is_some() {
            self.chats.push(frame.clone());
        }
        frame
    }

    /// Keeps the chats that have arrived, without waiting.
    pub fn drain(&mut self) {
        while let Received::Text(frame) = self.frames.now() {
            self.note(frame);
        }
        self.waiting.clear();
    }

    /// Receives for a while; the close code if the socket closes before. A refusal fails.
    pub async fn reads_for(&mut self, a_while: Duration) -> Option<u16> {
        let deadline = Instant::now() + a_while;
        loop {
            match self.frames.wait(deadline).await {
                Received::Text(frame) => {
                    let frame = self.note(frame);
                    assert!(frame.get("error").is_none(), "refused after seq {}: {frame}", self.last_seq());
                }
                Received::Closed => return Some(self.closed().unwrap_or(1006)),
                Received::Nothing => return None,
            }
        }
    }

    fn closed(&self) -> Option<u16> {
        self.frames.close_code()
    }

    /// The next frame, which must be a chat.
    pub async fn expect_chat(&mut self) -> Value {
        let frame = self.next(FRAME_WAIT).await.unwrap_or_else(|| panic!("closed {:?}, not a chat", self.closed()));
        assert!(frame.get("message").is_some(), "not a chat: {frame}");
        frame
    }

    /// The next frame, which must be a chat with this text.
    pub async fn expect_message(&mut self, text: &str) -> Value {
        let chat = self.expect_chat().await;
        assert_eq!(chat["message"], text);
        chat
    }

    /// The next frame, which must be a refusal; its problem.
    pub async fn expect_error(&mut self) -> Value {
        let frame = self.next(FRAME_WAIT).await.unwrap_or_else(|| panic!("closed {:?}, not an error", self.closed()));
        let problem = frame["error"].clone();
        for key in ["type", "title", "status", "detail", "code"] {
            assert!(problem.get(key).is_some(), "{key} is missing: {frame}");
        }
        problem
    }

    /// The next frame, which must be this event; the frame.
    pub async fn expect_event(&mut self, name: &str) -> Value {
        let frame = self.next(FRAME_WAIT).await.unwrap_or_else(|| panic!("closed {:?}, not an event", self.closed()));
        assert_eq!(frame["event"], name, "{frame}");
        frame
    }

    /// Reads on until the socket is closed; the close code (1006 when the connection just ended).
    pub async fn expect_close(&mut self, within: Duration) -> u16 {
        let deadline = Instant::now() + within;
        loop {
            match self.frames.wait(deadline).await {
                Received::Text(frame) => {
                    let frame = self.note(frame);
                    self.waiting.push_back(frame);
                }
                Received::Closed => return self.closed().unwrap_or(1006),
                Received::Nothing => panic!("not closed within {within:?}"),
            }
        }
    }

    /// Proves that the socket is open and that nothing else is on its way to it: its own chat comes back first.
    pub async fn expect_nothing_before_own(&mut self, text: &str) -> Value {
        self.send(text);
        self.expect_message(text).await
    }

    /// Reads on until the last chat has at least this `seq`; a refusal fails.
    pub async fn read_until_seq(&mut self, seq: i64, within: Duration) {
        let deadline = Instant::now() + within;
        let refused = self.waiting.drain(..).find(|frame| frame.get("error").is_some());
        assert!(refused.is_none(), "refused after seq {}: {refused:?}", self.last_seq());
        while self.last_seq() < seq {
            match self.frames.wait(deadline).await {
                Received::Text(frame) => {
                    let frame = self.note(frame);
                    assert!(frame.get("error").is_none(), "refused after seq {}: {frame}", self.last_seq());
                }
                Received::Closed => panic!("closed {:?} at seq {} of {seq}", self.closed(), self.last_seq()),
                Received::Nothing => panic!("only seq {} of {seq} within {within:?}", self.last_seq()),
            }
        }
    }

    pub fn last_seq(&self) -> i64 {
        self.chats.last().and_then(|c| c["seq"].as_i64()).unwrap_or(0)
    }
}

#[tokio::test]
async fn it_answers_pings_and_reports_the_close_code() {
    use futures_util::{SinkExt, StreamExt};
    use tokio_tungstenite::tungstenite::{Message, protocol::CloseFrame};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let api = Api::new(listener.local_addr().expect("bound").port(), super::secrets::Secrets::default());
    let server = tokio::spawn(async move {
        let (tcp, _) = listener.accept().await.expect("accepts");
        let mut stream = tokio_tungstenite::accept_async(tcp).await.expect("upgrades");
        let sent = stream.next().await.expect("a frame").expect("no error");
        assert_eq!(sent.to_text().expect("text"), r#"{"message":"hello"}"#);
        stream.send(Message::Ping("nonce".into())).await.expect("pings");
        assert_eq!(stream.next().await.expect("a pong").expect("no error"), Message::Pong("nonce".into()));
        for text in [r#"{"message":"a","seq":1}"#, r#"{"event":"edited"}"#, r#"{"message":"b","seq":2}"#] {
            stream.send(Message::text(text)).await.expect("sends");
        }
        stream.close(Some(CloseFrame { code: 4404.into(), reason: "".into() })).await.expect("closes");
        while stream.next().await.is_some() {}
    });
    let mut socket = ChatroomSocket::open(&api, "/", &[]).await;
    socket.send("hello");
    socket.expect_message("a").await;
    socket.expect_event("edited").await;
    socket.read_until_seq(2, FRAME_WAIT).await;
    assert_eq!(socket.expect_close(FRAME_WAIT).await, 4404);
    assert_eq!((socket.frames.pings, socket.chats.len()), (1, 2));
    server.await.expect("the server saw what it expected");
}
