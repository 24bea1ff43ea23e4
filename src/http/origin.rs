//! The web pages that may use this server: the CORS answers, and the Origin check of the sockets.

use actix_cors::Cors;
use actix_web::HttpRequest;
use actix_web::http::header;

use crate::problem::{Code, Problem};

/// CORS for the listed origins; other origins get no `Access-Control-Allow-*`. Tokens travel in a header, so
/// credentials (cookies) are never allowed.
pub fn cors(allowed: &[String]) -> Cors {
    let mut cors = Cors::default()
        .allowed_methods(["GET", "POST", "PUT", "DELETE"])
        .allowed_headers(["authorization", "content-type", "idempotency-key"])
        .expose_headers(["link", "retry-after"])
        .max_age(600);
    for origin in allowed {
        cors = cors.allowed_origin(origin);
    }
    cors
}

/// Browsers do not apply CORS to WebSocket, so the server checks: it admits requests without Origin (native apps), from
/// its own origin, and from a listed one.
pub(super) fn check(request: &HttpRequest, allowed: &[String]) -> Result<(), Problem> {
    let Some(origin) = request.headers().get(header::ORIGIN) else { return Ok(()) };
    let origin = origin.to_str().unwrap_or("null").to_ascii_lowercase();
    let host = request.connection_info().host().to_ascii_lowercase();
    let own = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://")) == Some(host.as_str());
    if own || allowed.iter().any(|other| other.eq_ignore_ascii_case(&origin)) {
        return Ok(());
    }
    Err(Problem::new(
        Code::OriginRefused,
        "Pages from this origin may not connect; the operator can allow it in server.allowed_origins.",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::test::TestRequest;

    fn checked(origin: Option<&str>) -> bool {
        let mut request = TestRequest::default().insert_header(("host", "chat.example:8080"));
        if let Some(origin) = origin {
            request = request.insert_header(("origin", origin));
        }
        check(&request.to_http_request(), &["https://app.example".to_owned()]).is_ok()
    }

    #[test]
    fn only_no_origin_ones_own_and_a_listed_one_may_connect() {
        assert!(checked(None) && checked(Some("http://chat.example:8080")) && checked(Some("https://APP.example")));
        assert!(
            !checked(Some("null")) && !checked(Some("https://evil.example")) && !checked(Some("http://chat.example"))
        );
    }
}
