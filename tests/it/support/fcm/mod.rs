//! A stand-in for Google: the OAuth token endpoint and FCM's `messages:send` as a real HTTP server on this machine.
//!
//! It checks what Google checks: the signature and claims of the assertion, the access token, and every field of a
//! message against FCM's own discovery document. Answers can be scripted for the next calls or for a device token.

mod answers;
mod checks;

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, mpsc};
use std::time::{Duration, Instant};

use actix_web::dev::ServerHandle;
use actix_web::{App, HttpServer, web};
use serde_json::{Value, json};

use self::answers::{send, token};

const PROJECT: &str = "stand-in-project";
const EMAIL: &str = "pusher@stand-in-project.example.com";
/// Made for these tests; opens nothing.
pub const PRIVATE_KEY: &str = include_str!("fcm_test_key.pem");
const WAIT_MAX: Duration = Duration::from_secs(10);

/// What `messages:send` answers.
#[derive(Clone, Debug)]
pub enum Answer {
    Accept,
    Unavailable {
        retry_after: Option<String>,
    },
    InternalError,
    BadGatewayHtml,
    Quota {
        of: Quota,
        retry_after: Option<String>,
    },
    Unregistered,
    InvalidField(&'static str),
    SenderIdMismatch,
    /// The service account may not send for the project.
    Denied,
    ThirdPartyAuth,
    Unauthorized,
    Redirect(String),
    Hang,
    ResetMidBody,
}

/// Whose quota a 429 is about, as its details say.
#[derive(Clone, Copy, Debug)]
pub enum Quota {
    Project,
    Device,
    /// The answer does not say.
    Unnamed,
}

/// What the token endpoint answers.
#[derive(Clone, Copy, Debug)]
pub enum OauthAnswer {
    Grant {
        expires_in: u64,
    },
    Down,
    /// The key was revoked.
    Denied,
}

/// One call of `messages:send` that carried a good access token.
#[derive(Clone, Debug)]
pub struct Call {
    pub at: Instant,
    pub token: String,
    pub message: Value,
    /// How the message violates the discovery document.
    pub violation: Option<String>,
}

#[derive(Default)]
struct Inner {
    script: VecDeque<Answer>,
    by_token: HashMap<String, Answer>,
    oauth_script: VecDeque<OauthAnswer>,
    calls: Vec<Call>,
    /// Requests with an invalid access token.
    unauthorized: usize,
    oauth_calls: usize,
    oauth_violations: Vec<String>,
    access_tokens: HashSet<String>,
}

type Shared = Arc<Mutex<Inner>>;

/// The running server; stops when dropped.
pub struct FcmStandIn {
    inner: Shared,
    base_url: String,
    directory: tempfile::TempDir,
    server: ServerHandle,
}

impl FcmStandIn {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let base_url = format!("http://{}", listener.local_addr().expect("an address"));
        let inner = Shared::default();
        let (ready, started) = mpsc::channel();
        let (shared, token_uri) = (inner.clone(), format!("{base_url}/token"));
        std::thread::spawn(move || {
            actix_web::rt::System::new().block_on(async move {
                let app = move || {
                    App::new()
                        .app_data(web::Data::new(shared.clone()))
                        .app_data(web::Data::new(token_uri.clone()))
                        .route("/token", web::post().to(token))
                        .route("/v1/projects/{project}/messages:send", web::post().to(send))
                };
                let server = HttpServer::new(app).workers(1).disable_signals().listen(listener).expect("listens").run();
                ready.send(server.handle()).expect("the test waits");
                server.await.expect("the stand-in runs");
            });
        });
        let server = started.recv_timeout(WAIT_MAX).expect("the stand-in starts");
        let directory = tempfile::tempdir().expect("a directory");
        let this = Self { inner, base_url, directory, server };
        std::fs::write(this.service_account_path(), this.service_account().to_string()).expect("the file");
        this
    }

    /// The service account's JSON, which tests may spoil.
    pub fn service_account(&self) -> Value {
        json!({
            "type": "service_account", "project_id": PROJECT, "private_key_id": "key-1", "private_key": PRIVATE_KEY,
            "client_email": EMAIL, "token_uri": format!("{}/token", self.base_url),
        })
    }

    pub fn service_account_path(&self) -> PathBuf {
        self.directory.path().join("service-account.json")
    }

    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub fn base_url(&self) -> &str {
        &self.base_url
    }

    /// The answers of the next calls, one each; later calls are accepted.
    pub fn script(&self, answers: impl IntoIterator<Item = Answer>) {
        self.lock().script.extend(answers);
    }

    /// The answer of every call for this device token, after the script.
    pub fn answer_for(&self, token: &str, answer: Answer) {
        self.lock().by_token.insert(token.to_owned(), answer);
    }

    pub fn script_oauth(&self, answers: impl IntoIterator<Item = OauthAnswer>) {
        self.lock().oauth_script.extend(answers);
    }

    /// Makes all granted access tokens invalid.
    pub fn expire_access_tokens(&self) {
        self.lock().access_tokens.clear();
    }

    pub fn calls(&self) -> Vec<Call> {
        self.lock().calls.clone()
    }

    /// The calls for this device.
    pub fn sent_to(&self, token: &str) -> Vec<Call> {
        self.calls().into_iter().filter(|call| call.token == token).collect()
    }

    pub fn oauth_calls(&self) -> usize {
        self.lock().oauth_calls
    }

    pub fn unauthorized(&self) -> usize {
        self.lock().unauthorized
    }

    /// Waits for this many calls, and checks that all follow the discovery document.
    pub async fn wait_for_calls(&self, n: usize) -> Vec<Call> {
        let end = Instant::now() + WAIT_MAX;
        while self.calls().len() < n {
            assert!(Instant::now() < end, "{} of {n} calls came", self.calls().len());
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        self.check();
        self.calls()
    }

    /// Checks that no call so far violates Google's rules.
    pub fn check(&self) {
        let inner = self.lock();
        assert_eq!(inner.oauth_violations, Vec::<String>::new());
        for call in &inner.calls {
            assert_eq!(call.violation, None, "{}", call.message);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        lock(&self.inner)
    }
}

impl Drop for FcmStandIn {
    fn drop(&mut self) {
        drop(self.server.stop(false));
    }
}

fn lock(inner: &Shared) -> MutexGuard<'_, Inner> {
    inner.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
