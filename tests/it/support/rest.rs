//! A typed client of the REST interface.

use std::time::Duration;

use reqwest::{Method, header::HeaderMap};
use serde_json::{Value, json};

use super::account::Person;
use super::instance_ports::InstancePorts;
use super::schemas::check_answer;
use super::secrets::{PASSWORD, Secrets};

/// One answer, read to its end.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub text: String,
    /// Null if the body is not JSON.
    pub json: Value,
}

impl Answer {
    /// The body of an answer with this status; fails with the whole answer otherwise.
    #[track_caller]
    pub fn expect(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text);
        self.json
    }

    /// Checks a refusal: status, code, media type and the members of RFC 9457.
    #[track_caller]
    pub fn problem(self, status: u16, code: &str) -> Value {
        assert_eq!((self.status, &self.json["code"]), (status, &json!(code)), "{}", self.text);
        self.any_problem()
    }

    /// Checks the shape of any refusal.
    #[track_caller]
    pub fn any_problem(self) -> Value {
        assert_eq!(self.header("content-type"), "application/problem+json", "{}", self.text);
        for key in ["type", "title", "detail", "code"] {
            assert!(self.json[key].as_str().is_some_and(|v| !v.is_empty()), "{key} is missing: {}", self.text);
        }
        assert_eq!(self.json["status"], self.status, "{}", self.text);
        if matches!(self.status, 429 | 503) {
            let wait: u64 = self.header("retry-after").parse().expect("Retry-After in seconds");
            assert!((1..=86_400).contains(&wait), "{wait}");
        }
        self.json
    }

    /// Checks a 422 and the field that it names.
    #[track_caller]
    pub fn invalid(self, field: &str) -> Value {
        let problem = self.problem(422, "invalid");
        assert_eq!(problem["field"], field, "{problem}");
        problem
    }

    /// A header as text; empty if it is missing.
    pub fn header(&self, name: &str) -> String {
        self.headers.get(name).map(|v| String::from_utf8_lossy(v.as_bytes()).into_owned()).unwrap_or_default()
    }
}

/// An HTTP client that sends these headers with each request.
pub fn client(headers: HeaderMap) -> reqwest::Client {
    let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(30)).default_headers(headers);
    // No test server speaks TLS, and reading the machine's certificates takes longer than most requests.
    client.tls_certs_only([]).build().expect("a client")
}

/// A client of one server, or of any of its instances; stays valid when the server restarts.
#[derive(Clone)]
pub struct Api {
    pub ports: InstancePorts,
    client: reqwest::Client,
    pub secrets: Secrets,
}

impl Api {
    pub fn new(ports: impl Into<InstancePorts>, secrets: Secrets) -> Self {
        Self { ports: ports.into(), client: client(HeaderMap::new()), secrets }
    }

    /// The same client at an address of its own, as a trusted proxy in front of the server names it.
    pub fn at(&self, address: &str) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert("x-forwarded-for", address.parse().expect("an address"));
        Self { client: client(headers), ..self.clone() }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.ports.pick())
    }

    /// Any request; `Err` only when no answer came.
    pub async fn try_request(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        json: Option<&Value>,
    ) -> Result<Answer, reqwest::Error> {
        // Clients of the first version send it also without a body.
        let mut request =
            self.client.request(method.clone(), self.url(path)).header("content-type", "application/json");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(json) = json {
            request = request.body(json.to_string());
        }
        let answer = request.send().await?;
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let text = answer.text().await?;
        let json = serde_json::from_str(&text).unwrap_or(Value::Null);
        check_answer(&method, path, status, &json);
        Ok(Answer { status, headers, text, json })
    }

    /// Any request, which must be answered.
    pub async fn request(&self, method: Method, path: &str, token: Option<&str>, json: Option<&Value>) -> Answer {
        let bearer = token.map(|t| format!("Bearer {t}"));
        let headers: Vec<_> = bearer.iter().map(|b| ("authorization", b.as_str())).collect();
        self.try_request(method, path, &headers, json).await.expect("an answer")
    }

    /// GET without a token.
    pub async fn get(&self, path: &str) -> Answer {
        self.request(Method::GET, path, None, None).await
    }

    /// POST without a token.
    pub async fn post(&self, path: &str, json: &Value) -> Answer {
        self.request(Method::POST, path, None, Some(json)).await
    }

    /// GET with any headers, also ones that `request` would not set.
    pub async fn get_with(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.try_request(Method::GET, path, headers, None).await.expect("an answer")
    }

    /// Creates an account; the answer.
    pub async fn sign_up(&self, name: &str) -> Answer {
        self.post("/api/chatters", &json!({"username": name, "password": PASSWORD, "nickname": name})).await
    }

    /// Signs in; the answer.
    pub async fn sign_in(&self, name: &str, password: &str) -> Answer {
        self.secrets.remember(password);
        let answer = self.post("/api/auth", &json!({"username": name, "password": password})).await;
        if let Some(token) = answer.json["token"].as_str() {
            self.secrets.remember(token);
        }
        answer
    }

    /// A new account, signed in.
    pub async fn person(&self, name: &str) -> Person {
        let id = self.sign_up(name).await.expect(201)["id"].as_i64().expect("an id");
        let token = self.sign_in(name, PASSWORD).await.expect(200)["token"].as_str().expect("a token").to_owned();
        Person { api: self.clone(), id, name: name.to_owned(), token }
    }

    /// Two new accounts and their room.
    pub async fn pair(&self) -> (Person, Person, i64) {
        let (ann, bob) = (self.person("ann").await, self.person("bob").await);
        let room = ann.room_with(&bob).await;
        (ann, bob, room)
    }
}

/// The address that `Link: <…>; rel="next"` names, as a path.
pub fn next_link(answer: &Answer) -> Option<String> {
    let link = answer.header("link");
    let part = link.split(',').find(|part| part.contains("rel=\"next\""))?;
    let target = part.split_once('<')?.1.split_once('>')?.0;
    // Relative or absolute: the client requests the path and what follows it.
    let path = target.find("/api/").map_or(target, |at| &target[at..]);
    Some(path.to_owned())
}
