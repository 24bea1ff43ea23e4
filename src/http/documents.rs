//! The documents of the interface, for programs, for people and as Markdown: static texts that need nothing from
//! elsewhere.

use std::sync::LazyLock;

use actix_web::{HttpRequest, HttpResponse};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

use super::static_text::StaticText;

/// The OpenAPI document of the REST interface. A unit test compares it with the handlers.
pub const OPENAPI_TEXT: &str = include_str!("openapi.json");
/// The AsyncAPI document of the sockets. A unit test compares it with the frames.
pub const ASYNCAPI_TEXT: &str = include_str!("../protocol/asyncapi.json");

static OPENAPI: LazyLock<StaticText> = LazyLock::new(|| json(OPENAPI_TEXT));
static ASYNCAPI: LazyLock<StaticText> = LazyLock::new(|| json(ASYNCAPI_TEXT));
/// One page for both documents: it renders the one that belongs to its path.
static PAGE: LazyLock<StaticText> =
    LazyLock::new(|| html(include_str!("documents.html"), include_str!("documents.css"), include_str!("documents.js")));
static REST_REFERENCE: LazyLock<StaticText> = LazyLock::new(|| markdown(include_str!("rest.md")));
static SOCKET_REFERENCE: LazyLock<StaticText> = LazyLock::new(|| markdown(include_str!("../protocol/socket.md")));
static OWN_USERS: LazyLock<StaticText> = LazyLock::new(|| markdown(include_str!("../protocol/own_users.md")));
static INDEX: LazyLock<StaticText> = LazyLock::new(|| text(include_str!("llms.txt"), "text/plain; charset=utf-8"));

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
pub async fn openapi_json(request: HttpRequest) -> HttpResponse {
    OPENAPI.answer(&request)
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
pub async fn asyncapi_json(request: HttpRequest) -> HttpResponse {
    ASYNCAPI.answer(&request)
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
pub async fn socket_page(request: HttpRequest) -> HttpResponse {
    PAGE.answer(&request)
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
pub async fn page(request: HttpRequest) -> HttpResponse {
    PAGE.answer(&request)
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
pub async fn rest_markdown(request: HttpRequest) -> HttpResponse {
    REST_REFERENCE.answer(&request)
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
pub async fn socket_markdown(request: HttpRequest) -> HttpResponse {
    SOCKET_REFERENCE.answer(&request)
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
pub async fn own_users_markdown(request: HttpRequest) -> HttpResponse {
    OWN_USERS.answer(&request)
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
pub async fn llms_txt(request: HttpRequest) -> HttpResponse {
    INDEX.answer(&request)
}

fn json(content: &'static str) -> StaticText {
    text(content, "application/json")
}

fn markdown(content: &'static str) -> StaticText {
    text(content, "text/markdown; charset=utf-8")
}

fn text(content: &'static str, content_type: &'static str) -> StaticText {
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
