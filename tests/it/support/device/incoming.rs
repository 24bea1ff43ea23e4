//! What a device does with each frame of the server.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::Value;

use super::{Device, Phase, Request};
use crate::support::checker::Acked;
use crate::support::device_view::{Counted, Outcome, RoomView, number};

const ANSWER_WAIT: Duration = Duration::from_secs(5);
const RETRY_PAUSE: Duration = Duration::from_millis(100);

impl Device {
    pub(super) fn take(&mut self, frame: &Value) {
        match frame["type"].as_str().unwrap_or_default() {
            "ready" | "chatrooms" => self.list(frame),
            "chat" | "chat_edited" => self.live(number(&frame["chat"], "chatroom_id"), frame),
            "chat_deleted" => self.live(number(frame, "chatroom_id"), frame),
            "changes" => self.page(frame),
            "reset" => {
                self.stats.resets += 1;
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
        if let Some(epoch) = frame["epoch"].as_str().filter(|epoch| *epoch != self.epoch) {
            self.begin_epoch(epoch);
        }
        for room in frame["chatrooms"].as_array().into_iter().flatten() {
            self.listed.insert(number(room, "id"), number(room, "version"));
            self.note_room(room);
        }
        if frame["has_more"] == true {
            return;
        }
        self.phase = Phase::Live;
        let known = self.rooms.keys().filter(|id| !self.listed.contains_key(id));
        let is_new_epoch = self.former_epoch.is_some();
        let differs = |id: &i64, version: &i64| is_new_epoch || self.rooms[id].cursor != *version;
        let differ = self.listed.iter().filter(|(id, version)| differs(id, version)).map(|(id, _)| id);
        let rooms: Vec<_> = known.chain(differ).copied().collect();
        self.resume(&rooms);
        self.former_epoch = None;
        self.flush();
    }

    /// Keeps nothing of the rooms but the cursors, with which it asks for them anew.
    fn begin_epoch(&mut self, epoch: &str) {
        let former = std::mem::replace(&mut self.epoch, epoch.to_owned());
        if former.is_empty() {
            return;
        }
        for view in self.rooms.values_mut() {
            let cursor = view.cursor;
            *view = RoomView::new(self.person.id);
            view.cursor = cursor;
        }
        self.outbox.iter_mut().for_each(|pending| pending.after = 0);
        self.former_epoch = Some(former);
        self.stats.epochs += 1;
    }

    /// Takes the counts of a room from any frame or answer.
    fn note_room(&mut self, room: &Value) {
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
            self.violations.push(format!("{counted:?} of room {id} contradicts what was counted before: {view:?}"));
        }
    }

    fn live(&mut self, room: i64, frame: &Value) {
        self.stats.live += 1;
        let Some(view) = self.rooms.get_mut(&room) else { return };
        match view.live(frame) {
            Outcome::Applied => {}
            Outcome::Old => self.stats.passed_over += 1,
            // The running resume brings this along.
            Outcome::Gap if self.resuming.contains(&room) => self.stats.passed_over += 1,
            Outcome::Gap => self.resume(&[room]),
        }
    }

    fn page(&mut self, frame: &Value) {
        self.stats.pages += 1;
        let room = number(frame, "chatroom_id");
        let Some(view) = self.rooms.get_mut(&room) else { return };
        if view.page(frame) == Outcome::Gap && !self.resuming.contains(&room) {
            self.resume(&[room]);
        }
    }

    fn resumed(&mut self, frame: &Value) {
        let request = frame["ref"].as_i64().and_then(|reference| self.requests.remove(&reference));
        if let Some(Request::Resume(rooms)) = request {
            self.resuming.retain(|room| !rooms.contains(room));
        }
    }

    fn acknowledged(&mut self, frame: &Value) {
        let reference = frame["ref"].as_i64().unwrap_or_default();
        let chat = &frame["chat"];
        match self.requests.remove(&reference) {
            Some(Request::Change(id)) if chat["id"] == id => {}
            Some(Request::Send) => {
                let Some(at) = self.outbox.iter().position(|p| p.reference == Some(reference)) else { return };
                let Some(sent) = self.outbox.remove(at) else { return };
                let same = chat["content"] == sent.content || !chat["edit_time"].is_null() || chat["deleted"] == true;
                if chat["client_id"] != sent.client_id || chat["chatroom_id"] != sent.room || !same {
                    self.violations.push(format!("{} was acknowledged with another chat: {frame}", sent.client_id));
                }
                if number(chat, "seq") <= sent.after {
                    self.violations.push(format!("sent after {} was seen, but stored before: {frame}", sent.after));
                }
                self.acked.push(Acked::from_chat(chat, 0, &sent.client_id, &sent.content));
            }
            _ => self.violations.push(format!("an answer without a request: {frame}")),
        }
    }

    fn refused(&mut self, frame: &Value) {
        let code = frame["problem"]["code"].as_str().unwrap_or_default();
        let later = matches!(code, "busy" | "unavailable" | "rate_limited" | "draining");
        let reference = frame["ref"].as_i64().unwrap_or_default();
        self.stats.later += usize::from(later);
        match self.requests.remove(&reference) {
            Some(Request::Send) if later => {
                let pending = self.outbox.iter_mut().find(|p| p.reference == Some(reference));
                if let Some(pending) = pending {
                    (pending.reference, pending.not_before) = (None, Instant::now() + RETRY_PAUSE);
                }
            }
            // A receipt, which has no `ref`: the next receipt replaces it.
            None if later && self.outages && frame["ref"].is_null() => {}
            // Another device of the same person may have deleted it.
            Some(Request::Change(_)) if later || code == "not_found" => {}
            Some(Request::Resume(rooms)) if later => {
                self.resuming.retain(|room| !rooms.contains(room));
                self.resume(&rooms.into_iter().collect::<Vec<_>>());
            }
            _ => self.violations.push(format!("refused: {frame}")),
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
            // The database was down when the server should have counted.
            return view.uncounted();
        }
        let (version, last_seq) = (number(frame, "version"), number(frame, "last_seq"));
        let counted = Counted { version, last_seq, read_seq, unread: number(frame, "unread_count") };
        if !view.count(counted) {
            self.violations.push(format!("{frame} contradicts what was counted before: {view:?}"));
        }
    }

    fn created(&mut self, room: &Value) {
        let id = number(room, "id");
        if self.rooms.contains_key(&id) {
            return;
        }
        self.note_room(room);
        if number(room, "version") > 0 {
            self.resume(&[id]);
        }
    }

    fn deleted(&mut self, room: i64) {
        self.rooms.remove(&room);
        self.resuming.remove(&room);
        self.outbox.retain(|pending| pending.room != room);
    }

    /// After the deletion of a chat that was never seen, only the server knows whether it was unread.
    pub(super) async fn requery_unread(&mut self) {
        let doubtful: Vec<_> = self.rooms.iter().filter(|(_, view)| view.needs_requery()).map(|(id, _)| *id).collect();
        for room in doubtful {
            self.stats.recounts += 1;
            let path = format!("/api/chatrooms/{room}");
            let answer = self.person.try_request(Method::GET, &path, None, ANSWER_WAIT).await;
            if let Some(answer) = answer.filter(|answer| answer.status == 200) {
                self.note_room(&answer.json);
            }
        }
    }
}
