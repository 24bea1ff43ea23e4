//! Tokens of a team's identity provider: which are accepted, whose account they open, and what ends them.

mod accepted;
mod accounts;
mod ends;
mod fetching;
mod refused;

use serde_json::Value;

use crate::support::issuer::{Issuer, TestKey};
use crate::support::{Db, Person, TestServer};

const CREATES: &str = ", create_accounts = true";

/// An issuer with one key, and a server that creates the accounts of its tokens.
async fn issuer_and_server(db: Db) -> (Issuer, TestKey, TestServer) {
    let key = TestKey::ed25519("one");
    let issuer = Issuer::start(&[&key]);
    let server = TestServer::with(db).set("AUTH__ISSUERS", issuer.setting(CREATES)).start().await;
    (issuer, key, server)
}

/// The person that a token with these claims opens.
async fn person(server: &TestServer, issuer: &Issuer, key: &TestKey, claims: &Value) -> Person {
    let token = issuer.mint(key, claims);
    let api = server.api();
    api.secrets.remember(&token);
    let person = Person { api, id: 0, name: String::new(), token };
    let me = person.get("/api/chatters/me").await.expect(200);
    let name = me["username"].as_str().expect("a name").to_owned();
    Person { id: me["id"].as_i64().expect("an id"), name, ..person }
}
