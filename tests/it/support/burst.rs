//! Many senders at once who never give up a chat: each is tried again under its `client_id` until it is acknowledged.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::account::Person;
use super::checker::Acked;
use super::rest::Api;
use super::secrets::MARKER;

/// How long a chat is tried before the test fails: more than any outage that a test makes.
const GIVE_UP_AFTER: Duration = Duration::from_secs(90);

pub struct Burst {
    pub rooms: Vec<i64>,
    /// The two of each room.
    pub people: Vec<(Person, Person)>,
    acked: Arc<Mutex<Vec<Acked>>>,
    refused: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    senders: Vec<JoinHandle<()>>,
}

impl Burst {
    /// `rooms` rooms with `per_person` senders for each of their two people.
    pub async fn start(api: &Api, rooms: usize, per_person: usize) -> Self {
        let mut burst = Self {
            rooms: Vec::new(),
            people: Vec::new(),
            acked: Arc::default(),
            refused: Arc::default(),
            stop: Arc::default(),
            senders: Vec::new(),
        };
        for n in 0..rooms {
            let (left, right) = (api.person(&format!("left-{n}")).await, api.person(&format!("right-{n}")).await);
            let room = left.room_with(&right).await;
            burst.rooms.push(room);
            burst.people.push((left.clone(), right.clone()));
            for (side, person) in [left, right].into_iter().enumerate() {
                for lane in 0..per_person {
                    let chain = (n * 2 + side) * per_person + lane;
                    burst.spawn(person.clone(), room, chain);
                }
            }
        }
        burst
    }

    fn spawn(&mut self, person: Person, room: i64, chain: usize) {
        let (acked, refused, stop) = (self.acked.clone(), self.refused.clone(), self.stop.clone());
        self.senders.push(tokio::spawn(async move {
            let mut count = 0;
            while !stop.load(Ordering::Relaxed) {
                count += 1;
                let chat = send_until_acked(&person, room, chain, count, &refused).await;
                acked.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(chat);
            }
        }));
    }

    /// How many chats are acknowledged so far.
    pub fn acked(&self) -> usize {
        self.acked.lock().unwrap_or_else(std::sync::PoisonError::into_inner).len()
    }

    /// How many tries were answered 503 so far.
    pub fn refused(&self) -> usize {
        self.refused.load(Ordering::Relaxed)
    }

    /// Lets every sender finish its chat; all that was acknowledged.
    pub async fn finish(mut self) -> Vec<Acked> {
        self.stop.store(true, Ordering::Relaxed);
        for sender in std::mem::take(&mut self.senders) {
            sender.await.expect("no sender fails");
        }
        std::mem::take(&mut *self.acked.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }
}

async fn send_until_acked(person: &Person, room: i64, chain: usize, count: usize, refused: &AtomicUsize) -> Acked {
    let content = format!("{MARKER} {chain} {count}");
    let client_id = format!("{chain}-{count}");
    let body = json!({"content": content, "client_id": client_id});
    let started = std::time::Instant::now();
    loop {
        if let Some(chat) = try_once(person, room, &body, refused).await {
            return Acked::from_chat(&chat, chain, &client_id, &content);
        }
        assert!(started.elapsed() < GIVE_UP_AFTER, "a chat was not taken within {GIVE_UP_AFTER:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// One try: the chat, or none when the server is away or says 503; anything else fails the test.
async fn try_once(person: &Person, room: i64, body: &Value, refused: &AtomicUsize) -> Option<Value> {
    let bearer = format!("Bearer {}", person.token);
    let path = format!("/api/chatrooms/{room}/chats");
    let answer = person.api.try_request(Method::POST, &path, &[("authorization", &bearer)], Some(body)).await.ok()?;
    match answer.status {
        200 | 201 => Some(answer.json),
        503 => {
            refused.fetch_add(1, Ordering::Relaxed);
            answer.any_problem();
            None
        }
        other => panic!("a chat was answered {other}: {}", answer.text),
    }
}
