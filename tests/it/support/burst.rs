//! Many senders at once that never give up a chat: each is retried under its `client_id` until it is acknowledged.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::account::Person;
use super::checker::Acked;
use super::rest::Api;
use super::secrets::MARKER;

/// How fast the senders of a burst are.
#[derive(Clone, Copy)]
pub struct Pace {
    /// Between an acknowledgement and the next chat.
    pub pause: Duration,
    /// How long a sender waits for an answer before it retries, perhaps at another instance.
    pub patience: Duration,
}

/// Without a pause, and patient.
const HASTY: Pace = Pace { pause: Duration::ZERO, patience: Duration::from_secs(30) };
/// How long a chat is retried before the test fails: longer than any outage in a test.
const GIVE_UP_AFTER: Duration = Duration::from_secs(90);

pub struct Burst {
    pub rooms: Vec<i64>,
    /// The two of each room.
    pub people: Vec<(Person, Person)>,
    record: Arc<Record>,
    senders: Vec<JoinHandle<()>>,
}

/// The results so far.
#[derive(Default)]
pub struct Record {
    acked: Mutex<Vec<Acked>>,
    refused: AtomicUsize,
    unanswered: AtomicUsize,
    stop: AtomicBool,
}

impl Record {
    /// How many chats are acknowledged so far.
    pub fn acked(&self) -> usize {
        self.list().len()
    }

    fn list(&self) -> MutexGuard<'_, Vec<Acked>> {
        self.acked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Burst {
    /// `rooms` rooms with `per_person` senders for each of their two people.
    pub async fn start(api: &Api, rooms: usize, per_person: usize) -> Self {
        Self::with(HASTY, api, rooms, per_person).await
    }

    /// The same at this pace.
    pub async fn with(pace: Pace, api: &Api, rooms: usize, per_person: usize) -> Self {
        let mut burst = Self { rooms: Vec::new(), people: Vec::new(), record: Arc::default(), senders: Vec::new() };
        for n in 0..rooms {
            let (left, right) = (api.person(&format!("left-{n}")).await, api.person(&format!("right-{n}")).await);
            let room = left.room_with(&right).await;
            burst.rooms.push(room);
            burst.people.push((left.clone(), right.clone()));
            for (side, person) in [left, right].into_iter().enumerate() {
                for lane in 0..per_person {
                    let chain = (n * 2 + side) * per_person + lane;
                    burst.spawn(pace, person.clone(), room, chain);
                }
            }
        }
        burst
    }

    fn spawn(&mut self, pace: Pace, person: Person, room: i64, chain: usize) {
        let record = self.record.clone();
        self.senders.push(tokio::spawn(async move {
            let mut count = 0;
            while !record.stop.load(Ordering::Relaxed) {
                count += 1;
                let chat = send_until_acked(pace, &person, room, chain, count, &record).await;
                record.list().push(chat);
                tokio::time::sleep(pace.pause).await;
            }
        }));
    }

    /// The results so far, to be shared with other tasks.
    pub fn record(&self) -> Arc<Record> {
        self.record.clone()
    }

    /// How many chats are acknowledged so far.
    pub fn acked(&self) -> usize {
        self.record.acked()
    }

    /// How many tries were answered 503 so far.
    pub fn refused(&self) -> usize {
        self.record.refused.load(Ordering::Relaxed)
    }

    /// How many tries were not answered so far.
    pub fn unanswered(&self) -> usize {
        self.record.unanswered.load(Ordering::Relaxed)
    }

    /// Lets every sender finish its chat; all acknowledged chats.
    pub async fn finish(mut self) -> Vec<Acked> {
        self.record.stop.store(true, Ordering::Relaxed);
        for sender in std::mem::take(&mut self.senders) {
            sender.await.expect("no sender fails");
        }
        std::mem::take(&mut *self.record.list())
    }
}

async fn send_until_acked(
    pace: Pace,
    person: &Person,
    room: i64,
    chain: usize,
    count: usize,
    record: &Record,
) -> Acked {
    let content = format!("{MARKER} {chain} {count}");
    let client_id = format!("{chain}-{count}");
    let body = json!({"content": content, "client_id": client_id});
    let started = std::time::Instant::now();
    loop {
        if let Some(chat) = try_once(pace, person, room, &body, record).await {
            return Acked::from_chat(&chat, chain, &client_id, &content);
        }
        assert!(started.elapsed() < GIVE_UP_AFTER, "a chat was not taken within {GIVE_UP_AFTER:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// One try: the chat, or none if the server is down or answers 503; any other answer fails the test.
async fn try_once(pace: Pace, person: &Person, room: i64, body: &Value, record: &Record) -> Option<Value> {
    let path = format!("/api/chatrooms/{room}/chats");
    let Some(answer) = person.try_request(Method::POST, &path, Some(body), pace.patience).await else {
        record.unanswered.fetch_add(1, Ordering::Relaxed);
        return None;
    };
    match answer.status {
        200 | 201 => Some(answer.json),
        503 => {
            record.refused.fetch_add(1, Ordering::Relaxed);
            answer.any_problem();
            None
        }
        other => panic!("I9: a chat was answered {other}: {}", answer.text),
    }
}
