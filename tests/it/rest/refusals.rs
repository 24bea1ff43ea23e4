//! Refusals: their common shape, malformed requests, and the objects of other chatters, which stay hidden.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::http::send_bytes;
use crate::support::wait::s;
use crate::support::{Db, Person, RawSocket, TestServer, on_all};

on_all![
    strangers_get_no_access_on_any_route,
    malformed_ids_are_404,
    malformed_ids_in_bodies_are_refused,
    nul_is_refused_in_every_text,
];

fn paths(room: i64, chat: i64, chatter: i64) -> Vec<(Method, String, Option<Value>)> {
    let content = Some(json!({"content": "by somebody else"}));
    vec![
        (Method::GET, format!("/api/chatrooms/{room}"), None),
        (Method::GET, format!("/api/chatrooms/{room}/chats"), None),
        (Method::POST, format!("/api/chatrooms/{room}/chats"), content.clone()),
        (Method::POST, format!("/api/chatrooms/{room}/chats/search"), Some(json!({"query": "a"}))),
        (Method::GET, format!("/api/chatrooms/{room}/changes?since=0"), None),
        (Method::PUT, format!("/api/chatrooms/{room}/receipt"), Some(json!({"read_seq": 1}))),
        (Method::GET, format!("/api/chats/{chat}"), None),
        (Method::PUT, format!("/api/chats/{chat}"), content),
        (Method::DELETE, format!("/api/chats/{chat}"), None),
        (Method::DELETE, format!("/api/chatrooms/{room}"), None),
        (Method::GET, format!("/api/chatters/{chatter}"), None),
        (Method::GET, "/api/chatters/me".to_owned(), None),
        (Method::PUT, "/api/chatters".to_owned(), Some(json!({"nickname": "x"}))),
        (Method::DELETE, "/api/chatters".to_owned(), None),
        (Method::GET, "/api/chatrooms".to_owned(), None),
        (Method::POST, "/api/chatrooms".to_owned(), Some(json!({"opponent_id": chatter}))),
    ]
}

async fn strangers_get_no_access_on_any_route(db: Db) {
    let server = TestServer::spawn(db).await;
    let (ann, _, room) = server.api().pair().await;
    let stranger = server.api().person("cem").await;
    let chat = ann.says(room, "not for anybody else").await["id"].as_i64().unwrap();
    for (method, path, body) in paths(room, chat, ann.id) {
        let unnamed = server.api().request(method.clone(), &path, None, body.as_ref()).await;
        assert_eq!(unnamed.status, 401, "{method} {path}");
        unnamed.problem(401, "token_missing");
        if path.contains(&format!("chatrooms/{room}")) || path.contains("chats/") {
            let hidden = stranger.request(method.clone(), &path, body.as_ref()).await;
            assert!(matches!(hidden.status, 403 | 404), "{method} {path}: {}", hidden.text);
            assert!(!hidden.text.contains("not for anybody"), "{method} {path}");
            hidden.any_problem();
        }
    }
    for path in [format!("/ws/chatrooms/{room}/?jwt={}", stranger.token), format!("/ws/chatrooms/{room}/")] {
        let refused = RawSocket::open(server.port, &path, "").await.err().expect("refused before the upgrade");
        assert!(matches!(refused.status, 401 | 404), "{}", refused.head);
    }
    let rows = server.dump().await.chats(room).await;
    assert_eq!((rows.len(), rows[0].content.as_str()), (1, "not for anybody else"));
    assert!(server.dump().await.room(room).await.is_some());
}

async fn malformed_ids_are_404(db: Db) {
    let server = TestServer::spawn(db).await;
    let ann = server.api().person("ann").await;
    let long = "9".repeat(10_000);
    for id in ["-1", "0", "9223372036854775807", "9223372036854775808", "1e3", "%D9%A3", "%00", "abc", "1.0", &long] {
        for path in [
            format!("/api/chatrooms/{id}"),
            format!("/api/chatrooms/{id}/chats"),
            format!("/api/chats/{id}"),
            format!("/api/chatters/{id}"),
        ] {
            let answer = ann.get(&path).await;
            let short: String = path.chars().take(60).collect();
            assert!(matches!(answer.status, 404 | 414), "{short}: {}", answer.text);
        }
    }
}

async fn malformed_ids_in_bodies_are_refused(db: Db) {
    let server = TestServer::spawn(db).await;
    let (ann, _, room) = server.api().pair().await;
    for id in ["9223372036854775808", "1e400", "-1", "\"1\"", "1.5", "null", "[1]", "{}", "true"] {
        let bodies = [
            ("/api/chatrooms".to_owned(), format!("{{\"opponent_id\":{id}}}")),
            (format!("/api/chatrooms/{room}/chats"), format!("{{\"content\":\"to an id\",\"receiver_id\":{id}}}")),
        ];
        for (path, body) in bodies {
            // An optional value may be null.
            if id == "null" && path.ends_with("chats") {
                continue;
            }
            let answer = post_text(&server, &ann, &path, "application/json", body.as_bytes()).await;
            assert!(matches!(answer.0, 400 | 422), "{path} {body}: {answer:?}");
        }
    }
}

async fn nul_is_refused_in_every_text(db: Db) {
    let server = TestServer::spawn(db).await;
    let (ann, _, room) = server.api().pair().await;
    ann.post_chat(room, &json!({"content": "a\u{0}b"})).await.invalid("content");
    ann.put("/api/chatters", &json!({"nickname": "a\u{0}b"})).await.invalid("nickname");
    ann.search(room, "a\u{0}b").await.invalid("query");
    ann.put("/api/chatters", &json!({"fcm_reg_id": "a\u{0}b"})).await.invalid("fcm_reg_id");
    let wrong = server.api().sign_in("an\u{0}n", "12345678").await;
    assert!(matches!(wrong.status, 401 | 422), "{}", wrong.text);
    let found = server.api().get("/api/chatters?query=a%00b").await;
    assert!(matches!(found.status, 200 | 400 | 422), "{}", found.text);
}

/// Any body with any media type; status and body of the answer.
async fn post_text(server: &TestServer, person: &Person, path: &str, kind: &str, body: &[u8]) -> (u16, Value) {
    let mut request = format!(
        "POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nAuthorization: Bearer {}\r\n{}Content-Length: {}\r\n\r\n",
        person.token,
        if kind.is_empty() { String::new() } else { format!("Content-Type: {kind}\r\n") },
        body.len()
    )
    .into_bytes();
    request.extend_from_slice(body);
    let answer = send_bytes(server.port, &request, s(10)).await;
    (answer.status, answer.json())
}

#[tokio::test]
async fn a_body_that_is_not_json_is_400_and_another_media_type_is_415() {
    let server = TestServer::spawn(Db::Sqlite).await;
    let (ann, _, room) = server.api().pair().await;
    let path = format!("/api/chatrooms/{room}/chats");
    let deep = format!("{{\"content\":{}1{}}}", "[".repeat(200), "]".repeat(200));
    let utf16: Vec<u8> = "{\"content\":\"wide\"}".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let bodies: [&[u8]; 12] = [
        b"",
        b"{",
        b"not json",
        b"{\"content\":\"a\"} trailing",
        b"{\"content\":\"\\ud800\"}",
        b"{\"content\":\"\\udc00\\ud800\"}",
        b"{\"content\":\"\xff\xfe\"}",
        b"{\"content\":\"\xc0\xaf\"}",
        b"\xef\xbb\xbf{\"content\":\"marked\"}",
        &utf16,
        deep.as_bytes(),
        b"{\"content\":\"tab\there\x01\"}",
    ];
    for body in bodies {
        let (status, problem) = post_text(&server, &ann, &path, "application/json", body).await;
        let shown = String::from_utf8_lossy(&body[..body.len().min(40)]).into_owned();
        assert_eq!((status, &problem["code"]), (400, &json!("malformed")), "{shown}: {problem}");
    }
    let good = b"{\"content\":\"a body of another kind\"}";
    for kind in ["", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "json"] {
        let (status, problem) = post_text(&server, &ann, &path, kind, good).await;
        assert_eq!((status, &problem["code"]), (415, &json!("unsupported_media_type")), "{kind}: {problem}");
    }
    for kind in ["application/json", "application/json; charset=utf-8", "Application/JSON"] {
        assert_eq!(post_text(&server, &ann, &path, kind, good).await.0, 201, "{kind}");
    }
    let twice = b"{\"content\":\"the first of a double\",\"content\":\"the last of a double\"}";
    let (status, body) = post_text(&server, &ann, &path, "application/json", twice).await;
    assert!(status == 400 || body["content"] == "the last of a double", "{status} {body}");
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_413_also_when_its_length_header_lies() {
    let server = TestServer::spawn(Db::Sqlite).await;
    let (ann, _, room) = server.api().pair().await;
    let path = format!("/api/chatrooms/{room}/chats");
    let body = format!("{{\"content\":\"x\",\"pad\":\"{}\"}}", "p".repeat(131_072));
    let (status, problem) = post_text(&server, &ann, &path, "application/json", body.as_bytes()).await;
    assert_eq!((status, &problem["code"]), (413, &json!("too_large")), "{problem}");
    let pad = 131_072 - "{\"content\":\"just within\",\"pad\":\"\"}".len();
    let body = format!("{{\"content\":\"just within\",\"pad\":\"{}\"}}", "p".repeat(pad));
    assert_eq!(post_text(&server, &ann, &path, "application/json", body.as_bytes()).await.0, 201);
    let chunk = format!("20000\r\n{}\r\n", "p".repeat(131_072));
    let chunked = format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\n\
         Transfer-Encoding: chunked\r\n\r\n{chunk}{chunk}0\r\n\r\n",
        ann.token
    );
    assert_eq!(send_bytes(server.port, chunked.as_bytes(), s(10)).await.status, 413);
    let gzip = format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\n\
         Content-Encoding: gzip\r\nContent-Length: 4\r\n\r\n\x1f\x08ab",
        ann.token
    );
    let status = send_bytes(server.port, gzip.as_bytes(), s(10)).await.status;
    assert!(matches!(status, 400 | 415), "compressed bodies are not unpacked: {status}");
}

#[tokio::test]
async fn malformed_http_requests_are_refused_and_the_server_continues() {
    let server = TestServer::spawn(Db::Sqlite).await;
    let both = "POST /api/auth HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\
                Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    let lengths = "POST /api/auth HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}x";
    let negative = "POST /api/auth HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n";
    for request in [both, lengths, negative, "\0\0\0\0\r\n\r\n", "GET / HTTP/9.9\r\n\r\n", "GET  \r\n\r\n"] {
        let status = send_bytes(server.port, request.as_bytes(), s(10)).await.status;
        assert!(matches!(status, 0 | 400 | 505), "{request:?}: {status}");
    }
    server.api().get("/healthz").await.expect(200);
}

#[tokio::test]
async fn a_request_that_never_ends_is_cut_off() {
    let server = TestServer::spawn(Db::Sqlite).await;
    let body =
        b"POST /api/auth HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{\"us";
    let chunks = b"POST /api/auth HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
                   Transfer-Encoding: chunked\r\n\r\n4\r\n{\"us\r\n";
    let head = b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow:";
    let (one, two, three) = tokio::join!(
        send_bytes(server.port, body, Duration::from_secs(30)),
        send_bytes(server.port, chunks, Duration::from_secs(30)),
        send_bytes(server.port, head, Duration::from_secs(30)),
    );
    for answer in [one, two, three] {
        assert!(matches!(answer.status, 0 | 400 | 408), "{}", answer.head);
    }
}

#[tokio::test]
async fn unknown_paths_are_404_and_unknown_methods_405() {
    let server = TestServer::spawn(Db::Sqlite).await;
    let ann = server.api().person("ann").await;
    for path in ["/api", "/api/nothing", "/api/chats", "/api/chatrooms/1/nothing", "/wp-admin", "/ws/nothing"] {
        ann.get(path).await.problem(404, "not_found");
    }
    for (method, path) in [
        (Method::PATCH, "/api/chatters"),
        (Method::PUT, "/api/auth"),
        (Method::GET, "/api/auth"),
        (Method::POST, "/api/chatters/1"),
        (Method::PUT, "/api/chatrooms"),
        (Method::PATCH, "/api/chatrooms/1"),
        (Method::POST, "/api/chats/1"),
        (Method::GET, "/api/chatrooms/1/chats/search"),
    ] {
        let answer = ann.request(method.clone(), path, None).await;
        assert!(!answer.header("allow").is_empty(), "{method} {path}: Allow is missing ({})", answer.status);
        answer.problem(405, "method_not_allowed");
    }
    for path in ["//api/chatters", "/api/..%2fchatters", "/api/%2e%2e/healthz", "/..%2f..%2fetc/passwd", "/%00"] {
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        let answer = send_bytes(server.port, request.as_bytes(), s(10)).await;
        assert!(matches!(answer.status, 400 | 404), "{path}: {}", answer.status);
    }
}

#[tokio::test]
async fn get_and_delete_pass_with_a_json_type_and_no_body() {
    let server = TestServer::spawn(Db::Sqlite).await;
    let (ann, _, room) = server.api().pair().await;
    let chat = ann.says(room, "with the headers of the seed").await;
    for (method, path) in [
        ("GET", "/api/chatters".to_owned()),
        ("GET", format!("/api/chatters/{}", ann.id)),
        ("GET", "/api/chatrooms".to_owned()),
        ("GET", format!("/api/chatrooms/{room}")),
        ("GET", format!("/api/chatrooms/{room}/chats")),
        ("GET", format!("/api/chats/{}", chat["id"])),
        ("DELETE", format!("/api/chats/{}", chat["id"])),
        ("DELETE", format!("/api/chatrooms/{room}")),
        ("DELETE", "/api/chatters".to_owned()),
    ] {
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n\
             Authorization: Bearer {}\r\nContent-Length: 0\r\n\r\n",
            ann.token
        );
        let answer = send_bytes(server.port, request.as_bytes(), s(10)).await;
        assert_eq!(answer.status, 200, "{method} {path}: {}", answer.json());
        assert!(answer.header("content-type").unwrap().starts_with("application/json"));
    }
}

#[tokio::test]
async fn a_refusal_is_a_problem_with_a_code() {
    let server = TestServer::spawn(Db::Sqlite).await;
    let (ann, _, room) = server.api().pair().await;
    let problem = ann.post_chat(room, &json!({"content": ""})).await.invalid("content");
    assert_eq!((&problem["status"], &problem["code"]), (&json!(422), &json!("invalid")));
    let refused = server.api().get("/api/chatters/me").await;
    assert!(refused.header("www-authenticate").starts_with("Bearer"), "{:?}", refused.headers);
    refused.problem(401, "token_missing");
}
