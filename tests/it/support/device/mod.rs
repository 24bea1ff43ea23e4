//! A model client of the device socket: it does what a good client does, and records violations of the server.
//!
//! It keeps a view of every room, resumes after each reconnect, retries unacknowledged chats under their old
//! `client_id`, and counts unread chats. `device_watch` checks the frames of each socket, `device_checker` the final
//! state.

mod incoming;
mod stats;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::account::Person;
use crate::support::checker::Acked;
use crate::support::device_socket::{DeviceSocket, Way, cursors, send};
use crate::support::device_view::RoomView;
use crate::support::device_watch::Watch;
use crate::support::frames::Received;
use crate::support::instance_ports::InstancePorts;

pub use stats::Stats;

const CONNECT_WAIT: Duration = Duration::from_secs(10);

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
    /// The newest chat of the room that this device had seen: this chat must come after it.
    after: i64,
    /// The `ref` under which it was sent on this socket.
    reference: Option<i64>,
    tries: usize,
    not_before: Instant,
}

enum Request {
    Send,
    /// An edit or a deletion of this chat.
    Change(i64),
    Resume(BTreeSet<i64>),
}

pub struct Device {
    pub name: String,
    pub person: Person,
    ports: InstancePorts,
    /// How it signs in the next time.
    pub way: Way,
    /// How many rooms it resumes in one frame.
    pub resumed_at_once: usize,
    /// The database has outages, in which no device can sign in.
    pub outages: bool,
    /// Sign-ins may end: it signs in again instead of giving up.
    pub signs_in_again: bool,
    /// The epoch of the cursors.
    pub epoch: String,
    /// Until all rooms are listed: the epoch before the present one.
    former_epoch: Option<String>,
    socket: Option<DeviceSocket>,
    phase: Phase,
    /// The versions in `ready` and `chatrooms` of this socket.
    listed: BTreeMap<i64, i64>,
    resuming: BTreeSet<i64>,
    watch: Watch,
    pub rooms: BTreeMap<i64, RoomView>,
    outbox: VecDeque<Pending>,
    requests: BTreeMap<i64, Request>,
    refs: i64,
    sent: u64,
    pub acked: Vec<Acked>,
    /// The last presence event of each other chatter.
    pub online: BTreeMap<i64, bool>,
    violations: Vec<String>,
    pub stats: Stats,
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
            signs_in_again: false,
            epoch: String::new(),
            former_epoch: None,
            socket: None,
            phase: Phase::Away,
            listed: BTreeMap::new(),
            resuming: BTreeSet::new(),
            watch: Watch::default(),
            rooms: BTreeMap::new(),
            outbox: VecDeque::new(),
            requests: BTreeMap::new(),
            ports,
            refs: 0,
            sent: 0,
            acked: Vec::new(),
            online: BTreeMap::new(),
            violations: Vec::new(),
            stats: Stats::default(),
        }
    }

    /// Opens a new socket; whether that worked. The rest happens in `turn`.
    pub async fn connect(&mut self) -> bool {
        self.hang_up();
        let opened = DeviceSocket::connect(self.ports.pick(), &self.person.token, self.way);
        let Ok(Ok(socket)) = tokio::time::timeout(CONNECT_WAIT, opened).await else {
            if self.signs_in_again
                && let Some(person) = self.person.try_sign_in_again().await
            {
                self.person = person;
            }
            return false;
        };
        self.socket = Some(socket);
        self.phase = Phase::Listing;
        self.stats.sockets += 1;
        true
    }

    /// Drops the socket without closing it.
    pub fn hang_up(&mut self) {
        self.socket = None;
        self.phase = Phase::Away;
        let received = std::mem::take(&mut self.watch).violations;
        let socket = self.stats.sockets;
        self.violations.extend(received.into_iter().map(|wrong| format!("socket {socket}: {wrong}")));
        self.listed.clear();
        self.resuming.clear();
        self.requests.clear();
        self.outbox.iter_mut().for_each(|pending| pending.reference = None);
    }

    pub fn is_connected(&self) -> bool {
        self.socket.is_some()
    }

    /// Signed in, all rooms listed and resumed, and nothing in flight.
    pub fn is_settled(&self) -> bool {
        self.phase == Phase::Live && self.resuming.is_empty() && self.outbox.is_empty() && self.requests.is_empty()
    }

    /// How many chats wait for their acknowledgement.
    pub fn pending(&self) -> usize {
        self.outbox.len()
    }

    /// How many requests are not answered.
    pub fn in_flight(&self) -> usize {
        self.requests.len()
    }

    /// The violations of the server so far.
    pub fn violations(&self) -> Vec<String> {
        let all = self.violations.iter().chain(&self.watch.violations);
        all.map(|wrong| format!("{}: {wrong}", self.name)).collect()
    }

    /// Receives one frame, or waits this long for one; whether one arrived.
    pub async fn turn(&mut self, within: Duration) -> bool {
        self.flush();
        let Some(socket) = &mut self.socket else { return false };
        let received = socket.receive(within).await;
        match received {
            Received::Text(frame) => {
                let largest = socket.largest();
                self.watch.saw(&frame, largest);
                self.take(&frame);
            }
            Received::Closed => self.closed(),
            Received::Nothing => return false,
        }
        self.requery_unread().await;
        true
    }

    fn closed(&mut self) {
        let code = self.socket.as_ref().and_then(DeviceSocket::close_code);
        match code {
            None | Some(1001 | 1006 | 4508) => {}
            Some(4503) if self.outages => self.stats.later += 1,
            Some(4401) if self.signs_in_again => self.stats.ended += 1,
            Some(code) => self.violations.push(format!("closed with {code}")),
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

    /// Edits an own chat; not retried.
    pub fn edit(&mut self, chat: i64, content: &str) {
        self.change(chat, json!({"type": "edit", "chat_id": chat, "content": content}));
    }

    /// Deletes an own chat; not retried.
    pub fn delete(&mut self, chat: i64) {
        self.change(chat, json!({"type": "delete", "chat_id": chat}));
    }

    fn change(&mut self, chat: i64, frame: Value) {
        if self.phase == Phase::Live {
            self.ask(frame, Request::Change(chat));
        }
    }

    /// Sends a receipt.
    pub fn receipt(&self, room: i64, delivered_seq: i64, read_seq: i64) {
        let body = json!({
            "type": "receipt", "chatroom_id": room, "delivered_seq": delivered_seq, "read_seq": read_seq
        });
        if let (Phase::Live, Some(socket)) = (self.phase, &self.socket) {
            socket.send_json(&body);
        }
    }

    /// Resumes a room from the version of its view, needed or not.
    pub fn resume_again(&mut self, room: i64) {
        if self.phase == Phase::Live && !self.resuming.contains(&room) {
            self.resume(&[room]);
        }
    }

    fn ask(&mut self, mut frame: Value, what: Request) -> i64 {
        self.refs += 1;
        frame["ref"] = json!(self.refs);
        if let Some(socket) = &self.socket {
            socket.send_json(&frame);
            self.requests.insert(self.refs, what);
        }
        self.refs
    }

    /// Sends the chats that wait.
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
            self.stats.resent += usize::from(pending.tries > 0);
            pending.tries += 1;
            let frame = send(pending.room, &pending.client_id, &pending.content);
            let reference = self.ask(frame, Request::Send);
            self.outbox[at].reference = Some(reference);
        }
    }

    fn resume(&mut self, rooms: &[i64]) {
        for part in rooms.chunks(self.resumed_at_once.clamp(1, 500)) {
            let from: Vec<_> = part.iter().map(|room| (*room, self.rooms.get(room).map_or(0, |v| v.cursor))).collect();
            let epoch = self.former_epoch.as_ref().unwrap_or(&self.epoch);
            let frame = json!({"type": "resume", "chatrooms": cursors(&from), "epoch": epoch});
            let reference = self.ask(frame, Request::Resume(part.iter().copied().collect()));
            self.watch.asked(reference, &from.into_iter().collect());
            self.resuming.extend(part);
        }
    }
}
