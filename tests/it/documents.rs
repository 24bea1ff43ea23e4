//! The documents: they are what the code makes, name all there is, and hold on the wire; the pages need nothing from
//! elsewhere.

use std::collections::BTreeSet;
use std::path::Path;

use hyper_chat::http::routes::ROUTES;
use hyper_chat::protocol::chatroom;
use hyper_chat::protocol::device::client::{ClientFrame, Type};
use hyper_chat::websocket::framing::Close;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::contract::{ASYNCAPI, OPENAPI, faults, path_item, resolve};
use crate::support::secrets::PASSWORD;
use crate::support::{Db, RawSocket, TestServer};

const DOCUMENTS: [(&str, &str, &str); 2] = [
    ("openapi", "src/http/openapi.json", "/api/openapi.json"),
    ("asyncapi", "src/protocol/asyncapi.json", "/api/asyncapi.json"),
];

/// Each operation of the document: method, path, what is said of it.
pub fn operations() -> impl Iterator<Item = (String, &'static str, &'static Value)> {
    let paths = OPENAPI["paths"].as_object().expect("paths");
    paths.iter().flat_map(|(path, item)| {
        let methods = item.as_object().expect("methods");
        methods.iter().map(move |(method, operation)| (method.to_ascii_uppercase(), path.as_str(), operation))
    })
}

#[tokio::test]
async fn the_documents_are_printed_served_and_checked_in_alike() {
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
fn the_routes_and_the_document_name_the_same_operations() {
    let routes: BTreeSet<(String, &str)> = ROUTES
        .iter()
        .flat_map(|(paths, methods)| methods.iter().map(|method| ((*method).to_owned(), paths[0])))
        .collect();
    let documented: BTreeSet<_> = operations().map(|(method, path, _)| (method, path)).collect();
    assert_eq!(routes, documented);
}

#[test]
fn every_operation_says_what_it_does_and_shows_what_it_takes_and_gives() {
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
fn every_reference_of_the_documents_leads_somewhere_and_nothing_is_left_empty() {
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
    let missing: Vec<_> = operations().map(|(m, path, _)| (m, path)).filter(|one| !seen.contains(one)).collect();
    assert!(missing.is_empty(), "without a call in this test: {missing:?}");
}

/// The messages of the document: `device.client.send` and the like, and the message.
pub fn messages() -> impl Iterator<Item = (&'static str, &'static Value)> {
    let messages = ASYNCAPI["components"]["messages"].as_object().expect("messages");
    messages.iter().map(|(key, message)| (key.as_str(), message))
}

#[test]
fn every_frame_has_an_example_that_is_one() {
    for (key, message) in messages() {
        assert!(message["summary"].as_str().is_some_and(|text| !text.is_empty()), "{key} is not described");
        let wrong = faults(&ASYNCAPI, &message["payload"], &message["examples"][0]["payload"]);
        assert!(wrong.is_empty(), "{key}: {wrong:#?}");
    }
    let types: Vec<&str> = messages().filter_map(|(key, _)| key.strip_prefix("device.client.")).collect();
    assert_eq!(types, Type::ALL.iter().map(|kind| kind.as_str()).collect::<Vec<_>>());
    let codes: Vec<u64> =
        ASYNCAPI["x-close-codes"].as_array().unwrap().iter().filter_map(|c| c["code"].as_u64()).collect();
    assert!(Close::ALL.iter().all(|close| codes.contains(&u64::from(close.code))), "{codes:?}");
}

#[test]
fn every_example_of_a_client_is_read_as_its_type_and_needs_its_keys() {
    for (key, message) in messages().filter(|(key, _)| key.contains(".client.")) {
        let example = &message["examples"][0]["payload"];
        let reads = |frame: &Value| {
            let text = frame.to_string();
            match key.strip_prefix("device.client.") {
                Some(_) => ClientFrame::parse(text.as_bytes()).is_ok(),
                None => serde_json::from_str::<chatroom::ClientFrame>(&text).is_ok(),
            }
        };
        assert!(reads(example), "{key}: {example}");
        let payload = resolve(&ASYNCAPI, &message["payload"]);
        let properties = payload["properties"].as_object().unwrap();
        for name in properties.keys() {
            let needed = payload["required"].as_array().unwrap().contains(&json!(name));
            let mut without = example.clone();
            without.as_object_mut().unwrap().remove(name);
            assert_eq!(reads(&without), !needed, "{key} without {name}");
            let mut wrong = example.clone();
            wrong[name] = json!([{}]);
            assert!(!reads(&wrong), "{key}: {name} is not looked at");
        }
    }
}

/// The code of the other tests and of what supports them.
fn code_of_tests() -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it");
    let (mut folders, mut text) = (vec![folder], String::new());
    while let Some(folder) = folders.pop() {
        for path in std::fs::read_dir(folder).expect("a folder").flatten().map(|entry| entry.path()) {
            if path.is_dir() {
                folders.push(path);
            } else if !names_documents(&path) {
                text += &std::fs::read_to_string(path).unwrap_or_default();
            }
        }
    }
    text.lines().filter(|line| !line.trim_start().starts_with("//")).flat_map(|line| [line, "\n"]).collect()
}

/// The files of these tests name every frame, so they prove nothing.
fn names_documents(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("documents"))
}

/// How tests send a frame, or look at one that came.
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
fn every_frame_has_another_test_that_sends_it_or_looks_at_it() {
    let code = code_of_tests();
    let tested = |key: &str| marks(key).iter().any(|mark| code.contains(mark));
    let untested: Vec<_> = messages().map(|(key, _)| key).filter(|key| !tested(key)).collect();
    assert!(untested.is_empty(), "no test of these frames: {untested:?}");
}
