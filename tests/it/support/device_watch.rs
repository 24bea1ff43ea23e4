//! Watches one device socket and records violations of the protocol.
//!
//! The protocol: `ready` comes first; in each room the versions of live events and changes are consecutive, from the
//! listed version on; watermarks only move forward; every room of a `resume` is answered before `resumed`; no frame is
//! too large.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::device_view::number;

const FRAME_BYTES_MAX: usize = 131_072;

#[derive(Debug, Default)]
struct Line {
    /// The version up to which this socket has received everything.
    at: i64,
    /// The newest chat's `seq`; unknown after a reset.
    last_seq: Option<i64>,
    /// Inside the pages that answer a `resume`: where the next one begins.
    paging: Option<i64>,
    marks: BTreeMap<i64, (i64, i64)>,
}

impl Line {
    fn new(at: i64, last_seq: i64) -> Self {
        Self { at, last_seq: Some(last_seq), ..Self::default() }
    }
}

#[derive(Debug, Default)]
pub struct Watch {
    ready: bool,
    listed: bool,
    lines: BTreeMap<i64, Line>,
    /// Per `resume`: the rooms that are not answered yet, each with its `since`.
    questions: BTreeMap<i64, BTreeMap<i64, i64>>,
    pub violations: Vec<String>,
}

impl Watch {
    /// The client resumes these rooms.
    pub fn asked(&mut self, reference: i64, rooms: &BTreeMap<i64, i64>) {
        self.questions.insert(reference, rooms.clone());
    }

    /// A frame came.
    pub fn saw(&mut self, frame: &Value, largest: usize) {
        if largest > FRAME_BYTES_MAX {
            self.violation(format!("a frame of {largest} bytes"), &Value::Null);
        }
        let kind = frame["type"].as_str().unwrap_or_default();
        if !self.ready && !matches!(kind, "ready" | "error") {
            self.violation("before ready".to_owned(), frame);
        }
        match kind {
            "ready" if self.ready => self.violation("ready twice".to_owned(), frame),
            "ready" => {
                self.ready = true;
                self.list(frame);
            }
            "chatrooms" if self.listed => self.violation("more rooms after the last".to_owned(), frame),
            "chatrooms" => self.list(frame),
            "chat" | "chat_edited" => self.live(kind, &frame["chat"], number(&frame["chat"], "chatroom_id")),
            "chat_deleted" => self.live(kind, frame, number(frame, "chatroom_id")),
            "changes" => self.changes(frame),
            "reset" => self.reset(frame),
            "receipt" => self.receipt(frame),
            "resumed" => self.resumed(frame),
            "chatroom_created" => {
                let room = &frame["chatroom"];
                let line = Line::new(number(room, "version"), number(room, "last_seq"));
                self.lines.entry(number(room, "id")).or_insert(line);
            }
            "chatroom_deleted" => {
                let room = number(frame, "chatroom_id");
                self.lines.remove(&room);
                self.answered(room, None);
            }
            "error" => self.refused(frame),
            "ack" | "pong" | "authenticated" | "typing" | "presence" => {}
            _ => self.violation("of no known type".to_owned(), frame),
        }
    }

    fn violation(&mut self, what: String, frame: &Value) {
        let text: String = frame.to_string().chars().take(300).collect();
        self.violations.push(format!("{what}: {text}"));
    }

    fn list(&mut self, frame: &Value) {
        for room in frame["chatrooms"].as_array().into_iter().flatten() {
            let id = number(room, "id");
            if self.lines.last_key_value().is_some_and(|(last, _)| *last >= id) {
                self.violation(format!("room {id} is listed out of order"), frame);
            }
            let mut line = Line::new(number(room, "version"), number(room, "last_seq"));
            for (chatter, marks) in room["receipts"].as_object().into_iter().flatten() {
                let chatter = chatter.parse().unwrap_or_default();
                line.marks.insert(chatter, (number(marks, "delivered_seq"), number(marks, "read_seq")));
            }
            self.lines.insert(id, line);
        }
        self.listed = frame["has_more"] == false;
    }

    fn live(&mut self, kind: &str, row: &Value, room: i64) {
        let Some(line) = self.lines.get_mut(&room) else {
            return self.violation(format!("{kind} of room {room}, which is not listed"), row);
        };
        let (version, seq, at) = (number(row, "version"), number(row, "seq"), line.at);
        let mut violations = Vec::new();
        if line.paging.is_some() {
            violations.push(format!("room {room}: version {version} came between the pages of a resume"));
        }
        if version <= at {
            violations.push(format!("room {room}: version {version} came again after {at}"));
        } else if version != at + 1 {
            violations.push(format!("room {room}: version {version} came right after {at}"));
        }
        let expected = line.last_seq.map(|last| last + 1);
        if kind == "chat" && expected.is_some_and(|expected| expected != seq) {
            violations.push(format!("room {room}: chat {seq} came where {expected:?} was next"));
        }
        if kind != "chat" && expected.is_some_and(|expected| seq >= expected) {
            violations.push(format!("room {room}: {kind} of chat {seq} came before the chat"));
        }
        line.at = at.max(version);
        if kind == "chat" {
            line.last_seq = Some(seq);
        }
        violations.into_iter().for_each(|what| self.violation(what, row));
    }

    fn changes(&mut self, page: &Value) {
        let room = number(page, "chatroom_id");
        let (since, version) = (number(page, "since"), number(page, "version"));
        let more = page["has_more"] == true;
        let rows = page["changes"].as_array().map(Vec::as_slice).unwrap_or_default();
        let versions: Vec<_> = rows.iter().map(|row| number(row, "version")).collect();
        let mut violations = Vec::new();
        let within = versions.iter().all(|v| *v > since && *v <= version);
        if !within || !versions.windows(2).all(|pair| pair[0] < pair[1]) {
            violations.push(format!("room {room}: the rows {versions:?} are not ascending within their page"));
        }
        if more && versions.last() != Some(&version) {
            violations
                .push(format!("room {room}: a page that is not the last ends at {version}, not with its last row"));
        }
        let asked = self.questions.values().any(|q| q.get(&room) == Some(&since));
        let Some(line) = self.lines.get_mut(&room) else {
            return self.violation(format!("changes of room {room}, which is not listed"), page);
        };
        match line.paging {
            Some(next) if next != since => {
                violations.push(format!("room {room}: a page begins at {since} where {next} is next"));
            }
            None if !asked && since > line.at => {
                violations.push(format!("room {room}: unasked changes begin at {since}, after {}", line.at));
            }
            _ => {}
        }
        let answer = asked || line.paging.is_some();
        line.paging = more.then_some(version);
        line.last_seq = line.last_seq.map(|last| rows.iter().map(|row| number(row, "seq")).fold(last, i64::max));
        if !more {
            if version < line.at {
                violations.push(format!("room {room}: changes end at {version}, but {} was received already", line.at));
            }
            line.at = line.at.max(version);
            if answer {
                self.answered(room, None);
            }
        } else if asked {
            self.answered(room, Some(since));
        }
        violations.into_iter().for_each(|what| self.violation(what, page));
    }

    /// The first question for this room is answered; with `since`, it only begins to be.
    fn answered(&mut self, room: i64, begun: Option<i64>) {
        let mut questions = self.questions.values_mut();
        let Some(question) = questions.find(|q| q.contains_key(&room)) else { return };
        match begun {
            // No page begins at -1, so it cannot be mistaken for another answer.
            Some(_) => drop(question.insert(room, -1)),
            None => drop(question.remove(&room)),
        }
    }

    fn reset(&mut self, frame: &Value) {
        let (room, version) = (number(frame, "chatroom_id"), number(frame, "version"));
        let seqs: Vec<_> = frame["chats"].as_array().into_iter().flatten().map(|chat| number(chat, "seq")).collect();
        if !seqs.windows(2).all(|pair| pair[0] < pair[1]) {
            self.violation(format!("room {room}: a reset with the chats {seqs:?}"), &Value::Null);
        }
        if frame["chats"].as_array().into_iter().flatten().any(|chat| chat["deleted"] == true) {
            self.violation(format!("room {room}: a reset with tombstones"), frame);
        }
        let Some(line) = self.lines.get_mut(&room) else {
            return self.violation(format!("reset of room {room}, which is not listed"), frame);
        };
        let at = line.at;
        (line.at, line.last_seq, line.paging) = (at.max(version), None, None);
        if version < at {
            self.violation(format!("room {room}: a reset to {version}, but {at} was received already"), &Value::Null);
        }
        self.answered(room, None);
    }

    fn receipt(&mut self, frame: &Value) {
        let room = number(frame, "chatroom_id");
        let marks = (number(frame, "delivered_seq"), number(frame, "read_seq"));
        if marks.1 > marks.0 {
            self.violation("read and not delivered".to_owned(), frame);
        }
        // A room that is created or listed next brings its watermarks along.
        let Some(line) = self.lines.get_mut(&room) else { return };
        let before = line.marks.entry(number(frame, "chatter_id")).or_insert(marks);
        // A receipt that a newer one or the list of rooms has overtaken is behind both marks.
        let (old, is_behind) = (*before, marks.0 <= before.0 && marks.1 <= before.1);
        if marks.0 >= old.0 && marks.1 >= old.1 {
            *before = marks;
        } else if !is_behind {
            self.violation(format!("marks are neither behind nor ahead of {old:?}"), frame);
        }
    }

    /// A refused `resume` is not answered, or only with its first pages.
    fn refused(&mut self, frame: &Value) {
        let question = frame["ref"].as_i64().and_then(|reference| self.questions.remove(&reference));
        for room in question.into_iter().flatten().map(|(room, _)| room) {
            if let Some(line) = self.lines.get_mut(&room) {
                line.paging = None;
            }
        }
    }

    fn resumed(&mut self, frame: &Value) {
        let open = frame["ref"].as_i64().and_then(|reference| self.questions.remove(&reference));
        match open {
            None => self.violation("an answer without a request".to_owned(), frame),
            Some(rooms) if !rooms.is_empty() => {
                let rooms: BTreeSet<_> = rooms.into_keys().collect();
                self.violation(format!("resumed, and rooms {rooms:?} were not answered"), frame);
            }
            Some(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn ready() -> Value {
        let room =
            json!({"id": 7, "version": 5, "last_seq": 4, "receipts": {"1": {"delivered_seq": 3, "read_seq": 2}}});
        json!({"type": "ready", "chatrooms": [room], "has_more": false})
    }

    fn chat(seq: i64, version: i64) -> Value {
        json!({"type": "chat", "chat": {"chatroom_id": 7, "seq": seq, "version": version}})
    }

    fn changes(since: i64, rows: &[(i64, i64)], version: i64, more: bool) -> Value {
        let rows: Vec<_> = rows.iter().map(|(seq, version)| json!({"seq": seq, "version": version})).collect();
        json!({"type": "changes", "chatroom_id": 7, "since": since, "changes": rows, "version": version, "has_more": more})
    }

    /// The number of violations after `ready`, with one room resumed from 2 by `ref` 1.
    fn violations(frames: &[Value]) -> usize {
        let mut watch = Watch::default();
        watch.saw(&ready(), 0);
        watch.asked(1, &BTreeMap::from([(7, 2)]));
        frames.iter().for_each(|frame| watch.saw(frame, 0));
        watch.violations.len()
    }

    #[test]
    fn nothing_comes_before_ready() {
        let mut watch = Watch::default();
        watch.saw(&json!({"type": "error"}), 0);
        assert!(watch.violations.is_empty());
        watch.saw(&json!({"type": "presence"}), 0);
        assert_eq!(watch.violations.len(), 1);
    }

    #[test]
    fn live_events_have_consecutive_versions() {
        assert_eq!(violations(&[chat(5, 6), chat(6, 7)]), 0);
        assert_eq!(violations(&[chat(6, 7)]), 2, "a version and a chat are skipped");
        assert_eq!(violations(&[chat(5, 6), chat(5, 6)]), 2, "doubled");
        assert_eq!(
            violations(&[json!({"type": "chat_edited", "chat": {"chatroom_id": 7, "seq": 9, "version": 6}})]),
            1
        );
        assert_eq!(violations(&[json!({"type": "chat", "chat": {"chatroom_id": 8, "seq": 1, "version": 1}})]), 1);
    }

    #[test]
    fn pages_answer_a_resume_and_events_wait_for_them() {
        let resumed = json!({"type": "resumed", "ref": 1});
        let first = changes(2, &[(3, 3), (4, 4)], 4, true);
        let last = changes(4, &[(1, 5), (5, 6)], 6, false);
        assert_eq!(violations(&[first.clone(), last.clone(), resumed.clone(), chat(6, 7)]), 0);
        assert_eq!(violations(&[chat(5, 6), first.clone(), last.clone(), resumed.clone(), chat(6, 7)]), 0);
        assert_eq!(violations(&[first.clone(), chat(5, 6), last.clone(), resumed.clone()]), 1, "not held");
        assert_eq!(violations(&[first.clone(), resumed.clone()]), 1, "a page is missing");
        assert_eq!(violations(&[first.clone(), changes(5, &[(5, 6)], 6, false), resumed.clone()]), 1, "a hole");
        assert_eq!(violations(&[changes(2, &[(4, 4), (3, 3)], 6, false), resumed.clone()]), 1, "not in order");
        assert_eq!(violations(&[changes(2, &[(3, 3)], 4, false), resumed.clone()]), 1, "less than ready listed");
        assert_eq!(violations(&[first, last, resumed, chat(5, 6)]), 2, "an event that the pages held");
    }

    #[test]
    fn unrequested_changes_continue_at_the_current_version() {
        let resumed = json!({"type": "resumed", "ref": 1});
        let answer = [changes(2, &[(3, 3)], 5, false), resumed];
        assert_eq!(violations(&[&answer[..], &[changes(5, &[(5, 8)], 9, false), chat(6, 10)]].concat()), 0);
        assert_eq!(violations(&[&answer[..], &[changes(6, &[(5, 8)], 9, false)]].concat()), 1);
    }

    #[test]
    fn watermarks_are_behind_or_ahead_of_the_known_ones() {
        let receipt = |delivered: i64, read: i64| json!({"type": "receipt", "chatroom_id": 7, "chatter_id": 1, "delivered_seq": delivered, "read_seq": read});
        assert_eq!(violations(&[receipt(4, 2), receipt(4, 4)]), 0);
        assert_eq!(violations(&[receipt(4, 5)]), 1, "read and not delivered");
        assert_eq!(violations(&[receipt(4, 4), receipt(4, 2)]), 0, "overtaken");
        assert_eq!(violations(&[receipt(5, 5), receipt(7, 4)]), 1, "neither");
    }
}
