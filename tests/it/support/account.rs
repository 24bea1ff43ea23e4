//! A signed-in person, and the requests and sockets of a chatter.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use super::chatroom_socket::ChatroomSocket;
use super::device_socket::DeviceSocket;
use super::rest::{Answer, Api};
use super::secrets::PASSWORD;
use super::wait::eventually;

#[derive(Clone)]
pub struct Person {
    pub api: Api,
    pub id: i64,
    pub name: String,
    pub token: String,
}

impl Person {
    pub async fn request(&self, method: Method, path: &str, json: Option<&Value>) -> Answer {
        self.api.request(method, path, Some(&self.token), json).await
    }

    /// The same for a server that may be down; none if no answer comes in time.
    pub async fn try_request(
        &self,
        method: Method,
        path: &str,
        json: Option<&Value>,
        within: Duration,
    ) -> Option<Answer> {
        let bearer = format!("Bearer {}", self.token);
        let headers = [("authorization", bearer.as_str())];
        let asked = self.api.try_request(method, path, &headers, json);
        let answer = tokio::time::timeout(within, asked).await.ok()?.ok()?;
        // A 408 belongs to an idle connection that the server closed while this request was on its way (RFC 9110,
        // 15.5.9).
        (answer.status != 408).then_some(answer)
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.request(Method::GET, path, None).await
    }

    pub async fn post(&self, path: &str, json: &Value) -> Answer {
        self.request(Method::POST, path, Some(json)).await
    }

    pub async fn put(&self, path: &str, json: &Value) -> Answer {
        self.request(Method::PUT, path, Some(json)).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.request(Method::DELETE, path, None).await
    }

    /// The same account under another token.
    pub fn with_token(&self, token: &str) -> Self {
        self.api.secrets.remember(token);
        Self { token: token.to_owned(), ..self.clone() }
    }

    /// The same account, signed in once more.
    pub async fn signed_in_again(&self) -> Self {
        let answer = self.api.sign_in(&self.name, PASSWORD).await.expect(200);
        self.with_token(answer["token"].as_str().expect("a token"))
    }

    /// The same, where the server may be unable to answer.
    pub async fn try_sign_in_again(&self) -> Option<Self> {
        let body = json!({"username": self.name, "password": PASSWORD});
        let asked = self.api.try_request(Method::POST, "/api/auth", &[], Some(&body));
        let answer = tokio::time::timeout(Duration::from_secs(5), asked).await.ok()?.ok()?;
        let token = answer.json["token"].as_str().filter(|_| answer.status == 200)?;
        Some(self.with_token(token))
    }

    /// A new room with this person; its id.
    pub async fn room_with(&self, other: &Self) -> i64 {
        let room = self.post("/api/chatrooms", &json!({"opponent_id": other.id})).await.expect(201);
        room["id"].as_i64().expect("an id")
    }

    pub async fn room(&self, room: i64) -> Value {
        self.get(&format!("/api/chatrooms/{room}")).await.expect(200)
    }

    /// Moves the own watermarks, and waits until the server shows them: it batches receipts for a moment.
    pub async fn receipt(&self, room: i64, body: &Value, expected: (i64, i64)) {
        self.put(&format!("/api/chatrooms/{room}/receipt"), body).await.expect(200);
        let marks = format!("the watermarks {expected:?} after {body}");
        eventually(&marks, Duration::from_secs(3), || async { (self.marks(room).await == expected).then_some(()) })
            .await;
    }

    /// The own `delivered_seq` and `read_seq` in a room.
    pub async fn marks(&self, room: i64) -> (i64, i64) {
        marks_of(&self.room(room).await, self.id)
    }

    /// Posts a chat; the chat.
    pub async fn says(&self, room: i64, content: &str) -> Value {
        self.post_chat(room, &json!({"content": content})).await.expect(201)
    }

    /// Posts a chat with a `client_id`; the answer.
    pub async fn says_once(&self, room: i64, content: &str, client_id: &str) -> Answer {
        self.post_chat(room, &json!({"content": content, "client_id": client_id})).await
    }

    /// Posts any body as a chat.
    pub async fn post_chat(&self, room: i64, body: &Value) -> Answer {
        self.api.secrets.remember(body["content"].as_str().unwrap_or_default());
        self.post(&format!("/api/chatrooms/{room}/chats"), body).await
    }

    /// The whole history.
    pub async fn history(&self, room: i64) -> Vec<Value> {
        list(self.get(&format!("/api/chatrooms/{room}/chats")).await)
    }

    /// A search, whole.
    pub async fn search(&self, room: i64, query: &str) -> Answer {
        self.post(&format!("/api/chatrooms/{room}/chats/search"), &json!({"query": query})).await
    }

    /// The contents of the chats that a search finds.
    pub async fn finds(&self, room: i64, query: &str) -> Vec<String> {
        contents(&list(self.search(room, query).await))
    }

    /// A chatroom socket of the room.
    pub async fn joins(&self, room: i64) -> ChatroomSocket {
        ChatroomSocket::open(&self.api, &format!("/ws/chatrooms/{room}/?jwt={}", self.token), &[]).await
    }

    /// A chatroom socket that also gets events.
    pub async fn joins_with_events(&self, room: i64) -> ChatroomSocket {
        ChatroomSocket::open(&self.api, &format!("/ws/chatrooms/{room}/?jwt={}&events=1", self.token), &[]).await
    }

    /// A device socket, signed in, after `ready` and all rooms.
    pub async fn device(&self) -> DeviceSocket {
        DeviceSocket::open(self.api.ports.pick(), &self.token).await
    }
}

/// The `delivered_seq` and `read_seq` of a chatter in a room.
pub fn marks_of(room: &Value, chatter: i64) -> (i64, i64) {
    let marks = &room["receipts"][chatter.to_string()];
    let number = |key: &str| marks[key].as_i64().unwrap_or_else(|| panic!("no {key} of {chatter} in {room}"));
    (number("delivered_seq"), number("read_seq"))
}

/// The elements of a 200 that is a list.
#[track_caller]
pub fn list(answer: Answer) -> Vec<Value> {
    let text = answer.text.chars().take(200).collect::<String>();
    answer.expect(200).as_array().cloned().unwrap_or_else(|| panic!("no list: {text}"))
}

/// The contents of the chats.
pub fn contents(chats: &[Value]) -> Vec<String> {
    chats.iter().map(|c| c["content"].as_str().unwrap_or_default().to_owned()).collect()
}

/// The number under this key in each element.
pub fn numbers(list: &[Value], key: &str) -> Vec<i64> {
    list.iter().map(|v| v[key].as_i64().unwrap_or_else(|| panic!("{key} is no number in {v}"))).collect()
}
