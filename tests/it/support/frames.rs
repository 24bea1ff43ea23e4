//! The frames of one WebSocket as every client library carries them: text goes both ways, pings are answered, the close
//! code is kept.

use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TryRecvError;
use tokio::time::Instant;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{Message, client::IntoClientRequest};

use super::schemas::check_frame;

#[derive(Debug)]
enum Got {
    Text(Value, usize),
    Pinged,
    /// The close code; none if the connection ended without one.
    Closed(Option<u16>),
}

/// The result of waiting for a frame.
#[derive(Debug)]
pub enum Received {
    /// A text that is not JSON comes as a JSON string.
    Text(Value),
    Closed,
    Nothing,
}

pub struct Frames {
    out: mpsc::UnboundedSender<Message>,
    got: mpsc::UnboundedReceiver<Got>,
    closed: Option<Option<u16>>,
    /// The name of the socket in the documents; none for a stand-in of a server.
    channel: Option<&'static str>,
    pub pings: usize,
    /// Bytes of the largest text so far.
    pub largest: usize,
    /// The subprotocol that the server chose.
    pub protocol: Option<String>,
}

impl Frames {
    /// Connects; a text with the status when the server refuses.
    pub async fn open(port: u16, path: &str, headers: &[(&str, &str)]) -> Result<Self, String> {
        let mut request = format!("ws://127.0.0.1:{port}{path}").into_client_request().expect("a URL");
        for (name, value) in headers {
            let name: reqwest::header::HeaderName = name.parse().expect("a header name");
            request.headers_mut().insert(name, value.parse().expect("a header value"));
        }
        let tcp = TcpStream::connect(("127.0.0.1", port)).await.map_err(|e| e.to_string())?;
        tcp.set_nodelay(true).map_err(|e| e.to_string())?;
        let (stream, answer) = tokio_tungstenite::client_async(request, tcp).await.map_err(|e| e.to_string())?;
        let protocol = answer.headers().get("sec-websocket-protocol");
        let protocol = protocol.map(|v| String::from_utf8_lossy(v.as_bytes()).into_owned());
        let (out, commands) = mpsc::unbounded_channel();
        let (report, got) = mpsc::unbounded_channel();
        tokio::spawn(pump(stream, commands, report));
        let channel = match path {
            _ if path.starts_with("/ws/") => Some("chatroom"),
            _ if path.starts_with("/ws") => Some("device"),
            _ => None,
        };
        Ok(Self { out, got, closed: None, channel, pings: 0, largest: 0, protocol })
    }

    pub fn send_text(&self, text: &str) {
        // A socket that has closed shows it when it is read.
        self.out.send(Message::text(text)).ok();
    }

    /// Closes from this side.
    pub fn close(&self) {
        self.out.send(Message::Close(None)).ok();
    }

    /// The next text.
    pub async fn wait(&mut self, deadline: Instant) -> Received {
        loop {
            if self.closed.is_some() {
                return Received::Closed;
            }
            let Ok(got) = tokio::time::timeout_at(deadline, self.got.recv()).await else { return Received::Nothing };
            if let Some(text) = self.take(got) {
                return Received::Text(text);
            }
        }
    }

    /// The next text that has arrived already.
    pub fn now(&mut self) -> Received {
        loop {
            if self.closed.is_some() {
                return Received::Closed;
            }
            let got = match self.got.try_recv() {
                Ok(got) => Some(got),
                Err(TryRecvError::Disconnected) => None,
                Err(TryRecvError::Empty) => return Received::Nothing,
            };
            if let Some(text) = self.take(got) {
                return Received::Text(text);
            }
        }
    }

    /// The close code once it is closed; 1006 when the connection just ended.
    pub fn close_code(&self) -> Option<u16> {
        self.closed.map(|code| code.unwrap_or(1006))
    }

    fn take(&mut self, got: Option<Got>) -> Option<Value> {
        match got {
            Some(Got::Text(text, bytes)) => {
                self.largest = self.largest.max(bytes);
                if let Some(channel) = self.channel {
                    check_frame(channel, &text);
                }
                return Some(text);
            }
            Some(Got::Pinged) => self.pings += 1,
            Some(Got::Closed(code)) => self.closed = Some(code),
            None => self.closed = self.closed.or(Some(None)),
        }
        None
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
                    report.send(Got::Text(json, text.len())).ok();
                }
                // The library answers as it reads on.
                Some(Ok(Message::Ping(_))) => { report.send(Got::Pinged).ok(); }
                Some(Ok(Message::Close(frame))) => code = Some(frame.map_or(1005, |f| u16::from(f.code))),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => break,
            },
        }
    }
    report.send(Got::Closed(code)).ok();
}
