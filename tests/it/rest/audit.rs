//! Row E11: lines for audits say who did what, from where and with which outcome, and hold no secrets.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::TestServer;
use crate::support::forwarded::{At, behind_a_proxy};
use crate::support::secrets::PASSWORD;

const HOME: &str = "203.0.113.7";
const NEW_PASSWORD: &str = "a newer horse";
/// What a person typed into the field of the name.
const TYPED_AS_NAME: &str = "battery-staple-77";

/// Event, outcome and reason of each line of the test.
const EXPECTED: &[(&str, &str, &str)] = &[
    ("sign_up", "done", ""),
    ("sign_up", "refused", "username_taken"),
    ("sign_in", "refused", "credentials_wrong"),
    ("sign_in", "refused", "credentials_wrong"),
    ("sign_in", "done", ""),
    ("refresh", "done", ""),
    ("refresh", "done", ""),
    ("refresh_replayed", "done", ""),
    ("refresh", "refused", "token_invalid"),
    ("sign_in", "done", ""),
    ("sign_in", "done", ""),
    ("session_end", "done", ""),
    ("other_sessions_end", "done", ""),
    ("password_change", "refused", "credentials_wrong"),
    ("password_change", "done", ""),
    ("sign_up", "done", ""),
    ("sign_in", "done", ""),
    ("token_move", "done", ""),
    ("room_deletion", "done", ""),
    ("sign_out", "done", ""),
    ("sign_in", "done", ""),
    ("account_deletion", "done", ""),
];

/// The lines of the log for audits.
fn lines(server: &TestServer) -> Vec<Value> {
    let log = server.log();
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter(|line| line["target"] == "audit").collect()
}

/// Event, outcome and reason, without the start of the server.
fn summary(lines: &[Value]) -> Vec<(&str, &str, &str)> {
    let text = |line: &'_ Value, key: &str| line[key].as_str().unwrap_or_default().to_owned().leak() as &'static str;
    let all = lines.iter().map(|line| (text(line, "event"), text(line, "outcome"), text(line, "reason")));
    all.filter(|(event, ..)| *event != "start").collect()
}

struct Client {
    at: At,
    secrets: Vec<String>,
}

impl Client {
    async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> crate::support::Answer {
        self.at.request(method, path, body).await
    }

    /// Signs in; the answer. Later calls are of this session.
    async fn signs_in(&mut self, name: &str, password: &str) -> Value {
        let signed_in = self.at.sign_in(name, password).await.expect(200);
        self.remember(&signed_in);
        self.at = self.at.with_token(signed_in["token"].as_str().expect("a token"));
        signed_in
    }

    async fn refreshes(&mut self, token: &Value) -> crate::support::Answer {
        let answer = self.call(Method::POST, "/api/auth/refresh", Some(&json!({"refresh_token": token}))).await;
        self.remember(&answer.json);
        answer
    }

    fn remember(&mut self, signed_in: &Value) {
        let tokens = ["token", "refresh_token"].map(|key| signed_in[key].as_str().map(str::to_owned));
        self.secrets.extend(tokens.into_iter().flatten());
    }
}

#[tokio::test]
async fn e11_each_change_of_accounts_sessions_and_rooms_has_a_line_without_secrets() {
    let server = behind_a_proxy().set("LOG__FORMAT", "json").set("LIMITS__SIGN_IN_PER_MIN", 0).start().await;
    let mut ann = Client { at: At::new(&server, HOME), secrets: vec![PASSWORD.into(), NEW_PASSWORD.into()] };
    let bob = At::new(&server, "203.0.113.8");
    let id = ann.at.sign_up("ann").await.expect(201)["id"].clone();
    ann.at.sign_up("ann").await.problem(409, "username_taken");
    ann.at.sign_in("ann", "wrong-horse-12").await.problem(401, "credentials_wrong");
    ann.at.sign_in(TYPED_AS_NAME, "wrong-horse-13").await.problem(401, "credentials_wrong");
    let first = ann.signs_in("ann", PASSWORD).await;
    let second = ann.refreshes(&first["refresh_token"]).await.expect(200);
    ann.refreshes(&second["refresh_token"]).await.expect(200);
    ann.refreshes(&first["refresh_token"]).await.problem(401, "token_revoked");
    ann.refreshes(&json!("no refresh token")).await.problem(401, "token_invalid");
    ann.signs_in("ann", PASSWORD).await;
    let sessions = ann.call(Method::GET, "/api/auth/sessions", None).await.expect(200);
    assert_eq!(sessions.as_array().map(Vec::len), Some(1), "{sessions}");
    ann.signs_in("ann", PASSWORD).await;
    let other = sessions[0]["id"].clone();
    ann.call(Method::DELETE, &format!("/api/auth/sessions/{other}"), None).await.expect(200);
    ann.call(Method::DELETE, "/api/auth/sessions", None).await.expect(200);
    let wrong = json!({"password": NEW_PASSWORD, "current_password": "wrong-horse-14"});
    ann.call(Method::PUT, "/api/chatters", Some(&wrong)).await.invalid("current_password");
    let right = json!({"password": NEW_PASSWORD, "current_password": PASSWORD});
    ann.call(Method::PUT, "/api/chatters", Some(&right)).await.expect(200);
    let bobs = bob.sign_up("bob").await.expect(201)["id"].clone();
    let token = bob.sign_in("bob", PASSWORD).await.expect(200)["token"].as_str().expect("a token").to_owned();
    let phone = json!({"fcm_reg_id": "phone-of-two-people"});
    bob.with_token(&token).request(Method::PUT, "/api/chatters", Some(&phone)).await.expect(200);
    ann.call(Method::PUT, "/api/chatters", Some(&phone)).await.expect(200);
    let room = ann.call(Method::POST, "/api/chatrooms", Some(&json!({"opponent_id": bobs}))).await.expect(201);
    ann.call(Method::DELETE, &format!("/api/chatrooms/{}", room["id"]), None).await.expect(200);
    ann.call(Method::DELETE, "/api/auth", None).await.expect(200);
    ann.signs_in("ann", NEW_PASSWORD).await;
    ann.call(Method::DELETE, "/api/chatters", None).await.expect(200);

    let lines = lines(&server);
    assert_eq!((lines[0]["event"].as_str(), lines[0]["old_secrets"].as_i64()), (Some("start"), Some(0)));
    assert!(lines[0]["epoch"].as_str().is_some_and(|epoch| !epoch.is_empty()), "{}", lines[0]);
    assert_eq!(summary(&lines), EXPECTED);
    for line in &lines[1..] {
        assert!(line["span"]["request_id"].as_str().is_some_and(|id| !id.is_empty()), "{line}");
        let of_bob = line["from"] == "203.0.113.8";
        assert!(of_bob || line["from"] == HOME, "{line}");
        let unknown = ["username_taken", "token_invalid"].contains(&line["reason"].as_str().unwrap_or_default());
        assert!(unknown || of_bob || line["chatter"] == id || line == &lines[4], "{line}");
    }
    assert_eq!((&lines[3]["chatter"], lines[4].get("chatter")), (&id, None), "a known and an unknown name");
    assert_eq!(lines[12]["session"], other);
    assert_eq!(lines[18]["former_owner"], bobs);
    assert_eq!(lines[19]["chatroom"], room["id"]);
    let all = lines.iter().map(Value::to_string).collect::<String>();
    let wrong = (12..=14).map(|n| format!("wrong-horse-{n}"));
    for secret in ann.secrets.iter().cloned().chain(wrong).chain([TYPED_AS_NAME, "phone-of"].map(str::to_owned)) {
        assert!(!all.contains(&secret), "{secret}");
    }
}

#[tokio::test]
async fn e11_refusals_because_of_a_rate_have_few_lines() {
    let server = behind_a_proxy().set("LOG__FORMAT", "json").start().await;
    let home = At::new(&server, HOME);
    home.sign_up("ann").await.expect(201);
    for _ in 0..30 {
        home.sign_in("ann", "wrong-horse-12").await.any_problem();
    }
    At::new(&server, "203.0.113.9").sign_in("ann", "wrong-horse-12").await.problem(401, "credentials_wrong");
    let lines = lines(&server);
    let from = |address: &str| {
        let refused = lines.iter().filter(|line| line["outcome"] == "refused" && line["from"] == address);
        refused.map(|line| line["reason"].as_str().unwrap_or_default()).collect::<Vec<_>>()
    };
    assert_eq!(from(HOME), [["credentials_wrong"; 5], ["rate_limited"; 5]].concat());
    assert_eq!(from("203.0.113.9"), ["credentials_wrong"], "another address has lines of its own");
}

#[tokio::test]
async fn e11_the_lines_can_be_filtered_and_are_text_for_people() {
    let server = behind_a_proxy().set("LOG__FILTER", "off,audit=info").start().await;
    let home = At::new(&server, HOME);
    home.sign_up("ann").await.expect(201);
    let log = server.log();
    let last = log.lines().last().expect("a line");
    assert!(last.contains("audit: event=\"sign_up\" outcome=\"done\" from=203.0.113.7 chatter="), "{last}");
    assert!(log.lines().all(|line| line.contains("audit: ")), "{log}");
}
