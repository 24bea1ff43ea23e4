//! A device socket `/ws`, frame by frame; it keeps only the frames that the test has not read yet.

use std::collections::VecDeque;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::frames::{Frames, Received};

/// How long an expected frame may take on a loaded machine.
const FRAME_WAIT: Duration = Duration::from_secs(10);

/// Frames that other chatters cause at any time: skipped where another frame is expected.
const AMBIENT: [&str; 2] = ["presence", "receipt"];

/// The events of a change in a room.
const EVENTS: [&str; 3] = ["chat", "chat_edited", "chat_deleted"];

/// How a client sends its token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Header,
    Subprotocol,
    Query,
    FirstFrame,
}

pub const WAYS: [Way; 4] = [Way::Header, Way::Subprotocol, Way::Query, Way::FirstFrame];

pub struct DeviceSocket {
    frames: Frames,
    waiting: VecDeque<Value>,
    refs: i64,
    /// The `ready` frame, and all rooms of it and of the `chatrooms` frames after it.
    pub ready: Value,
    pub rooms: Vec<Value>,
}

impl DeviceSocket {
    /// Signed in, after `ready` and all rooms; fails with the server's answer if it refuses.
    pub async fn open(port: u16, token: &str) -> Self {
        let mut socket = Self::connect(port, token, Way::Header).await.unwrap_or_else(|e| panic!("no socket: {e}"));
        socket.expect_ready().await;
        socket
    }

    /// Upgraded, with the token sent in this way, and no frame read yet; a text with the status if the server refuses.
    pub async fn connect(port: u16, token: &str, way: Way) -> Result<Self, String> {
        let bearer = format!("Bearer {token}");
        let offer = format!("hyper-chat.v1, bearer.{token}");
        let query = format!("/ws?jwt={token}");
        let (path, headers): (&str, Vec<(&str, &str)>) = match way {
            Way::Header => ("/ws", vec![("authorization", &bearer), ("sec-websocket-protocol", "hyper-chat.v1")]),
            Way::Subprotocol => ("/ws", vec![("sec-websocket-protocol", &offer)]),
            Way::Query => (&query, vec![]),
            Way::FirstFrame => ("/ws", vec![("sec-websocket-protocol", "hyper-chat.v1")]),
        };
        let socket = Self::connect_with(port, path, &headers).await?;
        if way == Way::FirstFrame {
            socket.send_json(&json!({"type": "auth", "token": token}));
        }
        Ok(socket)
    }

    /// Upgraded by any request.
    pub async fn connect_with(port: u16, path: &str, headers: &[(&str, &str)]) -> Result<Self, String> {
        let frames = Frames::open(port, path, headers).await?;
        Ok(Self { frames, waiting: VecDeque::new(), refs: 0, ready: Value::Null, rooms: Vec::new() })
    }

    /// Upgraded and not signed in.
    pub async fn unsigned(port: u16) -> Self {
        Self::connect_with(port, "/ws", &[]).await.unwrap_or_else(|e| panic!("no socket: {e}"))
    }

    pub fn send_json(&self, frame: &Value) {
        self.frames.send_text(&frame.to_string());
    }

    pub fn send_text(&self, text: &str) {
        self.frames.send_text(text);
    }

    /// Closes from this side.
    pub fn close(&self) {
        self.frames.close();
    }

    /// The subprotocol that the server chose.
    pub fn protocol(&self) -> Option<&str> {
        self.frames.protocol.as_deref()
    }

    /// Bytes of the largest frame so far.
    pub fn largest(&self) -> usize {
        self.frames.largest
    }

    /// The close code once it is closed; 1006 when the connection just ended.
    pub fn close_code(&self) -> Option<u16> {
        self.frames.close_code()
    }

    /// The next frame, the close, or nothing within this time.
    pub async fn receive(&mut self, within: Duration) -> Received {
        match self.waiting.pop_front() {
            Some(frame) => Received::Text(frame),
            None if within.is_zero() => self.frames.now(),
            None => self.frames.wait(Instant::now() + within).await,
        }
    }

    /// The next frame of any kind; none once the socket is closed.
    pub async fn next(&mut self, within: Duration) -> Option<Value> {
        match self.receive(within).await {
            Received::Text(frame) => Some(frame),
            Received::Closed => None,
            Received::Nothing => panic!("no frame within {within:?}"),
        }
    }

    /// The next frame, where unrequested `changes` come as the events that they stand for: an instance sends them when
    /// it missed the events and read them from the database.
    pub async fn next_event(&mut self, within: Duration) -> Option<Value> {
        loop {
            let frame = self.next(within).await?;
            if frame["type"] != "changes" {
                return Some(frame);
            }
            let rows = frame["changes"].as_array().unwrap_or_else(|| panic!("no changes: {frame}"));
            for row in rows.iter().rev() {
                self.waiting.push_front(event_of(row, &frame["chatroom_id"]));
            }
        }
    }

    /// Takes the frames that have arrived, without waiting.
    pub fn drain(&mut self) -> Vec<Value> {
        let mut all: Vec<_> = self.waiting.drain(..).collect();
        while let Received::Text(frame) = self.frames.now() {
            all.push(frame);
        }
        all
    }

    /// The next frame, which must be of this type; presence and receipts are skipped, unless one of them is expected.
    pub async fn expect(&mut self, kind: &str) -> Value {
        let of_rows = EVENTS.contains(&kind);
        loop {
            let frame = if of_rows { self.next_event(FRAME_WAIT).await } else { self.next(FRAME_WAIT).await };
            let frame = frame.unwrap_or_else(|| panic!("closed {:?}, no {kind}", self.close_code()));
            if frame["type"] == kind {
                return frame;
            }
            let ambient = AMBIENT.iter().any(|name| frame["type"] == *name);
            assert!(ambient, "a {kind} was expected: {frame}");
        }
    }

    /// Reads `ready` and the `chatrooms` after it; the `ready` frame.
    pub async fn expect_ready(&mut self) -> Value {
        let ready = self.next(FRAME_WAIT).await.unwrap_or_else(|| panic!("closed {:?}, not ready", self.close_code()));
        assert_eq!(ready["type"], "ready", "{ready}");
        let mut page = ready.clone();
        self.rooms = Vec::new();
        loop {
            let rooms = page["chatrooms"].as_array().unwrap_or_else(|| panic!("no rooms: {page}"));
            assert!(rooms.len() <= 200, "{} rooms in one frame", rooms.len());
            self.rooms.extend(rooms.iter().cloned());
            if page["has_more"] == false {
                break;
            }
            page = self.expect("chatrooms").await;
        }
        self.ready = ready.clone();
        ready
    }

    /// This room in `ready` or `chatrooms`.
    pub fn listed(&self, room: i64) -> &Value {
        let listed = self.rooms.iter().find(|r| r["id"] == room);
        listed.unwrap_or_else(|| panic!("room {room} is not among {:?}", self.rooms))
    }

    /// The next frame, which must be a refusal with this code; the frame.
    pub async fn expect_error(&mut self, code: &str) -> Value {
        let frame = self.expect("error").await;
        check_problem(&frame, code);
        frame
    }

    /// Sends a frame under a new `ref` and reads on to the reply; frames before it are kept for later.
    pub async fn ask(&mut self, mut frame: Value) -> Value {
        self.refs += 1;
        let reference = json!(format!("ask-{}", self.refs));
        frame["ref"] = reference.clone();
        self.send_json(&frame);
        let deadline = Instant::now() + FRAME_WAIT;
        loop {
            match self.frames.wait(deadline).await {
                Received::Text(reply) if reply["ref"] == reference => return reply,
                Received::Text(other) => self.waiting.push_back(other),
                Received::Closed => panic!("closed {:?}, no reply to {frame}", self.close_code()),
                Received::Nothing => panic!("no reply within {FRAME_WAIT:?} to {frame}"),
            }
        }
    }

    /// Sends a frame that must be refused with this code; the problem.
    pub async fn refused(&mut self, frame: Value, code: &str) -> Value {
        let reply = self.ask(frame).await;
        check_problem(&reply, code);
        reply["problem"].clone()
    }

    /// Sends a chat; the chat as it is acknowledged.
    pub async fn says(&mut self, room: i64, client_id: &str, content: &str) -> Value {
        let ack = self.ask(send(room, client_id, content)).await;
        assert_eq!(ack["type"], "ack", "{ack}");
        ack["chat"].clone()
    }

    /// The next frame, which must be a chat with this content; the chat.
    pub async fn expect_chat(&mut self, content: &str) -> Value {
        let frame = self.expect("chat").await;
        assert_eq!(frame["chat"]["content"], content, "{frame}");
        frame["chat"].clone()
    }

    /// All frames up to the answer to a ping, that is, all that were on their way to this socket.
    pub async fn until_pong(&mut self) -> Vec<Value> {
        let pong = self.ask(json!({"type": "ping"})).await;
        assert_eq!(pong["type"], "pong", "{pong}");
        self.waiting.drain(..).collect()
    }

    /// Proves that the socket is open and that nothing but presence and receipts is on its way to it.
    pub async fn expect_nothing_else(&mut self) {
        let received = self.until_pong().await;
        let other: Vec<_> = received.iter().filter(|f| !AMBIENT.iter().any(|name| f["type"] == *name)).collect();
        assert!(other.is_empty(), "unexpected: {other:?}");
    }

    /// The frames between `resume` of these rooms and `resumed`.
    pub async fn resume(&mut self, rooms: &[(i64, i64)]) -> Vec<Value> {
        let resumed = self.ask(json!({"type": "resume", "chatrooms": cursors(rooms)})).await;
        assert_eq!(resumed["type"], "resumed", "{resumed}");
        self.waiting.drain(..).collect()
    }

    /// Reads on until the socket is closed; the close code (1006 when the connection just ended).
    pub async fn expect_close(&mut self, within: Duration) -> u16 {
        let deadline = Instant::now() + within;
        loop {
            match self.frames.wait(deadline).await {
                Received::Text(frame) => self.waiting.push_back(frame),
                Received::Closed => return self.close_code().unwrap_or(1006),
                Received::Nothing => panic!("not closed within {within:?}"),
            }
        }
    }
}

/// The event that a row of `changes` stands for.
fn event_of(row: &Value, room: &Value) -> Value {
    if row["deleted"] == true {
        let (id, seq, version) = (&row["id"], &row["seq"], &row["version"]);
        return json!({"type": "chat_deleted", "chatroom_id": room, "chat_id": id, "seq": seq, "version": version});
    }
    let kind = if row["edit_time"].is_null() { "chat" } else { "chat_edited" };
    json!({"type": kind, "chat": row})
}

/// A `send` frame.
pub fn send(room: i64, client_id: &str, content: &str) -> Value {
    json!({"type": "send", "chatroom_id": room, "client_id": client_id, "content": content})
}

/// Rooms and versions as `resume` names them.
pub fn cursors(rooms: &[(i64, i64)]) -> Value {
    rooms.iter().map(|(room, version)| (room.to_string(), json!(version))).collect::<serde_json::Map<_, _>>().into()
}

/// Checks a refusal: its code and the members of RFC 9457.
#[track_caller]
pub fn check_problem(frame: &Value, code: &str) {
    assert_eq!((&frame["type"], &frame["problem"]["code"]), (&json!("error"), &json!(code)), "{frame}");
    for key in ["type", "title", "detail"] {
        assert!(frame["problem"][key].as_str().is_some_and(|v| !v.is_empty()), "{key} is missing: {frame}");
    }
    assert!(frame["problem"]["status"].is_u64(), "{frame}");
}
