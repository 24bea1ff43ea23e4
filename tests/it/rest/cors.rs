//! CORS: only listed origins may call the REST interface from a page.

use reqwest::Method;

use crate::support::rest::Answer;
use crate::support::{Db, RawSocket, TestServer};

#[tokio::test]
async fn only_listed_origins_get_cors_headers() {
    let listed = "https://app.example,https://admin.example";
    let server = TestServer::with(Db::Sqlite).set("SERVER__ALLOWED_ORIGINS", listed).start().await;
    let asks_for = "authorization,content-type,idempotency-key";
    let preflight = async |origin: &str| preflight(&server, origin, asks_for).await;
    for origin in ["https://app.example", "https://admin.example"] {
        let answer = preflight(origin).await;
        assert!(matches!(answer.status, 200 | 204), "{}", answer.text);
        assert_eq!(answer.header("access-control-allow-origin"), origin);
        assert!(answer.header("access-control-allow-methods").contains("PUT"));
        let allowed = answer.header("access-control-allow-headers").to_lowercase();
        assert!(allowed.contains("authorization") && allowed.contains("idempotency-key"), "{allowed}");
        let simple = server.api().get_with("/api/chatters", &[("origin", origin)]).await;
        assert_eq!(simple.header("access-control-allow-origin"), origin);
        assert!(simple.header("vary").to_lowercase().contains("origin"));
        let refused = server.api().get_with("/api/chatters/me", &[("origin", origin)]).await;
        assert_eq!((refused.status, refused.header("access-control-allow-origin").as_str()), (401, origin));
    }
    for origin in ["https://evil.example", "null", "https://app.example.evil.example", "http://app.example"] {
        assert!(preflight(origin).await.header("access-control-allow-origin").is_empty(), "{origin}");
        let simple = server.api().get_with("/api/chatters", &[("origin", origin)]).await;
        assert!(simple.header("access-control-allow-origin").is_empty(), "{origin}");
    }
}

#[tokio::test]
async fn without_listed_origins_no_page_gets_cors_headers() {
    let server = TestServer::spawn(Db::Sqlite).await;
    for origin in ["https://app.example", "null"] {
        let answer = server.api().get_with("/api/chatters", &[("origin", origin)]).await;
        assert!(answer.header("access-control-allow-origin").is_empty(), "{origin}");
        assert!(answer.header("access-control-allow-credentials").is_empty(), "{origin}");
    }
}

#[tokio::test]
async fn b8_pages_without_a_host_are_let_in_by_an_explicit_entry() {
    let listed = "capacitor://localhost,ionic://localhost,tauri://localhost,file://,null";
    let server = TestServer::with(Db::Sqlite).set("SERVER__ALLOWED_ORIGINS", listed).start().await;
    for origin in listed.split(',') {
        let answer = preflight(&server, origin, "authorization").await;
        assert_eq!((answer.status, answer.header("access-control-allow-origin").as_str()), (200, origin));
        let socket = RawSocket::open(server.port, "/ws", &format!("Origin: {origin}\r\n")).await;
        assert!(socket.is_ok(), "{origin}");
    }
    assert_eq!(preflight(&server, "https://app.example", "authorization").await.status, 403);
}

#[tokio::test]
async fn b9_an_allowed_origin_may_send_any_header() {
    let server = TestServer::with(Db::Sqlite).set("SERVER__ALLOWED_ORIGINS", "https://app.example").start().await;
    let headers = "authorization,sentry-trace,baggage,traceparent,x-requested-with";
    let answer = preflight(&server, "https://app.example", headers).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(answer.header("access-control-allow-headers"), headers);
}

#[tokio::test]
async fn e7_a_refused_origin_gets_a_problem_and_one_log_line_that_name_the_setting() {
    let server = TestServer::spawn(Db::Sqlite).await;
    let page = "http://localhost:5173";
    for _ in 0..3 {
        let problem = preflight(&server, page, "authorization").await.problem(403, "origin_refused");
        assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains("server.allowed_origins")));
        let simple = server.api().get_with("/api/chatters", &[("origin", page)]).await;
        assert_eq!(simple.status, 200, "a page cannot read it without the header");
    }
    let log = server.log();
    let lines: Vec<&str> = log.lines().filter(|line| line.contains(page)).collect();
    assert_eq!(lines.len(), 1, "{log}");
    assert!(lines[0].contains("WARN") && lines[0].contains("server.allowed_origins"), "{log}");
    let own = format!("http://127.0.0.1:{}", server.port);
    server.api().get_with("/api/chatters", &[("origin", &own)]).await;
    let warned = server.log().lines().any(|line| line.contains("WARN") && line.contains(&own));
    assert!(!warned, "the server's own page is no refusal");
}

async fn preflight(server: &TestServer, origin: &str, asks_for: &str) -> Answer {
    let headers =
        [("origin", origin), ("access-control-request-method", "PUT"), ("access-control-request-headers", asks_for)];
    server.api().try_request(Method::OPTIONS, "/api/chatters", &headers, None).await.expect("an answer")
}
