//! The documents: they are up to date, name every operation and every frame, and their examples are valid.

mod frames;
mod served;

use std::collections::BTreeSet;
use std::path::Path;

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::schemas::{ASYNCAPI, OPENAPI, faults, messages, operations, path_item};
use crate::support::secrets::PASSWORD;
use crate::support::{Db, RawSocket, TestServer};

const DOCUMENTS: [(&str, &str, &str); 2] = [
    ("openapi", "src/http/openapi.json", "/api/openapi.json"),
    ("asyncapi", "src/protocol/asyncapi.json", "/api/asyncapi.json"),
];

#[tokio::test]
async fn the_documents_are_printed_served_and_checked_in_identically() {
    let server = TestServer::spawn(Db::Sqlite).await;
    for (command, file, path) in DOCUMENTS {
        let (status, printed, log) = TestServer::with(Db::Sqlite).run(&[command]).await;
        assert!(status.success(), "{log}");
        let served = server.api().get(path).await;
        assert_eq!(served.header("content-type"), "application/json");
        assert!(served.text == printed, "{path} is not what `hyper-chat {command}` prints");
        let checked_in = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap_or_default();
        assert!(
            checked_in == printed,
            "{file} is not what the code makes; renew it with `UPDATE_DOCUMENTS=1 cargo test --lib checked_in`"
        );
    }
}

#[test]
fn every_operation_has_a_description_and_examples() {
    let mut names = BTreeSet::new();
    for (method, path, operation) in operations() {
        let name = operation["operationId"].as_str().unwrap_or_default();
        assert!(names.insert(name), "{method} {path}: another operation is called {name:?} as well");
        assert!(operation["summary"].as_str().is_some_and(|text| !text.is_empty()), "{method} {path} has no summary");
        let tags: Vec<_> = OPENAPI["tags"].as_array().unwrap().iter().map(|tag| &tag["name"]).collect();
        assert!(tags.contains(&&operation["tags"][0]), "{method} {path} is under a heading that is none");
        let answers = operation["responses"].as_object().unwrap().iter();
        let bodies = answers.map(|(status, answer)| (status.as_str(), &answer["content"]["application/json"]));
        for (what, body) in bodies.chain([("its body", &operation["requestBody"]["content"]["application/json"])]) {
            if let Some(schema) = body.get("schema") {
                assert!(body["example"] != Value::Null, "{method} {path}: {what} has no example");
                let wrong = faults(&OPENAPI, schema, &body["example"]);
                assert!(wrong.is_empty(), "{method} {path}: the example of {what}: {wrong:#?}");
            }
        }
    }
}

/// The places where a document says null; examples may.
fn nulls(value: &Value, at: &str, found: &mut Vec<String>) {
    match value {
        Value::Null => found.push(at.to_owned()),
        Value::Array(items) => items.iter().enumerate().for_each(|(n, item)| nulls(item, &format!("{at}/{n}"), found)),
        Value::Object(object) => {
            let said = object.iter().filter(|(key, _)| !matches!(key.as_str(), "example" | "examples"));
            said.for_each(|(key, inner)| nulls(inner, &format!("{at}/{key}"), found));
        }
        _ => {}
    }
}

#[test]
fn every_reference_of_the_documents_resolves_and_no_text_is_empty() {
    for document in [&OPENAPI, &ASYNCAPI] {
        let mut empty = Vec::new();
        nulls(document, "", &mut empty);
        assert!(empty.is_empty(), "{empty:?}");
        for part in document.to_string().split("\"$ref\":\"#").skip(1) {
            let pointer = part.split('"').next().unwrap();
            assert!(document.pointer(pointer).is_some(), "{pointer}");
        }
    }
}

/// Calls that together are every operation: method, path, body; in an order that leaves nothing out.
fn calls(me: i64, room: i64, gone: i64, chat: i64) -> Vec<(Method, String, Option<Value>)> {
    let get = |path: &str| (Method::GET, path.to_owned(), None);
    let room = format!("/api/chatrooms/{room}");
    let chat = format!("/api/chats/{chat}");
    vec![
        get("/healthz"),
        get("/readyz"),
        get("/metrics"),
        get("/api/openapi.json"),
        get("/api/asyncapi.json"),
        get("/docs"),
        get("/docs/socket"),
        get("/docs.md"),
        get("/docs/socket.md"),
        get("/docs/own-users.md"),
        get("/llms.txt"),
        (Method::POST, "/api/chatters".into(), Some(json!({"username": "cem", "password": PASSWORD, "nickname": "C"}))),
        (Method::POST, "/api/auth".into(), Some(json!({"username": "cem", "password": PASSWORD}))),
        get("/api/chatters"),
        get("/api/chatters/me"),
        get(&format!("/api/chatters/{me}")),
        (Method::PUT, "/api/chatters".into(), Some(json!({"nickname": "Ann"}))),
        (Method::POST, "/api/chatrooms".into(), Some(json!({"opponent_id": me}))),
        get("/api/chatrooms"),
        get(&room),
        (Method::POST, format!("{room}/chats"), Some(json!({"content": "said in every way", "client_id": "e-1"}))),
        get(&format!("{room}/chats")),
        (Method::POST, format!("{room}/chats/search"), Some(json!({"query": "every"}))),
        get(&format!("{room}/changes?since=0")),
        (Method::PUT, format!("{room}/receipt"), Some(json!({"read_seq": 1}))),
        get(&chat),
        (Method::PUT, chat.clone(), Some(json!({"content": "said in another way"}))),
        (Method::DELETE, chat, None),
        (Method::DELETE, format!("/api/chatrooms/{gone}"), None),
        (Method::DELETE, "/api/chatters".into(), None),
    ]
}

/// Calls the operations of sessions, in an order that ends the caller's own session last.
async fn session_operations(server: &TestServer) -> Vec<(String, &'static str)> {
    let eve = server.api().person("eve").await;
    let other = server.api().sign_in("eve", PASSWORD).await.expect(200);
    let refresh = json!({"refresh_token": other["refresh_token"]});
    let sessions = eve.get("/api/auth/sessions").await.expect(200);
    let sessions = sessions.as_array().expect("a list");
    let id = &sessions.iter().find(|one| one["current"] == false).expect("the other session")["id"];
    let calls = [
        (Method::GET, "/api/auth/sessions".to_owned(), None),
        (Method::POST, "/api/auth/refresh".to_owned(), Some(refresh)),
        (Method::DELETE, format!("/api/auth/sessions/{}", id.as_str().map_or(id.to_string(), str::to_owned)), None),
        (Method::DELETE, "/api/auth/sessions".to_owned(), None),
        (Method::DELETE, "/api/auth".to_owned(), None),
    ];
    let mut seen = Vec::new();
    for (method, path, body) in calls {
        let answer = eve.request(method.clone(), &path, body.as_ref()).await;
        assert!((200..300).contains(&answer.status), "{method} {path}: {}", answer.text);
        seen.push((method.to_string(), path_item(&path).expect("in the document").0));
    }
    seen
}

#[tokio::test]
async fn every_operation_succeeds_from_end_to_end() {
    let server = TestServer::spawn(Db::Sqlite).await;
    let (ann, bob, room) = server.api().pair().await;
    let dan = server.api().person("dan").await;
    let chat = ann.says(room, "said to be changed").await["id"].as_i64().unwrap();
    let mut seen = BTreeSet::new();
    for path in ["/ws".to_owned(), format!("/ws/chatrooms/{room}/"), format!("/ws/chatrooms/{room}")] {
        RawSocket::open(server.port, &format!("{path}?jwt={}", bob.token), "").await.expect("a socket");
        seen.insert(("GET".to_owned(), path_item(&path).expect("in the document").0));
    }
    for (method, path, body) in calls(ann.id, room, ann.room_with(&dan).await, chat) {
        // The client holds every answer against the document.
        let answer = ann.request(method.clone(), &path, body.as_ref()).await;
        assert!((200..300).contains(&answer.status), "{method} {path}: {}", answer.text);
        seen.insert((method.to_string(), path_item(&path).expect("in the document").0));
    }
    seen.extend(session_operations(&server).await);
    let missing: Vec<_> = operations().map(|(m, path, _)| (m, path)).filter(|one| !seen.contains(one)).collect();
    assert!(missing.is_empty(), "without a call in this test: {missing:?}");
}

#[test]
fn every_frame_has_a_valid_example() {
    for (key, message) in messages() {
        assert!(message["summary"].as_str().is_some_and(|text| !text.is_empty()), "{key} is not described");
        let wrong = faults(&ASYNCAPI, &message["payload"], &message["examples"][0]["payload"]);
        assert!(wrong.is_empty(), "{key}: {wrong:#?}");
    }
}

/// The code of the other tests and of their support.
fn code_of_tests() -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it");
    let (mut folders, mut text) = (vec![folder], String::new());
    while let Some(folder) = folders.pop() {
        for path in std::fs::read_dir(folder).expect("a folder").flatten().map(|entry| entry.path()) {
            if names_documents(&path) {
                continue;
            } else if path.is_dir() {
                folders.push(path);
            } else {
                text += &std::fs::read_to_string(path).unwrap_or_default();
            }
        }
    }
    text.lines().filter(|line| !line.trim_start().starts_with("//")).flat_map(|line| [line, "\n"]).collect()
}

/// These tests name every frame, so they prove nothing.
fn names_documents(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("documents"))
}

/// How tests send a frame, or read one.
fn marks(key: &str) -> Vec<String> {
    let (from, name) = key.rsplit_once('.').expect("a key");
    let ways: &[&str] = match from {
        "device.client" => &[r#""type": "%""#],
        "device.server" => {
            &[r#"expect("%")"#, r#"["type"] == "%""#, r#"["type"], "%""#, r#"json!("%")"#, r#"Some("%")"#, r#""%" =>"#]
        }
        "chatroom.client" => &[r#""%":"#],
        _ => &[r#"["%"]"#, r#"expect_event("%")"#],
    };
    ways.iter().map(|way| way.replace('%', name)).collect()
}

#[test]
fn every_frame_has_another_test_that_sends_or_reads_it() {
    let code = code_of_tests();
    let tested = |key: &str| marks(key).iter().any(|mark| code.contains(mark));
    let untested: Vec<_> = messages().map(|(key, _)| key).filter(|key| !tested(key)).collect();
    assert!(untested.is_empty(), "no test of these frames: {untested:?}");
}
