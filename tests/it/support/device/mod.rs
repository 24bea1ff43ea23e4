//! A model client of the device socket: does what a good client does, and notes what the server does wrong.
//!
//! It keeps a view of every room, resumes after each reconnect, sends what was not acknowledged again under its old
//! `client_id`, and counts what is unread. `device_watch` judges each socket, `device_checker` the end of it all.

mod incoming;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::account::Person;
use crate::support::checker::Acked;
use crate::support::device_socket::{DeviceSocket, Way, cursors, send};
use crate::support::device_view::RoomView;
use crate::support::device_watch::Watch;
use crate::support::frames::Came;
use crate::support::instance_ports::InstancePorts;

const CONNECT_WAIT: Duration = Duration::from_secs(10);

/// What happened to it, to see that a test did what it was meant to.
#[derive(Debug, Default)]
pub struct Tally {
    pub sockets: usize,
    pub live: usize,
    pub passed_over: usize,
    pub pages: usize,
    pub resets: usize,
    pub sent_again: usize,
    pub recounts: usize,
    /// Refusals that say "later".
    pub later: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Away,
    /// Until the last room is listed.
    Listing,
    Live,
}

/// A chat that is not acknowledged.
struct Pending {
    client_id: String,
    room: i64,
    content: String,
    /// The newest chat of the room that this device had seen: its own must come after it.
    after: i64,
    /// It was sent on this socket, under this `ref`.
    reference: Option<i64>,
    tries: usize,
    not_before: Instant,
}

enum Asked {
    Send,
    /// An edit or a deletion of this chat.
    Change(i64),
    Resume(BTreeSet<i64>),
}

pub struct Device {
    pub name: String,
    pub person: Person,
    ports: InstancePorts,
    /// How it signs in next time.
    pub way: Way,
    /// How many rooms it resumes in one frame.
    pub resumed_at_once: usize,
    /// The database is away now and then: nobody can sign in then.
    pub outages: bool,
    socket: Option<DeviceSocket>,
    phase: Phase,
    /// The versions that this socket's `ready` and `chatrooms` told.
    listed: BTreeMap<i64, i64>,
    resuming: BTreeSet<i64>,
    watch: Watch,
    pub rooms: BTreeMap<i64, RoomView>,
    outbox: VecDeque<Pending>,
    asked: BTreeMap<i64, Asked>,
    refs: i64,
    sent: u64,
    pub acked: Vec<Acked>,
    /// Who of the others is online, as far as it was told.
    pub online: BTreeMap<i64, bool>,
    wrongs: Vec<String>,
    pub tally: Tally,
}

impl Device {
    /// A device of this person that connects to this port, or to any of these; `name` begins its `client_id`s.
    pub fn new(person: &Person, ports: impl Into<InstancePorts>, name: &str) -> Self {
        let ports = ports.into();
        Self {
            name: name.to_owned(),
            person: person.clone(),
            way: Way::Header,
            resumed_at_once: 500,
            outages: false,
            socket: None,
            phase: Phase::Away,
            listed: BTreeMap::new(),
            resuming: BTreeSet::new(),
            watch: Watch::new(ports.is_several()),
            rooms: BTreeMap::new(),
            outbox: VecDeque::new(),
            asked: BTreeMap::new(),
            ports,
            refs: 0,
            sent: 0,
            acked: Vec::new(),
            online: BTreeMap::new(),
            wrongs: Vec::new(),
            tally: Tally::default(),
        }
    }

    /// It reaches one of several instances, through something that hides it.
    pub fn reaches_several(&mut self) {
        self.watch.several = true;
    }

    /// Opens a new socket; whether that worked. The rest happens in `turn`.
    pub async fn connect(&mut self) -> bool {
        self.hang_up();
        let opened = DeviceSocket::connect(self.ports.pick(), &self.person.token, self.way);
        let Ok(Ok(socket)) = tokio::time::timeout(CONNECT_WAIT, opened).await else { return false };
        self.socket = Some(socket);
        self.phase = Phase::Listing;
        self.tally.sockets += 1;
        true
    }

    /// Lets the socket go without a word.
    pub fn hang_up(&mut self) {
        self.socket = None;
        self.phase = Phase::Away;
        let several = self.watch.several;
        let told = std::mem::replace(&mut self.watch, Watch::new(several)).wrongs;
        let socket = self.tally.sockets;
        self.wrongs.extend(told.into_iter().map(|wrong| format!("socket {socket}: {wrong}")));
        self.listed.clear();
        self.resuming.clear();
        self.asked.clear();
        self.outbox.iter_mut().for_each(|pending| pending.reference = None);
    }

    pub fn is_connected(&self) -> bool {
        self.socket.is_some()
    }

    /// Signed in, told of all rooms, and all of them resumed.
    pub fn is_settled(&self) -> bool {
        self.phase == Phase::Live && self.resuming.is_empty() && self.outbox.is_empty() && self.asked.is_empty()
    }

    /// How many chats wait for their acknowledgement.
    pub fn pending(&self) -> usize {
        self.outbox.len()
    }

    /// How much of what it asked for is not answered.
    pub fn in_flight(&self) -> usize {
        self.asked.len()
    }

    /// What the server did wrong so far.
    pub fn wrongs(&self) -> Vec<String> {
        let all = self.wrongs.iter().chain(&self.watch.wrongs);
        all.map(|wrong| format!("{}: {wrong}", self.name)).collect()
    }

    /// Takes in one frame, or waits this long for one; whether something came.
    pub async fn turn(&mut self, within: Duration) -> bool {
        self.flush();
        let Some(socket) = &mut self.socket else { return false };
        let came = socket.came(within).await;
        match came {
            Came::Text(frame) => {
                let largest = socket.largest();
                self.watch.saw(&frame, largest);
                self.take(&frame);
            }
            Came::Closed => self.closed(),
            Came::Nothing => return false,
        }
        self.ask_where_in_doubt().await;
        true
    }

    fn closed(&mut self) {
        let code = self.socket.as_ref().and_then(DeviceSocket::close_code);
        match code {
            None | Some(1001 | 1006 | 4508) => {}
            Some(4503) if self.outages => self.tally.later += 1,
            Some(code) => self.wrongs.push(format!("closed with {code}")),
        }
        self.hang_up();
    }

    /// Sends a chat, now or as soon as it can; its `client_id`.
    pub fn send(&mut self, room: i64, content: &str) -> String {
        self.sent += 1;
        let client_id = format!("{}-{}", self.name, self.sent);
        let after = self.rooms.get(&room).map_or(0, RoomView::last_seq);
        let content = content.to_owned();
        let not_before = Instant::now();
        let id = client_id.clone();
        self.outbox.push_back(Pending { client_id, room, content, after, reference: None, tries: 0, not_before });
        self.flush();
        id
    }

    /// Edits a chat of one's own; not tried again.
    pub fn edit(&mut self, chat: i64, content: &str) {
        self.change(chat, json!({"type": "edit", "chat_id": chat, "content": content}));
    }

    /// Deletes a chat of one's own; not tried again.
    pub fn delete(&mut self, chat: i64) {
        self.change(chat, json!({"type": "delete", "chat_id": chat}));
    }

    fn change(&mut self, chat: i64, frame: Value) {
        if self.phase == Phase::Live {
            self.ask(frame, Asked::Change(chat));
        }
    }

    /// Says how far this device has got in a room.
    pub fn receipt(&self, room: i64, delivered_seq: i64, read_seq: i64) {
        let body = json!({
            "type": "receipt", "chatroom_id": room, "delivered_seq": delivered_seq, "read_seq": read_seq
        });
        if let (Phase::Live, Some(socket)) = (self.phase, &self.socket) {
            socket.send_json(&body);
        }
    }

    /// Resumes a room from where its view stands, needed or not.
    pub fn resume_again(&mut self, room: i64) {
        if self.phase == Phase::Live && !self.resuming.contains(&room) {
            self.resume(&[room]);
        }
    }

    fn ask(&mut self, mut frame: Value, what: Asked) -> i64 {
        self.refs += 1;
        frame["ref"] = json!(self.refs);
        if let Some(socket) = &self.socket {
            socket.send_json(&frame);
            self.asked.insert(self.refs, what);
        }
        self.refs
    }

    /// Sends what waits to be sent.
    fn flush(&mut self) {
        if self.phase != Phase::Live {
            return;
        }
        let now = Instant::now();
        for at in 0..self.outbox.len() {
            let pending = &mut self.outbox[at];
            if pending.reference.is_some() || pending.not_before > now {
                continue;
            }
            self.tally.sent_again += usize::from(pending.tries > 0);
            pending.tries += 1;
            let frame = send(pending.room, &pending.client_id, &pending.content);
            let reference = self.ask(frame, Asked::Send);
            self.outbox[at].reference = Some(reference);
        }
    }

    fn resume(&mut self, rooms: &[i64]) {
        for part in rooms.chunks(self.resumed_at_once.clamp(1, 500)) {
            let from: Vec<_> = part.iter().map(|room| (*room, self.rooms.get(room).map_or(0, |v| v.cursor))).collect();
            let frame = json!({"type": "resume", "chatrooms": cursors(&from)});
            let reference = self.ask(frame, Asked::Resume(part.iter().copied().collect()));
            self.watch.asked(reference, &from.into_iter().collect());
            self.resuming.extend(part);
        }
    }
}
