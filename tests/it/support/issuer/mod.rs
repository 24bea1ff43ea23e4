//! A stand-in for a team's identity provider: discovery, keys that can be rotated, and tokens of any form.

mod keys;

use std::net::TcpListener;
use std::sync::{Arc, Mutex, MutexGuard, mpsc};
use std::time::{Duration, Instant};

use actix_web::dev::ServerHandle;
use actix_web::http::StatusCode;
use actix_web::{App, HttpResponse, HttpServer, web};
use jsonwebtoken::Header;
use serde_json::{Value, json};

pub use self::keys::TestKey;
use super::token::now;

const WAIT_MAX: Duration = Duration::from_secs(10);
pub const AUDIENCE: &str = "chat";

/// What the keys' URL answers.
#[derive(Clone, Debug)]
pub enum Answer {
    Keys,
    Down,
    Redirect,
    Oversize,
    Garbage,
}

struct Inner {
    keys: Vec<Value>,
    answer: Answer,
    /// What the discovery document calls the issuer; none = by its name.
    named: Option<String>,
    /// When keys were requested.
    fetches: Vec<Instant>,
    /// Requests to where a redirect leads.
    followed: usize,
}

type Shared = Arc<Mutex<Inner>>;

/// The running issuer; stops when dropped.
pub struct Issuer {
    inner: Shared,
    /// Its `iss`.
    pub url: String,
    server: ServerHandle,
}

impl Issuer {
    /// An issuer that publishes these keys.
    pub fn start(keys: &[&TestKey]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let keys = keys.iter().map(|key| key.jwk.clone()).collect();
        let inner = Inner { keys, answer: Answer::Keys, named: None, fetches: Vec::new(), followed: 0 };
        let inner: Shared = Arc::new(Mutex::new(inner));
        let (ready, started) = mpsc::channel();
        let (shared, own) = (inner.clone(), url.clone());
        std::thread::spawn(move || {
            actix_web::rt::System::new().block_on(async move {
                let app = move || {
                    App::new()
                        .app_data(web::Data::new(shared.clone()))
                        .app_data(web::Data::new(own.clone()))
                        .route("/.well-known/openid-configuration", web::get().to(discovery))
                        .route("/keys", web::get().to(published))
                        .route("/elsewhere", web::get().to(elsewhere))
                };
                let server = HttpServer::new(app).workers(1).disable_signals().listen(listener).expect("listens").run();
                ready.send(server.handle()).expect("the test waits");
                server.await.expect("the stand-in runs");
            });
        });
        let server = started.recv_timeout(WAIT_MAX).expect("the stand-in starts");
        Self { inner, url, server }
    }

    /// The setting of a server that accepts its tokens, with further keys of the table.
    pub fn setting(&self, more: &str) -> String {
        format!("[{{issuer = {:?}, audience = {AUDIENCE:?}{more}}}]", self.url)
    }

    /// Claims that the server takes.
    pub fn claims(&self, subject: &str, name: &str) -> Value {
        json!({
            "iss": self.url, "aud": AUDIENCE, "sub": subject, "iat": now(), "exp": now() + 600,
            "preferred_username": name, "name": format!("{name} of the team"),
        })
    }

    /// A token with these claims.
    pub fn mint(&self, key: &TestKey, claims: &Value) -> String {
        let header = Header { kid: Some(key.kid.clone()), ..Header::new(key.algorithm) };
        jsonwebtoken::encode(&header, claims, &key.private).expect("signs")
    }

    pub fn publish(&self, keys: &[&TestKey]) {
        self.lock().keys = keys.iter().map(|key| key.jwk.clone()).collect();
    }

    pub fn answer(&self, answer: Answer) {
        self.lock().answer = answer;
    }

    /// The discovery document names another issuer.
    pub fn call_itself(&self, name: &str) {
        self.lock().named = Some(name.to_owned());
    }

    /// When its keys were requested.
    pub fn fetches(&self) -> Vec<Instant> {
        self.lock().fetches.clone()
    }

    pub fn followed(&self) -> usize {
        self.lock().followed
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        lock(&self.inner)
    }
}

impl Drop for Issuer {
    fn drop(&mut self) {
        drop(self.server.stop(false));
    }
}

fn lock(inner: &Shared) -> MutexGuard<'_, Inner> {
    inner.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

async fn discovery(inner: web::Data<Shared>, own: web::Data<String>) -> HttpResponse {
    let name = lock(&inner).named.clone().unwrap_or_else(|| own.to_string());
    HttpResponse::Ok().json(json!({"issuer": name, "jwks_uri": format!("{}/keys", **own)}))
}

async fn published(inner: web::Data<Shared>) -> HttpResponse {
    let mut inner = lock(&inner);
    inner.fetches.push(Instant::now());
    let keys = json!({"keys": inner.keys});
    match inner.answer {
        Answer::Keys => HttpResponse::Ok().json(keys),
        Answer::Down => HttpResponse::ServiceUnavailable().finish(),
        Answer::Redirect => HttpResponse::build(StatusCode::FOUND).insert_header(("location", "/elsewhere")).json(keys),
        // Valid but for its size.
        Answer::Oversize => HttpResponse::Ok().body(format!("{}{keys}", " ".repeat(300_000))),
        Answer::Garbage => HttpResponse::Ok().body("<html>keys</html>"),
    }
}

async fn elsewhere(inner: web::Data<Shared>) -> HttpResponse {
    let mut inner = lock(&inner);
    inner.followed += 1;
    HttpResponse::Ok().json(json!({"keys": inner.keys}))
}
