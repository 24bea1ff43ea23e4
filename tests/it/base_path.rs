//! `server.base_path`: a server that a proxy shows below a path, whether the proxy keeps the path or removes it.

use serde_json::{Value, json};

use crate::support::http::{RawAnswer, send_bytes};
use crate::support::raw_socket::RawSocket;
use crate::support::wait::s;
use crate::support::{Db, TestServer};

/// By hand, because `Api` checks every answer against the documents, which do not name the path.
async fn get(server: &TestServer, path: &str) -> RawAnswer {
    let request = format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n");
    send_bytes(server.port, request.as_bytes(), s(10)).await
}

#[tokio::test]
async fn d6_requests_are_served_with_and_without_the_base_path_and_links_have_it() {
    let server = TestServer::with(Db::Sqlite).set("SERVER__BASE_PATH", "/team/chat").start().await;
    let (ann, _, room) = server.api().pair().await;
    for path in ["/healthz", "/readyz", "/metrics", "/", "/demo/app.js", "/docs", "/docs/socket"] {
        assert_eq!(get(&server, path).await.status, 200, "{path}");
        assert_eq!(get(&server, &format!("/team/chat{path}")).await.status, 200, "{path} below the base path");
    }
    for path in ["/team/chatter", "/team", "/team/chat/team/chat/healthz", "/TEAM/chat/healthz", "/team/chat/nothing"] {
        assert_eq!(get(&server, path).await.json()["code"], "not_found", "{path}");
    }
    let moved = get(&server, "/team/chat").await;
    assert_eq!((moved.status, moved.header("location")), (308, Some("/team/chat/")));
    for path in ["/api/chatters?limit=1", "/team/chat/api/chatters?limit=1"] {
        let answer = get(&server, path).await;
        let link = answer.header("link").expect("a next page").to_owned();
        assert!(link.starts_with("</team/chat/api/chatters?limit=1&"), "{link}");
        let next = link.split(['<', '>']).nth(1).expect("an address");
        let (first, second) = (answer.json(), get(&server, next).await.json());
        assert!(first[0]["id"].is_i64() && second[0]["id"].is_i64() && first != second, "{second}");
    }
    for prefix in ["", "/team/chat"] {
        let path = format!("{prefix}/ws/chatrooms/{}/?jwt={}", room, ann.token);
        RawSocket::open(server.port, &path, "").await.unwrap_or_else(|answer| panic!("{path}: {}", answer.head));
    }
}

#[tokio::test]
async fn d6_the_documents_of_a_server_name_its_base_path() {
    let server = TestServer::with(Db::Sqlite).set("SERVER__BASE_PATH", "/chat").start().await;
    let openapi = get(&server, "/chat/api/openapi.json").await.json();
    assert_eq!(openapi["servers"], json!([{"url": "/chat"}]));
    let asyncapi: Value = get(&server, "/chat/api/asyncapi.json").await.json();
    assert_eq!(asyncapi["servers"]["server"]["pathname"], "/chat");
    let text = async |path: &str| String::from_utf8(get(&server, path).await.body).expect("a text");
    let index = text("/chat/llms.txt").await;
    for link in index.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
        assert!(link.starts_with("/chat/"), "{link}");
        assert_eq!(get(&server, link).await.status, 200, "{link}");
    }
    assert!(text("/chat/docs").await.contains("href=\"/chat/api/openapi.json\""));
    assert!(text("/chat/docs.md").await.contains("All paths are below `/chat`."));
    assert!(!text("/chat/").await.contains("=\"/"), "the page names its files relative to itself");
}
