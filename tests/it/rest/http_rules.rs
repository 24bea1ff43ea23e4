//! What HTTP itself asks for: methods, headers of answers, schemes of authentication, ids of requests, shapes of bodies.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::http::send_bytes;
use crate::support::rest::Answer;
use crate::support::wait::s;
use crate::support::{Db, RawSocket, TestServer};

const SIGNED_OUT: [&str; 4] = ["/", "/docs", "/api/openapi.json", "/api/chatters"];

#[tokio::test]
async fn b6_another_scheme_of_authentication_is_no_token() {
    let server = TestServer::spawn(Db::Sqlite).await;
    let (ann, _, room) = server.api().pair().await;
    for basic in ["Authorization: Basic YTpi\r\n", "Authorization: Negotiate abc=\r\n", "Authorization: Basic\r\n"] {
        let paths = [
            (format!("/ws?jwt={}", ann.token), String::new()),
            (format!("/ws/chatrooms/{room}/?jwt={}", ann.token), String::new()),
            ("/ws".to_owned(), format!("Sec-WebSocket-Protocol: hyper-chat.v1, bearer.{}\r\n", ann.token)),
        ];
        for (path, subprotocols) in paths {
            let opened = RawSocket::open(server.port, &path, &format!("{basic}{subprotocols}")).await;
            assert!(opened.is_ok(), "{basic}: {}", opened.err().map(|answer| answer.head).unwrap_or_default());
        }
    }
    let answer = server.api().get_with("/api/chatters/me", &[("authorization", "Basic YTpi")]).await;
    answer.problem(401, "token_missing");
    for broken in ["Bearer", "Bearer  ", "bearer not.a.token"] {
        server.api().get_with("/api/chatters/me", &[("authorization", broken)]).await.problem(401, "token_invalid");
    }
}

#[tokio::test]
async fn b13_answers_of_the_api_are_stored_by_no_cache_and_sniffed_by_no_browser() {
    let server = TestServer::spawn(Db::Sqlite).await;
    let (ann, _, room) = server.api().pair().await;
    let answers = [
        ann.get("/api/chatters/me").await,
        ann.get(&format!("/api/chatrooms/{room}/chats")).await,
        server.api().sign_in("ann", "wrong password").await,
        server.api().get("/api/nothing").await,
        server.api().request(Method::PATCH, "/api/chatters", None, None).await,
    ];
    for answer in answers {
        assert_eq!(answer.header("cache-control"), "no-store", "{}", answer.text);
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{}", answer.text);
    }
    for page in SIGNED_OUT {
        assert_eq!(server.api().get(page).await.header("x-content-type-options"), "nosniff", "{page}");
    }
    assert_eq!(server.api().get("/docs").await.header("cache-control"), "no-cache", "the page has an ETag");
}

#[tokio::test]
async fn c4_head_answers_as_get_does_without_a_body() {
    let server = TestServer::spawn(Db::Sqlite).await;
    let (ann, _, room) = server.api().pair().await;
    ann.says(room, "a").await;
    let own = ["/api/chatters/me".to_owned(), format!("/api/chatrooms/{room}/chats"), "/api/chatrooms?limit=1".into()];
    let probes = ["/healthz", "/readyz", "/metrics"].map(str::to_owned);
    for path in own.into_iter().chain(probes).chain(SIGNED_OUT.map(str::to_owned)) {
        let get = ann.request(Method::GET, &path, None).await;
        let head = ann.request(Method::HEAD, &path, None).await;
        assert_eq!((head.status, head.text.as_str()), (get.status, ""), "{path}");
        assert_eq!(head.header("content-type"), get.header("content-type"), "{path}");
    }
    // The connection is still in step: the second answer is found where the first one ends.
    let twice =
        "HEAD /api/chatters HTTP/1.1\r\nHost: a\r\n\r\nGET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let answer = send_bytes(server.port, twice.as_bytes(), s(10)).await;
    assert_eq!(answer.status, 200, "{}", answer.head);
    let refused = ann.request(Method::HEAD, "/api/chatters/9007199254740991", None).await;
    assert_eq!((refused.status, refused.text.as_str()), (404, ""));
    assert_eq!(server.api().request(Method::HEAD, "/ws", None, None).await.status, 405, "a socket is no document");
}

#[tokio::test]
async fn c4_options_names_the_methods_and_checks_a_probe() {
    let server = TestServer::spawn(Db::Sqlite).await;
    let options = async |path: &str| server.api().request(Method::OPTIONS, path, None, None).await;
    let allowed = |answer: &Answer| answer.header("allow");
    let chatters = options("/api/chatters").await;
    assert_eq!((chatters.status, allowed(&chatters).as_str()), (204, "POST, GET, PUT, DELETE, HEAD"));
    assert_eq!(options("/").await.status, 204, "as HAProxy checks by default");
    assert_eq!(options("/readyz").await.json["status"], "ready");
    assert_eq!(options("/healthz").await.json["status"], "alive");
    let refused = server.api().request(Method::PATCH, "/api/chatters", None, None).await;
    assert_eq!(allowed(&refused), "POST, GET, PUT, DELETE, HEAD");
    refused.problem(405, "method_not_allowed");
}

#[tokio::test]
async fn c8_a_body_that_is_an_array_is_refused() {
    let server = TestServer::spawn(Db::Sqlite).await;
    let (ann, bob, room) = server.api().pair().await;
    let bodies = [
        (Method::POST, "/api/auth".to_owned(), json!(["ann", "12345678"])),
        (Method::POST, "/api/chatters".to_owned(), json!(["cem", "12345678", "Cem"])),
        (Method::PUT, "/api/chatters".to_owned(), json!(["Ann"])),
        (Method::POST, "/api/chatrooms".to_owned(), json!([bob.id])),
        (Method::POST, format!("/api/chatrooms/{room}/chats"), json!([bob.id, "text"])),
        (Method::POST, format!("/api/chatrooms/{room}/chats/search"), json!(["text"])),
        (Method::PUT, format!("/api/chatrooms/{room}/receipt"), json!([1, 1])),
    ];
    for (method, path, body) in bodies {
        let problem = ann.request(method, &path, Some(&body)).await.problem(400, "malformed");
        let detail = problem["detail"].as_str().unwrap_or_default();
        assert!(detail.contains("object") || detail.contains("must be"), "{path}: {detail}");
    }
}

#[tokio::test]
async fn e9_unknown_keys_are_refused_only_in_the_strict_way() {
    let server = TestServer::spawn(Db::Sqlite).await;
    let (ann, _, room) = server.api().pair().await;
    let path = format!("/api/chatrooms/{room}/chats");
    let body = json!({"content": "a", "metadata": {"x": 1}});
    ann.post(&path, &body).await.expect(201);
    let bearer = format!("Bearer {}", ann.token);
    let headers = [("authorization", bearer.as_str()), ("prefer", "respond-async, handling=strict")];
    let strict = server.api().try_request(Method::POST, &path, &headers, Some(&body)).await.expect("an answer");
    let problem = strict.problem(400, "unknown_key");
    assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains("metadata")), "{problem}");
    ann.post(&format!("{path}?strict=1"), &body).await.problem(400, "unknown_key");
    ann.post(&format!("{path}?strict=1"), &json!({"content": "b"})).await.expect(201);
}

#[tokio::test]
async fn e11_each_request_has_an_id_in_its_answer_its_refusal_and_its_log_lines() {
    let server = TestServer::with(Db::Sqlite).set("LOG__FILTER", "debug").start().await;
    let given = [("x-request-id", "01J-edge.7")];
    let answer = server.api().get_with("/api/chatters/me", &given).await;
    assert_eq!(answer.header("x-request-id"), "01J-edge.7");
    assert_eq!(answer.problem(401, "token_missing")["request_id"], "01J-edge.7");
    let log = server.log();
    assert!(log.lines().any(|line| line.contains("01J-edge.7") && line.contains("/api/chatters/me")), "{log}");
    for bad in ["", "two words", &"a".repeat(200)] {
        let answer = server.api().get_with("/api/chatters/me", &[("x-request-id", bad)]).await;
        let made = answer.header("x-request-id");
        assert!(made.len() == 16 && made != bad, "{made}");
    }
    assert_eq!(server.api().get("/healthz").await.header("x-request-id").len(), 16);
}

#[tokio::test]
async fn e21_a_value_of_a_wrong_type_is_refused_with_its_field_and_its_type() {
    let server = TestServer::spawn(Db::Sqlite).await;
    let (ann, _, room) = server.api().pair().await;
    let refused: [(Method, String, Value, &str, &str); 4] = [
        (Method::POST, "/api/chatrooms".into(), json!({"opponent_id": "7"}), "opponent_id", "a whole number"),
        (Method::POST, format!("/api/chatrooms/{room}/chats"), json!({"content": 7}), "content", "a text"),
        (Method::PUT, "/api/chatters".into(), json!({"show_receipts": "no"}), "show_receipts", "true or false"),
        (Method::PUT, format!("/api/chatrooms/{room}/receipt"), json!({"read_seq": []}), "read_seq", "a whole number"),
    ];
    for (method, path, body, field, kind) in refused {
        let problem = ann.request(method, &path, Some(&body)).await.problem(400, "malformed");
        assert_eq!(problem["field"], field, "{problem}");
        assert_eq!(problem["detail"], format!("{field} must be {kind}."), "{problem}");
    }
}
