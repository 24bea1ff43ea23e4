//! Twenty pairs that chat as people do: each notices every refusal, every lost chat, and how long everything takes.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::record::{Kind, Record};
use crate::support::secrets::{MARKER, PASSWORD};
use crate::support::wait::s;
use crate::support::{Answer, DeviceSocket, Person, TestServer};

const PAIRS: usize = 20;
/// Between the beginnings of two chats of a pair.
const CHAT_EVERY: Duration = Duration::from_millis(250);
/// Every so many chats one of the two reads a page, and signs in on a new device.
const READ_EVERY: usize = 4;
const SIGN_IN_EVERY: usize = 60;

pub struct Pairs {
    people: Vec<Person>,
    stop: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<Pair>>,
}

impl Pairs {
    /// They sign up, each at an address of their own, and begin to chat.
    pub async fn start(server: &TestServer, record: Arc<Record>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut pairs = Self { people: Vec::new(), stop: stop.clone(), tasks: Vec::new() };
        for number in 0..PAIRS {
            let mut people = Vec::new();
            for side in 0..2 {
                let api = server.api().at(&address(number, side));
                people.push(api.person(&format!("pair-{number}-{side}")).await);
            }
            let room = people[0].room_with(&people[1]).await;
            pairs.people.extend(people.iter().cloned());
            // They do not all begin at once.
            let said = number * SIGN_IN_EVERY / PAIRS;
            let pair = Pair { number, people, room, devices: Vec::new(), said, acked: Vec::new() };
            pairs.tasks.push(tokio::spawn(pair.chat(record.clone(), stop.clone())));
        }
        pairs
    }

    pub fn people(&self) -> &[Person] {
        &self.people
    }

    /// Each acknowledged chat is stored once, in order, and nothing else.
    pub async fn stop_and_verify(self, server: &TestServer) {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            let pair = task.await.expect("no panic");
            let stored = server.dump().await.chats(pair.room).await;
            let mut stored = stored.iter().map(|chat| (chat.seq, chat.content.clone()));
            for (seq, content) in &pair.acked {
                let found = stored.any(|(at, text)| at == *seq && text == *content);
                assert!(found, "pair {}: chat {seq} was acknowledged and is not stored in order", pair.number);
            }
        }
    }
}

fn address(pair: usize, side: usize) -> String {
    format!("10.{}.{pair}.1", side + 1)
}

struct Pair {
    number: usize,
    people: Vec<Person>,
    room: i64,
    /// One of each; none before the first chat and after a failure.
    devices: Vec<DeviceSocket>,
    said: usize,
    /// `seq` and content.
    acked: Vec<(i64, String)>,
}

impl Pair {
    async fn chat(mut self, record: Arc<Record>, stop: Arc<AtomicBool>) -> Self {
        tokio::time::sleep(CHAT_EVERY * self.number as u32 / PAIRS as u32).await;
        let mut turn = tokio::time::interval(CHAT_EVERY);
        turn.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while !stop.load(Ordering::Relaxed) {
            turn.tick().await;
            if let Err(panic) = AssertUnwindSafe(self.round(&record)).catch_unwind().await {
                let text = panic.downcast_ref::<String>().map_or("a panic", String::as_str);
                record.failed(format!("pair {}, chat {}: {text}", self.number, self.said));
                self.devices.clear();
                tokio::time::sleep(s(1)).await;
            }
        }
        self
    }

    async fn round(&mut self, record: &Record) {
        while self.devices.len() < 2 {
            let side = self.devices.len();
            self.devices.push(self.device(side, &self.people[side].token).await);
        }
        self.said += 1;
        let (writer, reader) = (self.said % 2, 1 - self.said % 2);
        self.says(record, writer, reader).await;
        if self.said.is_multiple_of(READ_EVERY) {
            let begun = Instant::now();
            let path = format!("/api/chatrooms/{}/chats?limit=20", self.room);
            let page = self.people[reader].get(&path).await;
            if expect(record, page, 200).is_some() {
                record.took(Kind::Read, begun);
            }
        }
        if self.said.is_multiple_of(SIGN_IN_EVERY) {
            self.signs_in(record, self.said / SIGN_IN_EVERY % 2).await;
        }
    }

    /// One of them sends a chat, which arrives as the next one of the other.
    async fn says(&mut self, record: &Record, writer: usize, reader: usize) {
        let content = format!("{MARKER} {} {}", self.number, self.said);
        let client_id = format!("{}-{}", self.number, self.said);
        let begun = Instant::now();
        let chat = if self.said.is_multiple_of(5) {
            let answer = self.people[writer].says_once(self.room, &content, &client_id).await;
            let Some(chat) = expect(record, answer, 201) else { return };
            chat
        } else {
            self.devices[writer].says(self.room, &client_id, &content).await
        };
        self.acked.push((chat["seq"].as_i64().expect("a number"), content.clone()));
        assert_eq!(self.delivered(reader).await, content);
        record.took(Kind::Chat, begun);
        assert_eq!(self.delivered(writer).await, content);
    }

    /// The content of the next chat of their room; strangers may chat with them meanwhile.
    async fn delivered(&mut self, side: usize) -> String {
        loop {
            let device = &mut self.devices[side];
            let frame = device.next_event(s(20)).await;
            let frame = frame.unwrap_or_else(|| panic!("closed with {:?}", device.close_code()));
            assert_ne!(frame["type"], "error", "{frame}");
            if frame["type"] == "chat" && frame["chat"]["chatroom_id"] == self.room {
                return frame["chat"]["content"].as_str().expect("a text").to_owned();
            }
        }
    }

    /// Signs in on a new device, which opens a socket and signs out again.
    async fn signs_in(&self, record: &Record, side: usize) {
        let person = &self.people[side];
        let begun = Instant::now();
        let Some(signed_in) = expect(record, person.api.sign_in(&person.name, PASSWORD).await, 200) else { return };
        record.took(Kind::SignIn, begun);
        let person = person.with_token(signed_in["token"].as_str().expect("a token"));
        let begun = Instant::now();
        let device = self.device(side, &person.token).await;
        record.took(Kind::Ready, begun);
        device.close();
        expect(record, person.request(Method::DELETE, "/api/auth", Some(&json!({}))).await, 200);
    }

    async fn device(&self, side: usize, token: &str) -> DeviceSocket {
        let (bearer, address) = (format!("Bearer {token}"), address(self.number, side));
        let headers = [
            ("authorization", bearer.as_str()),
            ("x-forwarded-for", &address),
            ("sec-websocket-protocol", "hyper-chat.v1"),
        ];
        let port = self.people[side].api.ports.pick();
        let mut device = DeviceSocket::connect_with(port, "/ws", &headers).await.expect("a socket");
        device.expect_ready().await;
        device
    }
}

/// The body of an answer with this status; any other is recorded.
fn expect(record: &Record, answer: Answer, status: u16) -> Option<Value> {
    if answer.status == status {
        return Some(answer.json);
    }
    record.failed(format!("status {} {}", answer.status, answer.text));
    None
}
