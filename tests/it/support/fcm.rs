//! A stand-in for Google: the OAuth token endpoint and FCM's `messages:send` as a real HTTP server on this machine.
//!
//! It checks what Google checks: the signature and claims of the assertion, the access token, and every field of a
//! message against FCM's own discovery document. Answers can be scripted for the next calls or for a device token.

use std::collections::{HashMap, HashSet, VecDeque};
use std::io;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, mpsc};
use std::time::{Duration, Instant};

use actix_web::dev::ServerHandle;
use actix_web::http::StatusCode;
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use bytes::Bytes;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::{Value, json};

const PROJECT: &str = "stand-in-project";
const EMAIL: &str = "pusher@stand-in-project.example.com";
/// Made for these tests; opens nothing.
pub const PRIVATE_KEY: &str = include_str!("fcm_test_key.pem");
const PUBLIC_KEY: &str = include_str!("fcm_test_key.pub.pem");
const DISCOVERY: &str = include_str!("../../fcm-v1.discovery.json");
const PAYLOAD_BYTES_MAX: usize = 4_096;
const WAIT_MAX: Duration = Duration::from_secs(10);

/// What `messages:send` answers.
#[derive(Clone, Debug)]
pub enum Answer {
    Accept,
    Unavailable { retry_after: Option<String> },
    InternalError,
    BadGatewayHtml,
    Quota { retry_after: Option<String> },
    Unregistered,
    InvalidField(&'static str),
    SenderIdMismatch,
    ThirdPartyAuth,
    Unauthorized,
    Redirect(String),
    Hang,
    ResetMidBody,
}

/// What the token endpoint answers.
#[derive(Clone, Copy, Debug)]
pub enum OauthAnswer {
    Grant { expires_in: u64 },
    Down,
}

/// One call of `messages:send` that carried a good access token.
#[derive(Clone, Debug)]
pub struct Call {
    pub at: Instant,
    pub token: String,
    pub message: Value,
    /// What breaks the discovery document.
    pub violation: Option<String>,
}

#[derive(Default)]
struct Inner {
    script: VecDeque<Answer>,
    by_token: HashMap<String, Answer>,
    oauth_script: VecDeque<OauthAnswer>,
    calls: Vec<Call>,
    /// Requests with an access token that does not hold.
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

    /// The service account's JSON, to be spoilt by tests.
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

    /// What the next calls get, one each; then all are accepted.
    pub fn script(&self, answers: impl IntoIterator<Item = Answer>) {
        self.lock().script.extend(answers);
    }

    /// What every call for this device token gets, after the script.
    pub fn answer_for(&self, token: &str, answer: Answer) {
        self.lock().by_token.insert(token.to_owned(), answer);
    }

    pub fn script_oauth(&self, answers: impl IntoIterator<Item = OauthAnswer>) {
        self.lock().oauth_script.extend(answers);
    }

    /// No access token that was given out holds any more.
    pub fn expire_access_tokens(&self) {
        self.lock().access_tokens.clear();
    }

    pub fn calls(&self) -> Vec<Call> {
        self.lock().calls.clone()
    }

    /// What was sent to this device.
    pub fn sent_to(&self, token: &str) -> Vec<Call> {
        self.calls().into_iter().filter(|call| call.token == token).collect()
    }

    pub fn oauth_calls(&self) -> usize {
        self.lock().oauth_calls
    }

    pub fn unauthorized(&self) -> usize {
        self.lock().unauthorized
    }

    /// Waits until there were this many calls, and checks that all were as FCM wants them.
    pub async fn wait_for_calls(&self, n: usize) -> Vec<Call> {
        let end = Instant::now() + WAIT_MAX;
        while self.calls().len() < n {
            assert!(Instant::now() < end, "{} of {n} calls came", self.calls().len());
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        self.check();
        self.calls()
    }

    /// Nothing that was sent so far breaks Google's rules.
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

async fn token(
    inner: web::Data<Shared>,
    uri: web::Data<String>,
    form: web::Form<HashMap<String, String>>,
) -> HttpResponse {
    let mut inner = lock(&inner);
    inner.oauth_calls += 1;
    if let Err(violation) = check_assertion(&form, &uri) {
        inner.oauth_violations.push(violation);
        return HttpResponse::BadRequest().json(json!({"error": "invalid_grant"}));
    }
    match inner.oauth_script.pop_front().unwrap_or(OauthAnswer::Grant { expires_in: 3_599 }) {
        OauthAnswer::Down => HttpResponse::ServiceUnavailable().body("down"),
        OauthAnswer::Grant { expires_in } => {
            let access_token = format!("stand-in-access-{}", inner.oauth_calls);
            inner.access_tokens.insert(access_token.clone());
            let granted = json!({"access_token": access_token, "expires_in": expires_in, "token_type": "Bearer"});
            HttpResponse::Ok().json(granted)
        }
    }
}

fn check_assertion(form: &HashMap<String, String>, token_uri: &str) -> Result<(), String> {
    if form.get("grant_type").map(String::as_str) != Some("urn:ietf:params:oauth:grant-type:jwt-bearer") {
        return Err("grant_type".to_owned());
    }
    let assertion = form.get("assertion").ok_or("no assertion")?;
    let key = DecodingKey::from_rsa_pem(PUBLIC_KEY.as_bytes()).map_err(|e| e.to_string())?;
    let mut validation = Validation::new(Algorithm::RS256);
    validation.set_audience(&[token_uri]);
    validation.set_issuer(&[EMAIL]);
    validation.set_required_spec_claims(&["exp", "aud", "iss"]);
    let claims = jsonwebtoken::decode::<Value>(assertion, &key, &validation).map_err(|e| e.to_string())?.claims;
    let (iat, exp) = (claims["iat"].as_i64().ok_or("no iat")?, claims["exp"].as_i64().ok_or("no exp")?);
    if exp - iat > 3_600 || exp <= iat {
        return Err(format!("the assertion holds {} s", exp - iat));
    }
    if claims["scope"] != "https://www.googleapis.com/auth/firebase.messaging" {
        return Err("scope".to_owned());
    }
    Ok(())
}

async fn send(inner: web::Data<Shared>, project: web::Path<String>, request: HttpRequest, body: Bytes) -> HttpResponse {
    let answer = {
        let mut inner = lock(&inner);
        let bearer = request.headers().get("authorization").and_then(|v| v.to_str().ok());
        let known = bearer.and_then(|b| b.strip_prefix("Bearer ")).is_some_and(|t| inner.access_tokens.contains(t));
        if !known {
            inner.unauthorized += 1;
            return error(401, "UNAUTHENTICATED", None, None);
        }
        let message: Value = serde_json::from_slice(&body).unwrap_or_default();
        let violation = check_request(&project, &message, body.len()).err();
        let token = message["message"]["token"].as_str().unwrap_or_default().to_owned();
        let scripted = inner.script.pop_front().or_else(|| inner.by_token.get(&token).cloned());
        let answer = match violation {
            Some(_) => Answer::InvalidField("message"),
            None => scripted.unwrap_or(Answer::Accept),
        };
        inner.calls.push(Call { at: Instant::now(), token, message, violation });
        answer
    };
    respond(answer).await
}

async fn respond(answer: Answer) -> HttpResponse {
    match answer {
        Answer::Accept => HttpResponse::Ok().json(json!({"name": format!("projects/{PROJECT}/messages/0:1")})),
        Answer::Unavailable { retry_after } => error(503, "UNAVAILABLE", Some("UNAVAILABLE"), retry_after),
        Answer::InternalError => error(500, "INTERNAL", Some("INTERNAL"), None),
        Answer::BadGatewayHtml => HttpResponse::BadGateway().content_type("text/html").body("<html>502</html>"),
        Answer::Quota { retry_after } => error(429, "RESOURCE_EXHAUSTED", Some("QUOTA_EXCEEDED"), retry_after),
        Answer::Unregistered => error(404, "NOT_FOUND", Some("UNREGISTERED"), None),
        Answer::SenderIdMismatch => error(403, "PERMISSION_DENIED", Some("SENDER_ID_MISMATCH"), None),
        Answer::ThirdPartyAuth => error(401, "UNAUTHENTICATED", Some("THIRD_PARTY_AUTH_ERROR"), None),
        Answer::Unauthorized => error(401, "UNAUTHENTICATED", None, None),
        Answer::Redirect(to) => HttpResponse::TemporaryRedirect().insert_header(("location", to)).finish(),
        Answer::InvalidField(field) => {
            let bad = json!({"@type": "type.googleapis.com/google.rpc.BadRequest",
                "fieldViolations": [{"field": field, "description": "Invalid value"}]});
            let fcm = json!({"@type": "type.googleapis.com/google.firebase.fcm.v1.FcmError", "errorCode": "INVALID_ARGUMENT"});
            let body = json!({"error": {"code": 400, "message": "Invalid value", "status": "INVALID_ARGUMENT",
                "details": [bad, fcm]}});
            HttpResponse::BadRequest().json(body)
        }
        Answer::Hang => {
            tokio::time::sleep(WAIT_MAX * 6).await;
            HttpResponse::Ok().finish()
        }
        Answer::ResetMidBody => {
            let parts = [Ok(Bytes::from_static(b"{\"name\": \"proj")), Err(io::Error::other("cut"))];
            HttpResponse::Ok().content_type("application/json").streaming(futures_util::stream::iter(parts))
        }
    }
}

fn error(code: u16, status: &str, error_code: Option<&str>, retry_after: Option<String>) -> HttpResponse {
    let details: Vec<Value> = error_code
        .map(|c| json!({"@type": "type.googleapis.com/google.firebase.fcm.v1.FcmError", "errorCode": c}))
        .into_iter()
        .collect();
    let mut response = HttpResponse::build(StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR));
    if let Some(wait) = retry_after {
        response.insert_header(("retry-after", wait));
    }
    response.json(json!({"error": {"code": code, "message": "text", "status": status, "details": details}}))
}

/// The request against the discovery document; the tokens' length counts too.
fn check_request(project: &str, body: &Value, bytes: usize) -> Result<(), String> {
    if project != PROJECT {
        return Err("another project".to_owned());
    }
    if bytes > PAYLOAD_BYTES_MAX {
        return Err(format!("{bytes} bytes"));
    }
    let discovery: Value = serde_json::from_str(DISCOVERY).map_err(|e| e.to_string())?;
    let method = &discovery["resources"]["projects"]["resources"]["messages"]["methods"]["send"];
    check_value(body, &method["request"], &discovery["schemas"], "")?;
    let message = &body["message"];
    if ["token", "topic", "condition", "fid"].iter().filter(|t| !message[**t].is_null()).count() != 1 {
        return Err("exactly one target".to_owned());
    }
    Ok(())
}

fn check_value(value: &Value, schema: &Value, schemas: &Value, at: &str) -> Result<(), String> {
    if let Some(name) = schema["$ref"].as_str() {
        return check_value(value, &schemas[name], schemas, at);
    }
    let fits = match schema["type"].as_str() {
        Some("object") => return check_object(value, schema, schemas, at),
        Some("array") => {
            let items = value.as_array().ok_or_else(|| format!("{at} is no array"))?;
            return items.iter().try_for_each(|item| check_value(item, &schema["items"], schemas, at));
        }
        Some("string") => {
            let text = value.as_str().ok_or_else(|| format!("{at} is no string"))?;
            let listed = schema["enum"].as_array().is_none_or(|names| names.iter().any(|n| n == text));
            listed && (schema["format"] != "google-duration" || text.ends_with('s'))
        }
        Some("boolean") => value.is_boolean(),
        Some("integer") => value.is_i64(),
        Some("number") => value.is_number(),
        Some("any") => true,
        other => return Err(format!("{at}: the schema has {other:?}")),
    };
    if fits { Ok(()) } else { Err(format!("{at} does not fit")) }
}

fn check_object(value: &Value, schema: &Value, schemas: &Value, at: &str) -> Result<(), String> {
    let fields = value.as_object().ok_or_else(|| format!("{at} is no object"))?;
    for (name, value) in fields {
        let at = format!("{at}.{name}");
        let known = &schema["properties"][name];
        let schema = if known.is_null() { &schema["additionalProperties"] } else { known };
        if schema.is_null() {
            return Err(format!("{at} is unknown"));
        }
        check_value(value, schema, schemas, &at)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(spoil: impl Fn(&mut Value)) -> Result<(), String> {
        let mut request = json!({"message": {"token": "t", "data": {"a": "1"}, "android": {"priority": "HIGH"}}});
        spoil(&mut request);
        check_request(PROJECT, &request, request.to_string().len())
    }

    #[test]
    fn the_stand_in_refuses_what_the_discovery_document_does_not_know() {
        assert_eq!(check(|_| ()), Ok(()));
        assert_eq!(
            check(|r| r["message"]["android"]["collapse_key"] = "a".into()),
            Err(".message.android.collapse_key is unknown".into())
        );
        assert!(check(|r| r["message"]["data"]["a"] = 1.into()).is_err(), "data are strings");
        assert!(check(|r| r["message"]["android"]["priority"] = "high".into()).is_err(), "an enum");
        assert!(check(|r| r["message"]["topic"] = "a".into()).is_err(), "two targets");
        assert!(check(|r| r["message"]["notification"] = json!({"body": "a".repeat(4_096)})).is_err(), "too long");
        assert!(check(|r| r["message"]["android"]["ttl"] = 3.into()).is_err(), "a duration is a string");
    }
}
