//! Chatters and rooms, made over REST before anything is measured.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, stream};
use reqwest::Client;
use serde_json::{Value, json};

const AT_ONCE: usize = 16;
const ANSWER_MAX: Duration = Duration::from_secs(30);
const PASSWORD: &str = "load-load-load";

/// A signed-in chatter.
#[derive(Clone)]
pub struct Chatter {
    pub id: u64,
    pub token: String,
}

/// A room and the tokens of its two chatters.
#[derive(Clone)]
pub struct Room {
    pub id: u64,
    pub tokens: [String; 2],
}

/// Makes accounts and rooms at one server.
pub struct Accounts {
    client: Client,
    base: String,
}

impl Accounts {
    pub fn new(server: SocketAddr) -> Result<Self, String> {
        let client = Client::builder().no_proxy().timeout(ANSWER_MAX).build().map_err(|e| e.to_string())?;
        Ok(Self { client, base: format!("http://{server}/api") })
    }

    /// So many chatters, signed up and in.
    pub async fn chatters(&self, count: usize) -> Result<Vec<Chatter>, String> {
        stream::iter(0..count).map(|number| self.chatter(number)).buffered(AT_ONCE).try_collect().await
    }

    /// A room for each of these pairs.
    pub async fn rooms(&self, pairs: Vec<[Chatter; 2]>) -> Result<Vec<Room>, String> {
        stream::iter(pairs).map(|pair| self.room(pair)).buffered(AT_ONCE).try_collect().await
    }

    /// So many rooms, each of two chatters of its own.
    pub async fn rooms_of_two(&self, count: usize) -> Result<Vec<Room>, String> {
        let chatters = self.chatters(count * 2).await?;
        self.rooms(chatters.chunks_exact(2).map(|two| [two[0].clone(), two[1].clone()]).collect()).await
    }

    async fn chatter(&self, number: usize) -> Result<Chatter, String> {
        let username = format!("load{number}");
        let account = json!({"username": username, "password": PASSWORD, "nickname": username});
        let made = self.post("chatters", None, &account).await?;
        let signed_in = self.post("auth", None, &json!({"username": username, "password": PASSWORD})).await?;
        let token = signed_in["token"].as_str().ok_or("an answer without a token")?.to_owned();
        Ok(Chatter { id: id_of(&made)?, token })
    }

    async fn room(&self, [owner, opponent]: [Chatter; 2]) -> Result<Room, String> {
        let made = self.post("chatrooms", Some(&owner.token), &json!({"opponent_id": opponent.id})).await?;
        Ok(Room { id: id_of(&made)?, tokens: [owner.token, opponent.token] })
    }

    async fn post(&self, path: &str, token: Option<&str>, body: &Value) -> Result<Value, String> {
        let mut request = self.client.post(format!("{}/{path}", self.base)).json(body);
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        let answer = request.send().await.map_err(|e| format!("POST {path}: {e}"))?;
        let status = answer.status();
        let body = answer.json().await.map_err(|e| format!("POST {path}: {status}: {e}"))?;
        if status.is_success() { Ok(body) } else { Err(format!("POST {path}: {status}: {body}")) }
    }
}

fn id_of(answer: &Value) -> Result<u64, String> {
    answer["id"].as_u64().ok_or_else(|| "an answer without an id".to_owned())
}
