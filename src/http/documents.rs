//! The documents of the interface and the page that shows them: made once, served as bytes, needing nothing from elsewhere.

use std::sync::LazyLock;

use actix_web::{HttpRequest, HttpResponse};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

use super::static_text::Prepared;
use super::{asyncapi, openapi};

/// One page for both documents: it renders the one that belongs to its path.
const PAGE: &str = include_str!("documents.html");

static OPENAPI_TEXT: LazyLock<String> =
    LazyLock::new(|| serde_json::to_string_pretty(&openapi::document()).unwrap_or_default() + "\n");
static ASYNCAPI_TEXT: LazyLock<String> =
    LazyLock::new(|| serde_json::to_string_pretty(&asyncapi::document()).unwrap_or_default() + "\n");
static OPENAPI: LazyLock<Prepared> = LazyLock::new(|| json(&OPENAPI_TEXT));
static ASYNCAPI: LazyLock<Prepared> = LazyLock::new(|| json(&ASYNCAPI_TEXT));
static PAGES: LazyLock<Prepared> = LazyLock::new(|| html(PAGE));

/// The OpenAPI document as it is served, printed and checked in.
pub fn openapi_text() -> &'static str {
    &OPENAPI_TEXT
}

/// The AsyncAPI document as it is served, printed and checked in.
pub fn asyncapi_text() -> &'static str {
    &ASYNCAPI_TEXT
}

/// This document
#[utoipa::path(
    get, path = "/api/openapi.json", operation_id = "openapi", tag = "Documents", security(()),
    responses(
        (status = 200, description = "OpenAPI 3.1.", body = Object, example = json!({"openapi": "3.1.0"})),
        (status = 304, description = "As `If-None-Match` says it is known.")
    )
)]
pub async fn openapi_json(request: HttpRequest) -> HttpResponse {
    OPENAPI.answer(&request)
}

/// The sockets' document
#[utoipa::path(
    get, path = "/api/asyncapi.json", operation_id = "asyncapi", tag = "Documents", security(()),
    responses(
        (status = 200, description = "AsyncAPI 3.0.", body = Object, example = json!({"asyncapi": "3.0.0"})),
        (status = 304, description = "As `If-None-Match` says it is known.")
    )
)]
pub async fn asyncapi_json(request: HttpRequest) -> HttpResponse {
    ASYNCAPI.answer(&request)
}

/// The sockets' document, to read
#[utoipa::path(
    get, path = "/docs/socket", operation_id = "docs_socket", tag = "Documents", security(()),
    responses(
        (status = 200, description = "A page.", body = String, content_type = "text/html"),
        (status = 304, description = "As `If-None-Match` says it is known.")
    )
)]
pub async fn socket_page(request: HttpRequest) -> HttpResponse {
    PAGES.answer(&request)
}

/// This document, to read and to try
#[utoipa::path(
    get, path = "/docs", operation_id = "docs", tag = "Documents", security(()),
    responses(
        (status = 200, description = "A page.", body = String, content_type = "text/html"),
        (status = 304, description = "As `If-None-Match` says it is known.")
    )
)]
pub async fn page(request: HttpRequest) -> HttpResponse {
    PAGES.answer(&request)
}

fn json(text: &'static str) -> Prepared {
    Prepared::new(text, "application/json", "default-src 'none'")
}

/// A page whose one script and one style are written into it; their hashes are all that may run.
fn html(text: &'static str) -> Prepared {
    let hash = |tag: &str| {
        let inner = text.split_once(&format!("<{tag}>")).and_then(|(_, rest)| rest.split_once(&format!("</{tag}>")));
        STANDARD.encode(Sha256::digest(inner.map_or("", |(inner, _)| inner)))
    };
    let policy = format!(
        "default-src 'none'; script-src 'sha256-{}'; style-src 'sha256-{}'; connect-src 'self'; img-src data:; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        hash("script"),
        hash("style"),
    );
    Prepared::new(text, "text/html; charset=utf-8", policy)
}
