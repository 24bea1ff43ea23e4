//! Two people who chat on a server whose database a test breaks and repairs.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};

use super::account::Person;
use super::chatroom_socket::ChatroomSocket;
use super::checker::Checker;
use super::database::Db;
use super::server::TestServer;
use super::wait::{SLACK, eventually, s};

/// Promised: 3 s; the rest is for a loaded machine.
pub const REFUSED_WITHIN: Duration = s(3).saturating_add(SLACK);
pub const HEALED_WITHIN: Duration = s(3).saturating_add(SLACK);

/// Two people, their room, and a server whose database a test breaks.
pub struct Scene {
    pub server: TestServer,
    pub ann: Person,
    pub bob: Person,
    pub room: i64,
    pub socket: ChatroomSocket,
}

impl Scene {
    /// Two people in a room with one chat, on this database.
    pub async fn on(database_url: String) -> Self {
        let server = TestServer::with(Db::Postgres).database_url(database_url).start().await;
        let (ann, bob, room) = server.api().pair().await;
        let socket = bob.joins(room).await;
        ann.says(room, "the chat before the fault").await;
        let mut scene = Self { server, ann, bob, room, socket };
        scene.socket.expect_message("the chat before the fault").await;
        scene
    }

    /// Every request that needs the database is refused in time, and the socket stays open.
    pub async fn refuses(&mut self) {
        let chats = format!("/api/chatrooms/{}/chats", self.room);
        let body = json!({"content": "while the database is away", "client_id": "during"});
        for (method, path, body) in [
            (Method::POST, chats.as_str(), Some(&body)),
            (Method::GET, chats.as_str(), None),
            (Method::GET, "/api/chatrooms", None),
            (Method::POST, "/api/chatrooms", Some(&json!({"opponent_id": self.bob.id}))),
            (Method::POST, "/api/auth", Some(&json!({"username": "ann", "password": "wrong-horse-4711"}))),
        ] {
            let start = Instant::now();
            let answer = self.ann.request(method.clone(), path, body).await;
            let waited = start.elapsed();
            assert!(waited < REFUSED_WITHIN, "{method} {path} took {waited:?}");
            let problem = answer.problem(503, "unavailable");
            assert!(problem["retry_after_s"].as_u64() >= Some(1), "{problem}");
        }
        let start = Instant::now();
        self.socket.send("over a socket meanwhile");
        assert_eq!(self.socket.expect_error().await["code"], "unavailable");
        assert!(start.elapsed() < REFUSED_WITHIN, "the socket waited {:?}", start.elapsed());
        assert_eq!(self.server.api().get("/healthz").await.status, 200, "alive");
        eventually("readiness is refused", s(5), || async {
            (self.server.api().get("/readyz").await.status == 503).then_some(())
        })
        .await;
    }

    /// A promoted server has begun a new epoch: both sign in again, and the socket is a new one.
    pub async fn signs_in_again(&mut self) {
        self.ann = eventually("ann signs in", s(10), || self.ann.try_sign_in_again()).await;
        self.bob = eventually("bob signs in", s(10), || self.bob.try_sign_in_again()).await;
        self.socket = self.bob.joins(self.room).await;
    }

    /// All requests succeed again in time without a restart; the refused chat is retried under its `client_id`.
    pub async fn heals(&mut self, content: &str) {
        let since = Instant::now();
        let body = json!({"content": "while the database is away", "client_id": "during"});
        let chat: Value = eventually("chats are taken again", s(10), || async {
            let answer = self.ann.post_chat(self.room, &body).await;
            matches!(answer.status, 200 | 201).then_some(answer.json)
        })
        .await;
        assert!(since.elapsed() < HEALED_WITHIN, "healed only after {:?}", since.elapsed());
        let next = self.ann.says(self.room, content).await;
        assert!(next["seq"].as_i64() > chat["seq"].as_i64());
        let head = next["seq"].as_i64().unwrap();
        self.socket.read_until_seq(head, s(5)).await;
        eventually("readiness is back", s(5), || async {
            (self.server.api().get("/readyz").await.status == 200).then_some(())
        })
        .await;
    }

    /// Both people and the socket saw what is stored.
    pub async fn verify(self) {
        let mut checker = Checker::default().compare_views(self.room, &self.ann, &self.bob);
        checker.saw(self.room, &self.socket);
        checker.verify(&self.server).await;
    }
}
