//! A client of the seed's socket: answers pings as every WebSocket stack does and keeps all it got.

use std::collections::VecDeque;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{Message, client::IntoClientRequest};

use super::contract::check_frame;
use super::rest::Api;

/// How long an expected frame may take on a loaded machine.
const FRAME_WAIT: Duration = Duration::from_secs(10);

#[derive(Debug)]
enum Got {
    Text(Value),
    Pinged,
    /// The close code; none when the connection just ended.
    Closed(Option<u16>),
}

pub struct SeedSocket {
    out: mpsc::UnboundedSender<Message>,
    got: mpsc::UnboundedReceiver<Got>,
    waiting: VecDeque<Value>,
    closed: Option<Option<u16>>,
    pings: usize,
    /// Every chat in the order in which it came.
    pub chats: Vec<Value>,
}

impl SeedSocket {
    /// Connects; fails with the server's answer when it refuses.
    pub async fn open(api: &Api, path: &str, headers: &[(&str, &str)]) -> Self {
        Self::try_open(api, path, headers).await.unwrap_or_else(|e| panic!("no socket: {e}"))
    }

    /// Connects; a text with the status when the server refuses.
    pub async fn try_open(api: &Api, path: &str, headers: &[(&str, &str)]) -> Result<Self, String> {
        let mut request = format!("ws://127.0.0.1:{}{path}", api.port).into_client_request().expect("a URL");
        for (name, value) in headers {
            let name: reqwest::header::HeaderName = name.parse().expect("a header name");
            request.headers_mut().insert(name, value.parse().expect("a header value"));
        }
        let tcp = TcpStream::connect(("127.0.0.1", api.port)).await.map_err(|e| e.to_string())?;
        tcp.set_nodelay(true).map_err(|e| e.to_string())?;
        let (stream, _) = tokio_tungstenite::client_async(request, tcp).await.map_err(|e| e.to_string())?;
        let (out, commands) = mpsc::unbounded_channel();
        let (report, got) = mpsc::unbounded_channel();
        tokio::spawn(pump(stream, commands, report));
        Ok(Self { out, got, waiting: VecDeque::new(), closed: None, pings: 0, chats: Vec::new() })
    }

    /// Sends a chat as the seed's clients do.
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
        // A socket that has closed shows it when it is read.
        self.out.send(Message::text(text)).ok();
    }

    /// Closes from this side.
    pub fn close(&self) {
        self.out.send(Message::Close(None)).ok();
    }

    /// The next frame of any kind; none once the socket is closed.
    pub async fn next(&mut self, within: Duration) -> Option<Value> {
        let deadline = tokio::time::Instant::now() + within;
        loop {
            if let Some(frame) = self.waiting.pop_front() {
                return Some(frame);
            }
            if self.closed.is_some() {
                return None;
            }
            let got = tokio::time::timeout_at(deadline, self.got.recv()).await;
            self.take(got.unwrap_or_else(|_| panic!("no frame within {within:?}")));
        }
    }

    fn take(&mut self, got: Option<Got>) {
        match got {
            Some(Got::Text(frame)) => {
                check_frame("chatroom", &frame);
                if frame.get("message").is_some() {
                    self.chats.push(frame.clone());
                }
                self.waiting.push_back(frame);
            }
            Some(Got::Pinged) => self.pings += 1,
            Some(Got::Closed(code)) => self.closed = Some(code),
            None => self.closed = self.closed.or(Some(None)),
        }
    }

    /// Takes in what has come so far without waiting.
    pub fn drain(&mut self) {
        while let Ok(got) = self.got.try_recv() {
            self.take(Some(got));
        }
        self.waiting.clear();
    }

    /// The next frame, which must be a chat.
    pub async fn expect_chat(&mut self) -> Value {
        let frame = self.next(FRAME_WAIT).await.unwrap_or_else(|| panic!("closed {:?}, not a chat", self.closed));
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
        let frame = self.next(FRAME_WAIT).await.unwrap_or_else(|| panic!("closed {:?}, not an error", self.closed));
        let problem = frame["error"].clone();
        for key in ["type", "title", "status", "detail", "code"] {
            assert!(problem.get(key).is_some(), "{key} is missing: {frame}");
        }
        problem
    }

    /// The next frame, which must be this event; the frame.
    pub async fn expect_event(&mut self, name: &str) -> Value {
        let frame = self.next(FRAME_WAIT).await.unwrap_or_else(|| panic!("closed {:?}, not an event", self.closed));
        assert_eq!(frame["event"], name, "{frame}");
        frame
    }

    /// Reads on until the socket is closed; the close code (1006 when the connection just ended).
    pub async fn expect_close(&mut self, within: Duration) -> u16 {
        let deadline = tokio::time::Instant::now() + within;
        loop {
            if let Some(code) = self.closed {
                return code.unwrap_or(1006);
            }
            let got = tokio::time::timeout_at(deadline, self.got.recv()).await;
            self.take(got.unwrap_or_else(|_| panic!("not closed within {within:?}")));
        }
    }

    /// Proves that the socket is open and that nothing else is under way to it: a chat of its own comes back first.
    pub async fn expect_nothing_before_own(&mut self, text: &str) -> Value {
        self.send(text);
        self.expect_message(text).await
    }

    /// Reads on until the last chat has at least this `seq`; a refusal fails.
    pub async fn read_until_seq(&mut self, seq: i64, within: Duration) {
        let deadline = tokio::time::Instant::now() + within;
        while self.last_seq() < seq {
            assert!(self.closed.is_none(), "closed {:?} at seq {} of {seq}", self.closed, self.last_seq());
            let got = tokio::time::timeout_at(deadline, self.got.recv()).await;
            self.take(got.unwrap_or_else(|_| panic!("only seq {} of {seq} within {within:?}", self.last_seq())));
            let refused = self.waiting.drain(..).find(|frame| frame.get("error").is_some());
            assert!(refused.is_none(), "refused after seq {}: {refused:?}", self.last_seq());
        }
    }

    pub fn last_seq(&self) -> i64 {
        self.chats.last().and_then(|c| c["seq"].as_i64()).unwrap_or(0)
    }
}

/// Carries frames both ways until either side ends.
async fn pump(
    mut stream: WebSocketStream<TcpStream>,
    mut commands: mpsc::UnboundedReceiver<Message>,
    report: mpsc::UnboundedSender<Got>,
) {
    let mut code = None;
    loop {
        tokio::select! {
            command = commands.recv() => match command {
                Some(message) => { stream.send(message).await.ok(); }
                None => return,
            },
            frame = stream.next() => match frame {
                Some(Ok(Message::Text(text))) => {
                    let json = serde_json::from_str(text.as_str()).unwrap_or(Value::String(text.to_string()));
                    report.send(Got::Text(json)).ok();
                }
                // Answered by the library as it reads on.
                Some(Ok(Message::Ping(_))) => { report.send(Got::Pinged).ok(); }
                Some(Ok(Message::Close(frame))) => code = Some(frame.map_or(1005, |f| u16::from(f.code))),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => break,
            },
        }
    }
    report.send(Got::Closed(code)).ok();
}

#[tokio::test]
async fn it_answers_pings_by_itself_and_tells_the_close_code() {
    use tokio_tungstenite::tungstenite::protocol::CloseFrame;
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
    let mut socket = SeedSocket::open(&api, "/", &[]).await;
    socket.send("hello");
    socket.expect_message("a").await;
    socket.expect_event("edited").await;
    socket.read_until_seq(2, FRAME_WAIT).await;
    assert_eq!(socket.expect_close(FRAME_WAIT).await, 4404);
    assert_eq!((socket.pings, socket.chats.len()), (1, 2));
    server.await.expect("the server saw what it expected");
}
