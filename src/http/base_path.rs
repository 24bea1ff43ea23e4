//! `server.base_path`: the path below which a proxy shows the server, as in `https://host/chat/`. Requests are served with
//! it and without it, since some proxies keep it and others remove it. What the server writes has it.

use std::str::FromStr;

use actix_web::body::{EitherBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::Uri;
use actix_web::http::header;
use actix_web::http::uri::PathAndQuery;
use actix_web::middleware::Next;
use actix_web::{Error, HttpRequest, HttpResponse, web};

/// Empty, or `/chat`.
pub struct BasePath(String);

impl BasePath {
    /// The configured one, whose form the configuration has checked.
    pub fn new(path: &str) -> Self {
        Self(path.to_owned())
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

/// The public path of a request.
pub(super) fn public_path(request: &HttpRequest) -> String {
    let base = request.app_data::<web::Data<BasePath>>().map_or("", |base| base.as_str());
    format!("{base}{}", request.path())
}

/// Removes the base path from a request, for everything behind.
pub async fn strip<B: MessageBody>(
    mut request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<EitherBody<B>>, Error> {
    let base = request.app_data::<web::Data<BasePath>>().cloned();
    let base = base.as_ref().map_or("", |base| base.as_str());
    if !base.is_empty() && request.path() == base {
        // The files of the page are named relative to a folder.
        let query = request.uri().query().map_or(String::new(), |query| format!("?{query}"));
        let folder = (header::LOCATION, format!("{base}/{query}"));
        let moved = HttpResponse::PermanentRedirect().insert_header(folder).finish();
        return Ok(request.into_response(moved).map_into_right_body());
    }
    if let Some(uri) = without(base, request.uri()) {
        request.match_info_mut().get_mut().update(&uri);
        request.head_mut().uri = uri;
    }
    Ok(next.call(request).await?.map_into_left_body())
}

/// The address without the base path, if it has one.
fn without(base: &str, uri: &Uri) -> Option<Uri> {
    if base.is_empty() {
        return None;
    }
    let rest = uri.path_and_query()?.as_str().strip_prefix(base).filter(|rest| rest.starts_with('/'))?;
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::from_str(rest).ok()?);
    Uri::from_parts(parts).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d6_the_base_path_is_removed_once_and_only_as_whole_segments() {
        let rest = |path: &str| without("/chat", &Uri::from_str(path).unwrap()).map(|uri| uri.to_string());
        assert_eq!(rest("/chat/api/chatters?limit=1").as_deref(), Some("/api/chatters?limit=1"));
        assert_eq!(rest("/chat/").as_deref(), Some("/"));
        assert_eq!(rest("/chat/chat/x").as_deref(), Some("/chat/x"));
        assert_eq!(rest("http://host/chat/x").as_deref(), Some("http://host/x"));
        for other in ["/chat", "/chatter", "/api/chatters", "/Chat/x", "/%63hat/x", "/x/chat/y"] {
            assert_eq!(rest(other), None, "{other}");
        }
        assert!(without("", &Uri::from_static("/x")).is_none());
    }
}
