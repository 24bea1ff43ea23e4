//! A client without a socket: it reads `changes` and watermarks from any instance.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use reqwest::Method;
use serde_json::Value;

use crate::support::Person;
use crate::support::device_view::number;
use crate::support::wait::s;

/// A client without a socket that reads `changes` and watermarks from any instance.
pub struct Follower {
    pub person: Person,
    pub room: i64,
    pub version: i64,
    /// By `seq`: the version, and the content until it is deleted.
    pub chats: BTreeMap<i64, (i64, Option<String>)>,
    pub marks: BTreeMap<String, (i64, i64)>,
}

impl Follower {
    pub fn new(person: &Person, room: i64) -> Self {
        Self { person: person.clone(), room, version: 0, chats: BTreeMap::new(), marks: BTreeMap::new() }
    }

    pub async fn follows(mut self, stop: Arc<AtomicBool>) -> Self {
        while !stop.load(Ordering::Relaxed) {
            self.polls().await;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        self
    }

    async fn reads(&self, path: &str) -> Option<Value> {
        let answer = self.person.try_request(Method::GET, path, None, s(4)).await?;
        assert!(matches!(answer.status, 200 | 503), "I9: {path} was answered {}: {}", answer.status, answer.text);
        (answer.status == 200).then_some(answer.json)
    }

    /// Reads one page; whether it held nothing new.
    async fn polls(&mut self) -> bool {
        let path = format!("/api/chatrooms/{}/changes?since={}&limit=100", self.room, self.version);
        let Some(page) = self.reads(&path).await else { return false };
        let before = self.version;
        self.applies(&page);
        let path = format!("/api/chatrooms/{}", self.room);
        if let Some(room) = self.reads(&path).await {
            self.marks_move_forward(&room);
        }
        before == self.version
    }

    fn applies(&mut self, page: &Value) {
        for row in page["changes"].as_array().into_iter().flatten() {
            let (seq, version) = (number(row, "seq"), number(row, "version"));
            assert!(version > self.version, "I4: version {version} came after {}", self.version);
            self.version = version;
            let known = self.chats.insert(seq, (version, row["content"].as_str().map(str::to_owned)));
            assert!(known.is_none_or(|(before, _)| before < version), "I4: chat {seq} went back");
        }
        let head = number(page, "version");
        assert!(head >= self.version, "I4: the head {head} is behind {}", self.version);
        self.version = head;
    }

    fn marks_move_forward(&mut self, room: &Value) {
        for (who, marks) in room["receipts"].as_object().into_iter().flatten() {
            let marks = (number(marks, "delivered_seq"), number(marks, "read_seq"));
            let before = self.marks.insert(who.clone(), marks).unwrap_or_default();
            let forward = before.0 <= marks.0 && before.1 <= marks.1 && marks.1 <= marks.0;
            assert!(forward, "watermarks of {who} went from {before:?} to {marks:?}");
        }
    }

    /// Checks at the end that the client has exactly what is stored.
    pub async fn has_all(mut self, server: &crate::support::TestServer) {
        while !self.polls().await {}
        let rows = server.dump().await.chats(self.room).await;
        let stored: BTreeMap<_, _> = rows
            .into_iter()
            .map(|row| (row.seq, (row.version, row.delete_time.is_none().then_some(row.content))))
            .collect();
        assert_eq!(self.chats, stored, "I4, I5: `changes` of room {} is not what is stored", self.room);
    }
}
