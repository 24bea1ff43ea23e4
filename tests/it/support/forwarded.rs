//! Clients at chosen addresses, as a trusted proxy in front of the server names them.

use reqwest::Method;
use serde_json::{Value, json};

use super::database::Db;
use super::rest::{Answer, Api};
use super::secrets::PASSWORD;
use super::server::TestServer;
use super::server_builder::ServerBuilder;

/// A client at an address, as the trusted proxy in front names it.
#[derive(Clone)]
pub struct At {
    api: Api,
    address: String,
    token: Option<String>,
}

impl At {
    pub fn new(server: &TestServer, address: impl Into<String>) -> Self {
        Self { api: server.api(), address: address.into(), token: None }
    }

    pub fn with_token(&self, token: &str) -> Self {
        Self { token: Some(format!("Bearer {token}")), ..self.clone() }
    }

    pub async fn request(&self, method: Method, path: &str, json: Option<&Value>) -> Answer {
        let token = self.token.iter().map(|token| ("authorization", token.as_str()));
        let headers: Vec<_> = [("x-forwarded-for", self.address.as_str())].into_iter().chain(token).collect();
        self.api.try_request(method, path, &headers, json).await.expect("an answer")
    }

    pub async fn sign_in(&self, name: &str, password: &str) -> Answer {
        self.request(Method::POST, "/api/auth", Some(&json!({"username": name, "password": password}))).await
    }

    pub async fn sign_up(&self, name: &str) -> Answer {
        let body = json!({"username": name, "password": PASSWORD, "nickname": name});
        self.request(Method::POST, "/api/chatters", Some(&body)).await
    }
}

/// Default rates, behind one proxy.
pub fn behind_a_proxy() -> ServerBuilder {
    let server = TestServer::with(Db::Sqlite).set("SERVER__PROXY_HOPS", 1);
    ["SIGN_IN_PER_MIN", "SIGN_UP_PER_MIN", "ROOMS_PER_HOUR", "OPEN_PAGES_PER_MIN"]
        .into_iter()
        .fold(server, |server, key| server.unset(&format!("LIMITS__{key}")))
}
