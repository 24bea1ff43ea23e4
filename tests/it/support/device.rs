//! A model client of the device socket: does what a good client does, and notes what the server does wrong.
//!
//! It keeps a view of every room, resumes after each reconnect, sends what was not acknowledged again under its old
//! `client_id`, and counts what is unread. `device_watch` judges each socket, `device_checker` the end of it all.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};

use super::account::Person;
use super::checker::Acked;
use super::device_socket::{DeviceSocket, Way, cursors, send};
use super::device_view::{Counted, Outcome, RoomView, number};
use super::device_watch::Watch;
use super::doors::Doors;
use super::frames::Came;

const CONNECT_WAIT: Duration = Duration::from_secs(10);
const ANSWER_WAIT: Duration = Duration::from_secs(5);
const RETRY_PAUSE: Duration = Duration::from_millis(100);

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
    doors: Doors,
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
    pub fn new(person: &Person, doors: impl Into<Doors>, name: &str) -> Self {
        let doors = doors.into();
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
            watch: Watch::new(doors.is_several()),
            rooms: BTreeMap::new(),
            outbox: VecDeque::new(),
            asked: BTreeMap::new(),
            doors,
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
        let opened = DeviceSocket::connect(self.doors.pick(), &self.person.token, self.way);
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

    fn take(&mut self, frame: &Value) {
        match frame["type"].as_str().unwrap_or_default() {
            "ready" | "chatrooms" => self.list(frame),
            "chat" | "chat_edited" => self.live(number(&frame["chat"], "chatroom_id"), frame),
            "chat_deleted" => self.live(number(frame, "chatroom_id"), frame),
            "changes" => self.page(frame),
            "reset" => {
                self.tally.resets += 1;
                let me = self.person.id;
                self.rooms.entry(number(frame, "chatroom_id")).or_insert_with(|| RoomView::new(me)).reset(frame);
            }
            "resumed" => self.resumed(frame),
            "ack" => self.acknowledged(frame),
            "error" => self.refused(frame),
            "receipt" => self.marked(frame),
            "chatroom_created" => self.created(&frame["chatroom"]),
            "chatroom_deleted" => self.deleted(number(frame, "chatroom_id")),
            "presence" => {
                self.online.insert(number(frame, "chatter_id"), frame["online"] == true);
            }
            _ => {}
        }
    }

    fn list(&mut self, frame: &Value) {
        for room in frame["chatrooms"].as_array().into_iter().flatten() {
            self.listed.insert(number(room, "id"), number(room, "version"));
            self.told(room);
        }
        if frame["has_more"] == true {
            return;
        }
        self.phase = Phase::Live;
        let known = self.rooms.keys().filter(|id| !self.listed.contains_key(id));
        let differ = self.listed.iter().filter(|(id, version)| self.rooms[id].cursor != **version).map(|(id, _)| id);
        let rooms: Vec<_> = known.chain(differ).copied().collect();
        self.resume(&rooms);
        self.flush();
    }

    /// A room with its counts, however it comes.
    fn told(&mut self, room: &Value) {
        let (id, me) = (number(room, "id"), self.person.id);
        let view = self.rooms.entry(id).or_insert_with(|| RoomView::new(me));
        for (chatter, marks) in room["receipts"].as_object().into_iter().flatten() {
            let marks = (number(marks, "delivered_seq"), number(marks, "read_seq"));
            view.marks.insert(chatter.parse().expect("an id"), marks);
        }
        let counted = Counted {
            version: number(room, "version"),
            last_seq: number(room, "last_seq"),
            read_seq: view.marks.get(&me).map_or(0, |marks| marks.1),
            unread: number(room, "unread_count"),
        };
        if !view.count(counted) {
            self.wrongs.push(format!("{counted:?} of room {id} contradicts what was counted before: {view:?}"));
        }
    }

    fn live(&mut self, room: i64, frame: &Value) {
        self.tally.live += 1;
        let Some(view) = self.rooms.get_mut(&room) else { return };
        match view.live(frame) {
            Outcome::Applied => {}
            Outcome::Old => self.tally.passed_over += 1,
            // What is being resumed brings this along.
            Outcome::Gap if self.resuming.contains(&room) => self.tally.passed_over += 1,
            Outcome::Gap => self.resume(&[room]),
        }
    }

    fn page(&mut self, frame: &Value) {
        self.tally.pages += 1;
        let room = number(frame, "chatroom_id");
        let Some(view) = self.rooms.get_mut(&room) else { return };
        if view.page(frame) == Outcome::Gap && !self.resuming.contains(&room) {
            self.resume(&[room]);
        }
    }

    fn resumed(&mut self, frame: &Value) {
        let asked = frame["ref"].as_i64().and_then(|reference| self.asked.remove(&reference));
        if let Some(Asked::Resume(rooms)) = asked {
            self.resuming.retain(|room| !rooms.contains(room));
        }
    }

    fn acknowledged(&mut self, frame: &Value) {
        let reference = frame["ref"].as_i64().unwrap_or_default();
        let chat = &frame["chat"];
        match self.asked.remove(&reference) {
            Some(Asked::Change(id)) if chat["id"] == id => {}
            Some(Asked::Send) => {
                let Some(at) = self.outbox.iter().position(|p| p.reference == Some(reference)) else { return };
                let Some(sent) = self.outbox.remove(at) else { return };
                let same = chat["content"] == sent.content || !chat["edit_time"].is_null() || chat["deleted"] == true;
                if chat["client_id"] != sent.client_id || chat["chatroom_id"] != sent.room || !same {
                    self.wrongs.push(format!("{} was acknowledged with another chat: {frame}", sent.client_id));
                }
                if number(chat, "seq") <= sent.after {
                    self.wrongs.push(format!("sent after {} was seen, but stored before: {frame}", sent.after));
                }
                self.acked.push(Acked::from_chat(chat, 0, &sent.client_id, &sent.content));
            }
            _ => self.wrongs.push(format!("nobody asked for this: {frame}")),
        }
    }

    fn refused(&mut self, frame: &Value) {
        let code = frame["problem"]["code"].as_str().unwrap_or_default();
        let later = matches!(code, "busy" | "unavailable" | "rate_limited" | "draining");
        let reference = frame["ref"].as_i64().unwrap_or_default();
        self.tally.later += usize::from(later);
        match self.asked.remove(&reference) {
            Some(Asked::Send) if later => {
                let pending = self.outbox.iter_mut().find(|p| p.reference == Some(reference));
                if let Some(pending) = pending {
                    (pending.reference, pending.not_before) = (None, Instant::now() + RETRY_PAUSE);
                }
            }
            // Another device of the same person may have deleted it.
            Some(Asked::Change(_)) if later || code == "not_found" => {}
            Some(Asked::Resume(rooms)) if later => {
                self.resuming.retain(|room| !rooms.contains(room));
                self.resume(&rooms.into_iter().collect::<Vec<_>>());
            }
            _ => self.wrongs.push(format!("refused: {frame}")),
        }
    }

    fn marked(&mut self, frame: &Value) {
        let (room, who, me) = (number(frame, "chatroom_id"), number(frame, "chatter_id"), self.person.id);
        let Some(view) = self.rooms.get_mut(&room) else { return };
        let read_seq = number(frame, "read_seq");
        let marks = view.marks.entry(who).or_default();
        *marks = (marks.0.max(number(frame, "delivered_seq")), marks.1.max(read_seq));
        if who != me {
            return;
        }
        if frame.get("version").is_none() {
            // The database was away when it should have been counted.
            return view.uncounted();
        }
        let (version, last_seq) = (number(frame, "version"), number(frame, "last_seq"));
        let counted = Counted { version, last_seq, read_seq, unread: number(frame, "unread_count") };
        if !view.count(counted) {
            self.wrongs.push(format!("{frame} contradicts what was counted before: {view:?}"));
        }
    }

    fn created(&mut self, room: &Value) {
        let id = number(room, "id");
        if self.rooms.contains_key(&id) {
            return;
        }
        self.told(room);
        if number(room, "version") > 0 {
            self.resume(&[id]);
        }
    }

    fn deleted(&mut self, room: i64) {
        self.rooms.remove(&room);
        self.resuming.remove(&room);
        self.outbox.retain(|pending| pending.room != room);
    }

    /// A deletion of something never seen: only the server knows whether that was unread.
    async fn ask_where_in_doubt(&mut self) {
        let doubtful: Vec<_> = self.rooms.iter().filter(|(_, view)| view.must_ask()).map(|(id, _)| *id).collect();
        for room in doubtful {
            self.tally.recounts += 1;
            let path = format!("/api/chatrooms/{room}");
            let answer = self.person.try_request(Method::GET, &path, None, ANSWER_WAIT).await;
            if let Some(answer) = answer.filter(|answer| answer.status == 200) {
                self.told(&answer.json);
            }
        }
    }
}
