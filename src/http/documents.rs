//! The documents of the interface, for programs, for people and as Markdown: static texts that need nothing from
//! elsewhere.

use actix_web::{HttpRequest, HttpResponse, web};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

use super::base_path::BasePath;
use super::static_text::StaticText;

/// The OpenAPI document of the REST interface. A unit test compares it with the handlers.
pub const OPENAPI_TEXT: &str = include_str!("openapi.json");
/// The AsyncAPI document of the sockets. A unit test compares it with the frames.
pub const ASYNCAPI_TEXT: &str = include_str!("../protocol/asyncapi.json");

/// The documents of one server, with its base path.
pub struct Documents {
    openapi: StaticText,
    asyncapi: StaticText,
    /// One page for both documents: it renders the one that belongs to its path.
    page: StaticText,
    rest_reference: StaticText,
    socket_reference: StaticText,
    own_users: StaticText,
    index: StaticText,
}

impl Documents {
    /// The documents below this path.
    pub fn new(base: &BasePath) -> Self {
        let base = base.as_str();
        let page = include_str!("documents.html").replace("/api/openapi.json", &format!("{base}/api/openapi.json"));
        Self {
            openapi: json(openapi_below(base)),
            asyncapi: json(asyncapi_below(base)),
            page: html(&page, include_str!("documents.css"), include_str!("documents.js")),
            rest_reference: markdown(text_below(base, include_str!("rest.md"))),
            socket_reference: markdown(text_below(base, include_str!("../protocol/socket.md"))),
            own_users: markdown(text_below(base, include_str!("../protocol/own_users.md"))),
            index: text(text_below(base, include_str!("llms.txt")), "text/plain; charset=utf-8"),
        }
    }
}

/// The `url` of the server is the path before those of the operations.
fn openapi_below(base: &str) -> String {
    let server = |path: &str| format!("\"url\": \"{path}\"");
    if base.is_empty() { OPENAPI_TEXT.to_owned() } else { OPENAPI_TEXT.replacen(&server("/"), &server(base), 1) }
}

fn asyncapi_below(base: &str) -> String {
    let host = "\"host\": \"{host}\",";
    if base.is_empty() {
        return ASYNCAPI_TEXT.to_owned();
    }
    ASYNCAPI_TEXT.replacen(host, &format!("{host}\n      \"pathname\": \"{base}\","), 1)
}

/// A Markdown text, which says below its title where its paths are, and whose links go there.
fn text_below(base: &str, text: &str) -> String {
    match text.split_once('\n') {
        Some((title, rest)) if !base.is_empty() => {
            let rest = rest.replace("](/", &format!("]({base}/"));
            format!("{title}\n\nAll paths are below `{base}`.\n{rest}")
        }
        _ => text.to_owned(),
    }
}

/// The OpenAPI document
#[cfg_attr(
    test,
    utoipa::path(
        get, path = "/api/openapi.json", operation_id = "openapi", tag = "Documents", security(()),
        responses(
            (status = 200, description = "OpenAPI 3.1.", body = Object, example = json!({"openapi": "3.1.0"})),
            (status = 304, description = "Unchanged since the `ETag` in `If-None-Match`.")
        )
    )
)]
pub async fn openapi_json(request: HttpRequest, documents: web::Data<Documents>) -> HttpResponse {
    documents.openapi.answer(&request)
}

/// The AsyncAPI document of the sockets
#[cfg_attr(
    test,
    utoipa::path(
        get, path = "/api/asyncapi.json", operation_id = "asyncapi", tag = "Documents", security(()),
        responses(
            (status = 200, description = "AsyncAPI 3.0.", body = Object, example = json!({"asyncapi": "3.0.0"})),
            (status = 304, description = "Unchanged since the `ETag` in `If-None-Match`.")
        )
    )
)]
pub async fn asyncapi_json(request: HttpRequest, documents: web::Data<Documents>) -> HttpResponse {
    documents.asyncapi.answer(&request)
}

/// The sockets' document as a page
#[cfg_attr(
    test,
    utoipa::path(
        get, path = "/docs/socket", operation_id = "docs_socket", tag = "Documents", security(()),
        responses(
            (status = 200, description = "A page.", body = String, content_type = "text/html"),
            (status = 304, description = "Unchanged since the `ETag` in `If-None-Match`.")
        )
    )
)]
pub async fn socket_page(request: HttpRequest, documents: web::Data<Documents>) -> HttpResponse {
    documents.page.answer(&request)
}

/// The OpenAPI document as a page, with requests to try
#[cfg_attr(
    test,
    utoipa::path(
        get, path = "/docs", operation_id = "docs", tag = "Documents", security(()),
        responses(
            (status = 200, description = "A page.", body = String, content_type = "text/html"),
            (status = 304, description = "Unchanged since the `ETag` in `If-None-Match`.")
        )
    )
)]
pub async fn page(request: HttpRequest, documents: web::Data<Documents>) -> HttpResponse {
    documents.page.answer(&request)
}

/// The REST reference as Markdown
#[cfg_attr(
    test,
    utoipa::path(
        get, path = "/docs.md", operation_id = "docs_markdown", tag = "Documents", security(()),
        responses(
            (status = 200, description = "Markdown.", body = String, content_type = "text/markdown"),
            (status = 304, description = "Unchanged since the `ETag` in `If-None-Match`.")
        )
    )
)]
pub async fn rest_markdown(request: HttpRequest, documents: web::Data<Documents>) -> HttpResponse {
    documents.rest_reference.answer(&request)
}

/// The guide of the sockets and their frames as Markdown
#[cfg_attr(
    test,
    utoipa::path(
        get, path = "/docs/socket.md", operation_id = "docs_socket_markdown", tag = "Documents", security(()),
        responses(
            (status = 200, description = "Markdown.", body = String, content_type = "text/markdown"),
            (status = 304, description = "Unchanged since the `ETag` in `If-None-Match`.")
        )
    )
)]
pub async fn socket_markdown(request: HttpRequest, documents: web::Data<Documents>) -> HttpResponse {
    documents.socket_reference.answer(&request)
}

/// The guide to chat accounts for the users of another service
#[cfg_attr(
    test,
    utoipa::path(
        get, path = "/docs/own-users.md", operation_id = "docs_own_users", tag = "Documents", security(()),
        responses(
            (status = 200, description = "Markdown.", body = String, content_type = "text/markdown"),
            (status = 304, description = "Unchanged since the `ETag` in `If-None-Match`.")
        )
    )
)]
pub async fn own_users_markdown(request: HttpRequest, documents: web::Data<Documents>) -> HttpResponse {
    documents.own_users.answer(&request)
}

/// The index of all documents, for coding agents (llmstxt.org)
#[cfg_attr(
    test,
    utoipa::path(
        get, path = "/llms.txt", operation_id = "llms_txt", tag = "Documents", security(()),
        responses(
            (status = 200, description = "Markdown.", body = String, content_type = "text/plain"),
            (status = 304, description = "Unchanged since the `ETag` in `If-None-Match`.")
        )
    )
)]
pub async fn llms_txt(request: HttpRequest, documents: web::Data<Documents>) -> HttpResponse {
    documents.index.answer(&request)
}

fn json(content: String) -> StaticText {
    text(content, "application/json")
}

fn markdown(content: String) -> StaticText {
    text(content, "text/markdown; charset=utf-8")
}

fn text(content: String, content_type: &'static str) -> StaticText {
    StaticText::new(content, content_type, "default-src 'none'")
}

/// A page with its style and its script put inline; the policy admits exactly those two, by their hashes.
fn html(page: &str, style: &str, script: &str) -> StaticText {
    let hash = |text: &str| STANDARD.encode(Sha256::digest(text));
    let policy = format!(
        "default-src 'none'; script-src 'sha256-{}'; style-src 'sha256-{}'; connect-src 'self'; img-src data:; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        hash(script),
        hash(style),
    );
    let content = page.replacen("<style></style>", &format!("<style>{style}</style>"), 1).replacen(
        "<script></script>",
        &format!("<script>{script}</script>"),
        1,
    );
    StaticText::new(content, "text/html; charset=utf-8", policy)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn d6_the_documents_name_the_base_path() {
        let openapi: Value = serde_json::from_str(&openapi_below("/chat")).unwrap();
        assert_eq!(openapi["servers"][0]["url"], "/chat");
        let asyncapi: Value = serde_json::from_str(&asyncapi_below("/chat")).unwrap();
        assert_eq!(asyncapi["servers"]["server"]["pathname"], "/chat");
        assert_eq!((openapi_below(""), asyncapi_below("")), (OPENAPI_TEXT.to_owned(), ASYNCAPI_TEXT.to_owned()));
        let index = text_below("/chat", include_str!("llms.txt"));
        assert!(
            index.contains("(/chat/docs.md)") && !index.contains("](/docs") && !index.contains("](/api"),
            "{index}"
        );
        assert!(index.starts_with("# Hyper Chat\n\nAll paths are below `/chat`.\n\n"), "{index}");
    }
}
