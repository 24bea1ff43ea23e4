//! Ways to attack over REST.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::json;
use tokio::io::AsyncReadExt;

use super::NOISY_DEVICE;
use super::attackers::{Attacker, locked};
use crate::support::dice::Dice;
use crate::support::http::get_slowly;

const WRONG: &str = "wrong-horse-4711";
/// How long a slow reader waits between two reads.
const SLOW_READ_EVERY: Duration = Duration::from_millis(50);

impl Attacker {
    pub async fn searches_for_what_compares_much(&self, until: Instant) {
        let query = json!({"query": format!("b{}", "a".repeat(1_023))});
        let path = format!("/api/chatrooms/{}/chats/search", self.notes);
        self.repeat("a1", 5, until, async || self.request(Method::POST, &path, Some(&query)).await).await;
    }

    pub async fn searches_for_what_is_nowhere(&self, until: Instant) {
        let path = format!("/api/chatrooms/{}/chats/search", self.long_room);
        let query = json!({"query": "nowhere"});
        self.repeat("a12", 3, until, async || self.request(Method::POST, &path, Some(&query)).await).await;
    }

    /// Half of them read nothing but a few bytes now and then.
    pub async fn reads_whole_histories_slowly(&self, until: Instant) {
        let path = format!("/api/chatrooms/{}/chats", self.notes);
        let slow = async || {
            let mut tcp = get_slowly(self.person.api.ports.pick(), &path, &self.person.token, &self.header()).await;
            let (mut piece, mut first) = (vec![0; 4_096], None);
            while Instant::now() < until {
                match tcp.read(&mut piece).await {
                    Ok(read) if read > 0 => first.get_or_insert_with(|| status_of(&piece)),
                    _ => break,
                };
                tokio::time::sleep(SLOW_READ_EVERY).await;
            }
            self.counts.count("a2", first.unwrap_or(0));
        };
        let hasty = self.repeat("a2", 6, until, async || self.request(Method::GET, &path, None).await);
        let slow = join_all((0..6).map(|_| async { tokio::time::timeout_at(until.into(), slow()).await.ok() }));
        tokio::join!(hasty, slow);
    }

    pub async fn guesses_its_own_password(&self, until: Instant) {
        let body = json!({"password": "a new password", "current_password": WRONG});
        self.repeat("a3", 10, until, async || self.request(Method::PUT, "/api/chatters", Some(&body)).await).await;
    }

    pub async fn guesses_the_password_of(&self, dice: &mut Dice, until: Instant) {
        let (_, name) = dice.pick(&self.victims).expect("one of them");
        let body = json!({"username": name, "password": WRONG});
        self.repeat("a8", 4, until, async || self.open_request(Method::POST, "/api/auth", Some(&body)).await).await;
    }

    pub async fn reads_the_directory(&self, until: Instant) {
        self.repeat("a7", 2, until, async || self.open_request(Method::GET, "/api/chatters", None).await).await;
    }

    /// Opens rooms with strangers, and sends chats to them as fast as it may.
    pub async fn pesters(&self, until: Instant, dice: &mut Dice) {
        let (stranger, _) = dice.pick(&self.victims).expect("one of them");
        let body = json!({"opponent_id": stranger});
        let opened = self.call(Method::POST, "/api/chatrooms", Some(&body)).await;
        let (status, answer) = opened.unwrap_or_default();
        self.counts.count("a6", status);
        let Some(room) = answer["id"].as_i64() else { return self.opens_and_deletes(until).await };
        let path = format!("/api/chatrooms/{room}/chats");
        let chat = json!({"content": "buy now"});
        self.repeat("a6", 2, until, async || self.request(Method::POST, &path, Some(&chat)).await).await;
    }

    /// Creates a room, writes to it and deletes it in a loop.
    pub async fn opens_and_deletes(&self, until: Instant) {
        let (body, chat) = (json!({"opponent_id": self.friend}), json!({"content": "buy now"}));
        let cycle = async || {
            let Some((status, answer)) = self.call(Method::POST, "/api/chatrooms", Some(&body)).await else { return 0 };
            let Some(room) = answer["id"].as_i64() else { return status };
            self.request(Method::POST, &format!("/api/chatrooms/{room}/chats"), Some(&chat)).await;
            self.request(Method::DELETE, &format!("/api/chatrooms/{room}"), None).await
        };
        self.repeat("a6", 1, until, cycle).await;
    }

    /// Deletes one of its long rooms, while there are any.
    pub async fn deletes_rooms(&self, until: Instant) {
        let room = locked(&self.long_rooms).pop();
        if let Some(room) = room {
            let status = self.request(Method::DELETE, &format!("/api/chatrooms/{room}"), None).await;
            self.counts.count("a10", status);
        }
        self.opens_and_deletes(until).await;
    }

    pub async fn lists_its_rooms(&self, until: Instant) {
        let list = async || self.request(Method::GET, "/api/chatrooms?limit=50", None).await;
        self.repeat("a11", 4, until, list).await;
    }

    /// It registers a device that the provider refuses, and another attacker's chats ring it.
    pub async fn rings_a_device_over_its_quota(&self, until: Instant) {
        let device = json!({"fcm_reg_id": NOISY_DEVICE});
        let status = self.request(Method::PUT, "/api/chatters", Some(&device)).await;
        self.counts.count("a9", status);
        let chat = json!({"content": "ring"});
        let path = format!("/api/chatrooms/{}/chats", self.long_room);
        self.repeat("a9", 2, until, async || self.request(Method::POST, &path, Some(&chat)).await).await;
    }
}

/// The status in the first bytes of an answer.
fn status_of(bytes: &[u8]) -> u16 {
    String::from_utf8_lossy(&bytes[..16]).split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0)
}
