//! The documents: they are what the code makes, name all there is, and hold on the wire; the pages need nothing from elsewhere.

use std::collections::BTreeSet;
use std::path::Path;

use hyper_chat::http::routes::ROUTES;
use hyper_chat::protocol::chatroom;
use hyper_chat::protocol::device::client::{ClientFrame, Type};
use hyper_chat::websocket::framing::Close;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::contract::{ASYNCAPI, OPENAPI, check_frame, faults, path_item};
use crate::support::raw_socket::TEXT;
use crate::support::secrets::PASSWORD;
use crate::support::{Api, Db, RawSocket, TestServer};

const DOCUMENTS: [(&str, &str, &str); 2] = [
    ("openapi", "src/http/openapi.json", "/api/openapi.json"),
    ("asyncapi", "src/wire/asyncapi.json", "/api/asyncapi.json"),
];

/// Each operation of the document: method, path, what is said of it.
fn operations() -> impl Iterator<Item = (String, &'static str, &'static Value)> {
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
            "{file} is not what the code makes; renew it with `cargo run -- {command} > {file}`"
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
fn messages() -> impl Iterator<Item = (&'static str, &'static Value)> {
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
        let properties = message["payload"]["properties"].as_object().unwrap();
        for name in properties.keys() {
            let needed = message["payload"]["required"].as_array().unwrap().contains(&json!(name));
            let mut without = example.clone();
            without.as_object_mut().unwrap().remove(name);
            assert_eq!(reads(&without), !needed, "{key} without {name}");
            let mut wrong = example.clone();
            wrong[name] = json!([{}]);
            assert!(!reads(&wrong), "{key}: {name} is not looked at");
        }
    }
}

/// Two device sockets and what they do to each other.
struct Devices {
    api: Api,
    ann: RawSocket,
    bob: RawSocket,
    heard: BTreeSet<String>,
}

impl Devices {
    async fn ann_sends(&mut self, frame: Value) {
        self.ann.send(TEXT, frame.to_string().as_bytes()).await;
    }

    /// The next frame of this type to Ann.
    async fn ann_hears(&mut self, kind: &str) -> Value {
        Self::hears(&mut self.ann, &mut self.heard, kind).await
    }

    async fn bob_hears(&mut self, kind: &str) -> Value {
        Self::hears(&mut self.bob, &mut self.heard, kind).await
    }

    async fn hears(socket: &mut RawSocket, heard: &mut BTreeSet<String>, kind: &str) -> Value {
        loop {
            let frame = socket.expect_text().await;
            check_frame("device", &frame);
            let name = frame["type"].as_str().expect("a type").to_owned();
            let found = name == kind;
            heard.insert(name);
            if found {
                return frame;
            }
        }
    }
}

#[tokio::test]
async fn frames_on_the_wire_are_what_the_document_says() {
    let server = TestServer::spawn(Db::Sqlite).await;
    let (ann, bob, room) = server.api().pair().await;
    let path = format!("/ws?jwt={}", bob.token);
    let sockets = (
        RawSocket::open(server.port, "/ws", "").await.unwrap(),
        RawSocket::open(server.port, &path, "").await.unwrap(),
    );
    let mut two = Devices { api: server.api(), ann: sockets.0, bob: sockets.1, heard: BTreeSet::new() };
    two.bob_hears("ready").await;
    two.ann_sends(json!({"type": "auth", "token": ann.token})).await;
    two.ann_hears("ready").await;
    two.bob_hears("presence").await;
    two.ann_sends(json!({"type": "auth", "ref": 1, "token": ann.token})).await;
    two.ann_hears("authenticated").await;
    two.ann_sends(json!({"type": "typing", "chatroom_id": room, "typing": true})).await;
    two.bob_hears("typing").await;
    let send = json!({"type": "send", "ref": "s", "chatroom_id": room, "client_id": "d-1", "content": "over the wire"});
    two.ann_sends(send).await;
    let chat = two.ann_hears("ack").await["chat"]["id"].clone();
    two.bob_hears("chat").await;
    bob.receipt(room, &json!({"read_seq": 1}), (1, 1)).await;
    two.ann_hears("receipt").await;
    two.bob_hears("receipt").await;
    two.ann_sends(json!({"type": "edit", "chat_id": chat, "content": "over and over"})).await;
    two.bob_hears("chat_edited").await;
    two.ann_sends(json!({"type": "delete", "chat_id": chat})).await;
    two.bob_hears("chat_deleted").await;
    two.ann_sends(json!({"type": "resume", "ref": 9, "chatrooms": {room.to_string(): 0}})).await;
    two.ann_hears("changes").await;
    two.ann_hears("resumed").await;
    two.ann_sends(json!({"type": "ping"})).await;
    two.ann_hears("pong").await;
    two.ann_sends(json!({"type": "dance", "ref": 2})).await;
    two.ann_hears("error").await;
    let cem = two.api.person("cem").await;
    let other = ann.room_with(&cem).await;
    two.ann_hears("chatroom_created").await;
    ann.delete(&format!("/api/chatrooms/{other}")).await.expect(200);
    two.ann_hears("chatroom_deleted").await;
    assert!(two.heard.len() >= 14, "{:?}", two.heard);
}

/// The code of the other tests and of what supports them.
fn code_of_tests() -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it");
    let files =
        [folder.clone(), folder.join("support")].into_iter().flat_map(|f| std::fs::read_dir(f).expect("a folder"));
    let files = files.flatten().map(|entry| entry.path()).filter(|path| !path.ends_with("documents.rs"));
    let text: String = files.map(|path| std::fs::read_to_string(path).unwrap_or_default()).collect();
    text.lines().filter(|line| !line.trim_start().starts_with("//")).flat_map(|line| [line, "\n"]).collect()
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

#[tokio::test]
async fn the_pages_load_nothing_from_elsewhere() {
    let server = TestServer::spawn(Db::Sqlite).await;
    for path in ["/docs", "/docs/socket"] {
        let page = server.api().get(path).await;
        assert_eq!((page.status, page.header("content-type").as_str()), (200, "text/html; charset=utf-8"), "{path}");
        for word in ["http://", "https://", "src=", "@import", "url(", "import(", "//cdn"] {
            assert!(!page.text.contains(word), "{path} has {word}");
        }
        let policy = page.header("content-security-policy");
        assert!(policy.starts_with("default-src 'none'; script-src 'sha256-"), "{policy}");
        assert!(!policy.contains("unsafe") && !policy.contains('*') && !policy.contains("http"), "{policy}");
    }
}

#[tokio::test]
async fn documents_and_pages_are_sent_once_while_they_stay_the_same() {
    let server = TestServer::spawn(Db::Sqlite).await;
    for path in ["/docs", "/docs/socket", "/api/openapi.json", "/api/asyncapi.json"] {
        let first = server.api().get(path).await;
        assert_eq!(first.header("x-content-type-options"), "nosniff", "{path}");
        let etag = first.header("etag");
        assert!(etag.len() > 10 && first.header("cache-control") == "no-cache", "{path}: {etag}");
        for known in [etag.clone(), format!("W/{etag}"), format!("\"another\", {etag}")] {
            let again = server.api().get_with(path, &[("if-none-match", &known)]).await;
            assert_eq!((again.status, again.text.as_str(), again.header("etag")), (304, "", etag.clone()), "{path}");
        }
        let changed = server.api().get_with(path, &[("if-none-match", "\"another\"")]).await;
        assert_eq!(changed.status, 200, "{path}");
    }
}
