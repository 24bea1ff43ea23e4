//! The web pages that may use this server: the listed origins (RFC 6454), the check of the sockets' Origin header, and
//! the log line for the origins that are refused.

use std::collections::HashMap;
use std::str::FromStr;
use std::time::{Duration, Instant};

use actix_web::HttpRequest;
use actix_web::http::header::{self, HeaderMap, HeaderName};
use actix_web::http::uri::Authority;
use parking_lot::Mutex;

use crate::problem::{Code, Problem};

/// How often the refusals of one origin are logged.
const LOG_EVERY: Duration = Duration::from_secs(60);
/// Origins whose last log line is remembered; further ones are logged once those are a minute old.
const LOGGED_MAX: usize = 64;
/// The host that a browser asked a reverse proxy for.
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// The origins whose pages may connect.
#[derive(Debug)]
pub struct Origins {
    allowed: Vec<Origin>,
    /// A reverse proxy in front is trusted, so its `X-Forwarded-Host` counts.
    behind_proxy: bool,
    logged: Mutex<HashMap<String, Instant>>,
}

impl Origins {
    /// The listed origins; `proxy_hops` as in [`super::Rules`].
    pub fn new(allowed: &[String], proxy_hops: usize) -> Self {
        let allowed = allowed.iter().map(|text| Origin::parse(text)).collect();
        Self { allowed, behind_proxy: proxy_hops > 0, logged: Mutex::default() }
    }

    /// Whether `server.allowed_origins` lists this value of an Origin header.
    pub(super) fn lists(&self, origin: &str) -> bool {
        self.allowed.contains(&Origin::parse(origin))
    }

    /// Browsers do not apply CORS to WebSocket, so the server checks: it admits requests without Origin (native apps),
    /// from its own origin, and from a listed one.
    pub(super) fn check(&self, request: &HttpRequest) -> Result<(), Problem> {
        match request.headers().get(header::ORIGIN) {
            None => Ok(()),
            Some(value) => match value.to_str() {
                Ok(origin) if self.lists(origin) || self.is_own(origin, request.headers()) => Ok(()),
                _ => Err(self.refusal(&String::from_utf8_lossy(value.as_bytes()))),
            },
        }
    }

    /// Whether a page of this origin came from this server: the host and the port are those that the request names.
    pub(super) fn is_own(&self, origin: &str, headers: &HeaderMap) -> bool {
        let Origin::Site { scheme, host, port } = Origin::parse(origin) else { return false };
        let forwarded = headers.get_all(FORWARDED_HOST).filter(|_| self.behind_proxy);
        let hosts = headers.get_all(header::HOST).chain(forwarded).filter_map(|value| value.to_str().ok());
        hosts.flat_map(|list| list.split(',')).filter_map(|text| Authority::from_str(text.trim()).ok()).any(|own| {
            // TLS may end at a proxy, so the scheme is the origin's.
            own.host().eq_ignore_ascii_case(&host) && own.port_u16().or(default_port(&scheme)) == port
        })
    }

    /// The refusal of this origin, which is logged.
    pub(super) fn refusal(&self, origin: &str) -> Problem {
        self.log(origin);
        Problem::new(
            Code::OriginRefused,
            "Pages from this origin may not connect; the operator can allow it in server.allowed_origins.",
        )
    }

    /// Logs that the origin is not listed, once a minute.
    pub(super) fn log(&self, origin: &str) {
        let origin: String = origin.chars().take(100).collect();
        let now = Instant::now();
        let mut logged = self.logged.lock();
        if logged.len() >= LOGGED_MAX {
            logged.retain(|_, at| now.duration_since(*at) < LOG_EVERY);
        }
        let is_due = logged.get(&origin).is_none_or(|at| now.duration_since(*at) >= LOG_EVERY);
        if is_due && (logged.len() < LOGGED_MAX || logged.contains_key(&origin)) {
            tracing::warn!(origin, "a page's origin is not allowed; server.allowed_origins lists those that are");
            logged.insert(origin, now);
        }
    }
}

/// An origin as far as two of them are compared.
#[derive(Debug, PartialEq, Eq)]
enum Origin {
    /// A host, its port or the scheme's usual one; `ws` counts as `http`, and `wss` as `https`.
    Site { scheme: String, host: String, port: Option<u16> },
    /// `null`, `file://` and others without a host.
    Opaque(String),
}

impl Origin {
    fn parse(text: &str) -> Self {
        let text = text.to_ascii_lowercase();
        let site = text.split_once("://").and_then(|(scheme, rest)| {
            let authority = Authority::from_str(rest).ok()?;
            let scheme = match scheme {
                "ws" => "http",
                "wss" => "https",
                other => other,
            };
            let port = authority.port_u16().or(default_port(scheme));
            Some(Self::Site { scheme: scheme.to_owned(), host: authority.host().to_owned(), port })
        });
        site.unwrap_or(Self::Opaque(text))
    }
}

/// The port that a URL of this scheme means when it names none.
fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::test::TestRequest;

    fn checked(allowed: &[&str], hops: usize, headers: &[(&'static str, &str)]) -> bool {
        let allowed: Vec<String> = allowed.iter().map(|text| (*text).to_owned()).collect();
        let mut request = TestRequest::default();
        for header in headers {
            request = request.insert_header(*header);
        }
        Origins::new(&allowed, hops).check(&request.to_http_request()).is_ok()
    }

    fn own(origin: &str, host: &str) -> bool {
        checked(&[], 0, &[("host", host), ("origin", origin)])
    }

    #[test]
    fn only_no_origin_ones_own_and_a_listed_one_may_connect() {
        let listed = |origin| checked(&["https://app.example"], 0, &[("host", "chat.example"), ("origin", origin)]);
        assert!(checked(&[], 0, &[("host", "chat.example")]) && listed("https://APP.example"));
        assert!(listed("https://app.example:443") && listed("wss://app.example"));
        assert!(!listed("null") && !listed("https://evil.example") && !listed("http://app.example"));
    }

    #[test]
    fn b7_the_same_origin_is_the_same_host_and_effective_port() {
        for (origin, host) in [
            ("http://chat.example:8080", "chat.example:8080"),
            ("https://chat.example", "chat.example"),
            ("https://chat.example", "chat.example:443"),
            ("https://chat.example:443", "Chat.Example"),
            ("wss://chat.example", "chat.example"),
            ("ws://chat.example:80", "chat.example"),
            ("https://[2001:db8::1]", "[2001:db8::1]:443"),
        ] {
            assert!(own(origin, host), "{origin} at {host}");
        }
        for (origin, host) in [
            ("http://chat.example", "chat.example:8080"),
            ("https://chat.example", "chat.example:80"),
            ("https://chat.example.evil.example", "chat.example"),
            ("https://evil.example", "chat.example"),
            ("null", "null"),
            ("file://", "chat.example"),
        ] {
            assert!(!own(origin, host), "{origin} at {host}");
        }
    }

    #[test]
    fn b7_a_forwarded_host_counts_only_from_a_trusted_proxy() {
        let headers =
            [("host", "10.0.0.7:8080"), ("x-forwarded-host", "chat.example"), ("origin", "https://chat.example")];
        assert!(checked(&[], 1, &headers) && !checked(&[], 0, &headers));
    }

    #[test]
    fn b8_pages_without_a_host_are_let_in_by_an_explicit_entry() {
        let origins = ["null", "file://", "capacitor://localhost", "ionic://localhost", "tauri://localhost"];
        for origin in origins {
            let headers = [("host", "chat.example"), ("origin", origin)];
            assert!(checked(&[origin], 0, &headers) && !checked(&["https://app.example"], 0, &headers), "{origin}");
        }
    }

    #[test]
    fn e7_the_memory_of_logged_origins_is_bounded() {
        let origins = Origins::new(&[], 0);
        (0..1_000).for_each(|n| origins.log(&format!("https://{n}.example")));
        assert_eq!(origins.logged.lock().len(), LOGGED_MAX);
    }
}
