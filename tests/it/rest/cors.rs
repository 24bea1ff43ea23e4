//! CORS: only listed origins may call the REST interface from a page.

use reqwest::Method;

use crate::support::{Db, TestServer};

#[tokio::test]
async fn only_listed_origins_get_cors_headers() {
    let listed = "https://app.example,https://admin.example";
    let server = TestServer::with(Db::Sqlite).set("SERVER__ALLOWED_ORIGINS", listed).start().await;
    let preflight = async |origin: &str| {
        let headers = [
            ("origin", origin),
            ("access-control-request-method", "PUT"),
            ("access-control-request-headers", "authorization,content-type,idempotency-key"),
        ];
        server.api().try_request(Method::OPTIONS, "/api/chatters", &headers, None).await.expect("an answer")
    };
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
