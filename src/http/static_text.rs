//! Texts that stay the same while the server runs, served with the headers for caching and for what a page may load.

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use sha2::{Digest, Sha256};

/// A text with its headers.
pub(super) struct StaticText {
    body: Bytes,
    content_type: &'static str,
    /// What the page may load and do (Content-Security-Policy).
    policy: String,
    etag: String,
}

impl StaticText {
    /// This text, under this policy.
    pub(super) fn new(text: impl Into<Bytes>, content_type: &'static str, policy: impl Into<String>) -> Self {
        let body = text.into();
        let etag = format!("\"{}\"", URL_SAFE_NO_PAD.encode(&Sha256::digest(&body)[..12]));
        Self { body, content_type, policy: policy.into(), etag }
    }

    /// The text, or 304 where the client has it already (RFC 9110 section 13.1.2).
    pub(super) fn answer(&self, request: &HttpRequest) -> HttpResponse {
        let known = request.headers().get_all(header::IF_NONE_MATCH).filter_map(|value| value.to_str().ok());
        let known = known.flat_map(|list| list.split(',')).map(|tag| tag.trim().trim_start_matches("W/"));
        let is_current = known.into_iter().any(|tag| tag == self.etag || tag == "*");
        let mut response = if is_current { HttpResponse::NotModified() } else { HttpResponse::Ok() };
        response
            .insert_header((header::ETAG, self.etag.as_str()))
            .insert_header((header::CACHE_CONTROL, "no-cache"))
            .insert_header((header::CONTENT_SECURITY_POLICY, self.policy.as_str()))
            .insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
            .insert_header((header::REFERRER_POLICY, "no-referrer"))
            .content_type(self.content_type);
        // A client would read a body after 304 as the beginning of the connection's next answer.
        if is_current { response.finish() } else { response.body(self.body.clone()) }
    }
}
