//! The documents as they are served: pages, Markdown and the index; they load nothing from elsewhere and can be cached.

use crate::support::schemas::{messages, operations};
use crate::support::{Db, TestServer};

#[tokio::test]
async fn the_pages_load_nothing_from_other_hosts() {
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
async fn unchanged_documents_and_pages_are_sent_once() {
    let server = TestServer::spawn(Db::Sqlite).await;
    let texts = ["/docs.md", "/docs/socket.md", "/docs/own-users.md", "/llms.txt"];
    for path in ["/docs", "/docs/socket", "/api/openapi.json", "/api/asyncapi.json"].into_iter().chain(texts) {
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

#[tokio::test]
async fn the_index_for_agents_links_to_documents_that_are_served() {
    let server = TestServer::spawn(Db::Sqlite).await;
    let index = server.api().get("/llms.txt").await;
    assert_eq!(index.header("content-type"), "text/plain; charset=utf-8");
    assert!(index.text.starts_with("# Hyper Chat\n\n> "), "a title and a summary");
    let links: Vec<&str> = index.text.split("](").skip(1).filter_map(|rest| rest.split(')').next()).collect();
    for path in ["/docs.md", "/docs/socket.md", "/docs/own-users.md", "/api/openapi.json", "/api/asyncapi.json"] {
        assert!(links.contains(&path), "{path} is not in {links:?}");
    }
    for path in links {
        assert_eq!(server.api().get(path).await.status, 200, "{path}");
    }
}

#[tokio::test]
async fn the_markdown_names_every_operation_and_every_frame() {
    let server = TestServer::spawn(Db::Sqlite).await;
    let rest = server.api().get("/docs.md").await;
    assert_eq!(rest.header("content-type"), "text/markdown; charset=utf-8");
    for (method, path, _) in operations() {
        assert!(rest.text.contains(&format!("### {method} {path}\n")), "{method} {path}");
    }
    let socket = server.api().get("/docs/socket.md").await;
    for (key, message) in messages() {
        assert!(socket.text.contains(&format!("### {} (", message["name"].as_str().unwrap())), "{key}");
    }
    let own_users = server.api().get("/docs/own-users.md").await;
    assert!(own_users.text.contains("createHmac") && own_users.text.contains("import base64"), "Node and Python");
}
