//! A WebSocket client that costs little: frames are read out of one shared buffer, and what is sent leaves in one
//! write.

use std::cell::{Cell, RefCell};
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::spawn_local;
use tokio::time::timeout;

const OPEN_MAX: Duration = Duration::from_secs(30);
const HEAD_BYTES_MAX: usize = 8_192;
const READ_BYTES: usize = 65_536;

const TEXT: u8 = 0x1;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xA;

thread_local! {
    /// All sockets are read on one thread, one after another.
    static READ: RefCell<Vec<u8>> = RefCell::new(vec![0; READ_BYTES]);
}

/// Receives the messages of a socket.
pub trait Listener {
    /// A text message.
    fn text(&self, text: &[u8]);
    /// All messages of one read were handed over.
    fn piece_ended(&self);
}

/// One client's connection.
pub struct Socket {
    stream: TcpStream,
    out: RefCell<Vec<u8>>,
    /// A task waits until the peer reads.
    jammed: Cell<bool>,
    over: Cell<bool>,
}

impl Socket {
    /// Opens the chatroom socket of a room; also returns the bytes after the handshake.
    pub async fn open(server: SocketAddr, room: u64, token: &str) -> Result<(Rc<Self>, Vec<u8>), String> {
        Self::open_path(server, &format!("/ws/chatrooms/{room}/"), token).await
    }

    /// The same for a device socket.
    pub async fn open_device(server: SocketAddr, token: &str) -> Result<(Rc<Self>, Vec<u8>), String> {
        Self::open_path(server, "/ws", token).await
    }

    async fn open_path(server: SocketAddr, path: &str, token: &str) -> Result<(Rc<Self>, Vec<u8>), String> {
        let opened = timeout(OPEN_MAX, Self::handshake(server, path, token)).await;
        opened.map_err(|_| "a socket did not open in time".to_owned())?
    }

    async fn handshake(server: SocketAddr, path: &str, token: &str) -> Result<(Rc<Self>, Vec<u8>), String> {
        let failed = |e: std::io::Error| format!("a socket did not open: {e}");
        let mut stream = TcpStream::connect(server).await.map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        let request = format!(
            "GET {path}?jwt={token} HTTP/1.1\r\nHost: {server}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: bG9hZCBnZW5lcmF0b3IhIQ==\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.map_err(failed)?;
        let mut head = Vec::new();
        let end = loop {
            if let Some(end) = head.windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
            if head.len() > HEAD_BYTES_MAX || stream.read_buf(&mut head).await.map_err(failed)? == 0 {
                return Err(format!("a socket did not open: {}", String::from_utf8_lossy(&head)));
            }
        };
        let rest = head.split_off(end);
        if !head.starts_with(b"HTTP/1.1 101 ") {
            return Err(format!("a socket was refused: {}", String::from_utf8_lossy(&head)));
        }
        let socket = Self { stream, out: RefCell::default(), jammed: Cell::new(false), over: Cell::new(false) };
        Ok((Rc::new(socket), rest))
    }

    /// Queues a text message; [`Socket::flush`] sends it.
    pub fn queue(&self, text: &[u8]) {
        self.queue_frame(TEXT, text);
    }

    /// Sends the queued bytes.
    pub fn flush(self: &Rc<Self>) {
        if self.jammed.get() || self.write_out() {
            return;
        }
        self.jammed.set(true);
        let socket = Rc::clone(self);
        spawn_local(async move {
            while socket.stream.writable().await.is_ok() && !socket.write_out() {}
            socket.jammed.set(false);
        });
    }

    /// Whether the peer has closed it.
    pub fn is_over(&self) -> bool {
        self.over.get()
    }

    /// Hands messages to the listener until the peer closes. `rest` are the bytes after the handshake.
    pub async fn listen(self: Rc<Self>, mut rest: Vec<u8>, listener: impl Listener) {
        let used = self.frames(&rest, &listener);
        rest.drain(..used);
        while !self.over.get() && self.stream.readable().await.is_ok() {
            READ.with_borrow_mut(|read| self.take_in(read, &mut rest, &listener));
        }
    }

    /// Reads one piece; frames that are not cut by its ends are never copied.
    fn take_in(self: &Rc<Self>, read: &mut [u8], rest: &mut Vec<u8>, listener: &impl Listener) {
        let piece = match self.stream.try_read(read) {
            Ok(0) => return self.over.set(true),
            Ok(length) => &read[..length],
            Err(e) if e.kind() == ErrorKind::WouldBlock => return,
            Err(_) => return self.over.set(true),
        };
        if rest.is_empty() {
            let used = self.frames(piece, listener);
            rest.extend_from_slice(&piece[used..]);
        } else {
            rest.extend_from_slice(piece);
            let used = self.frames(rest, listener);
            rest.drain(..used);
        }
        listener.piece_ended();
        self.flush();
    }

    /// Hands over complete frames; returns their number of bytes.
    fn frames(&self, bytes: &[u8], listener: &impl Listener) -> usize {
        let mut used = 0;
        while let Some((opcode, payload, length)) = frame(&bytes[used..]) {
            match opcode {
                TEXT => listener.text(payload),
                PING => self.queue_frame(PONG, payload),
                CLOSE => self.over.set(true),
                _ => {}
            }
            used += length;
        }
        used
    }

    /// Clients must mask. The mask may be any number, and with zero the payload stays as it is.
    fn queue_frame(&self, opcode: u8, payload: &[u8]) {
        let mut out = self.out.borrow_mut();
        out.push(0x80 | opcode);
        match u8::try_from(payload.len()) {
            Ok(short) if short < 126 => out.push(0x80 | short),
            _ => {
                let length = u16::try_from(payload.len()).expect("a benchmark sends short messages");
                out.push(0x80 | 126);
                out.extend_from_slice(&length.to_be_bytes());
            }
        }
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(payload);
    }

    /// Whether everything is written; the reader reports errors.
    fn write_out(&self) -> bool {
        let mut out = self.out.borrow_mut();
        while !out.is_empty() {
            match self.stream.try_write(&out) {
                Ok(length) => drop(out.drain(..length)),
                Err(e) if e.kind() == ErrorKind::WouldBlock => return false,
                Err(_) => out.clear(),
            }
        }
        true
    }
}

/// The first frame: its opcode, its payload, its length in all. The server neither masks nor fragments.
fn frame(bytes: &[u8]) -> Option<(u8, &[u8], usize)> {
    let &[first, short, ..] = bytes else { return None };
    let (head, length): (usize, usize) = match short {
        126 => (4, usize::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?))),
        127 => (10, usize::try_from(u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?)).ok()?),
        short => (2, usize::from(short)),
    };
    let payload = bytes.get(head..head.checked_add(length)?)?;
    Some((first & 0x0f, payload, head + length))
}
