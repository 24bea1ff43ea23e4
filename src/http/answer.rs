//! What every answer has: the request's id, and the headers that keep private data out of caches.

use actix_web::Error;
use actix_web::body::{BoxBody, EitherBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use actix_web::middleware::Next;
use tracing::Instrument;

use crate::problem::Problem;

/// The name of a request, for the log lines of proxies, clients and this server.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The longest id that is taken from a client or a proxy.
const REQUEST_ID_MAX: usize = 128;

/// Gives the request an id, its own or a new one, which stands in the answer, in a refusal's body and in each log line
/// of the request; and sets the headers of the answer.
pub async fn complete<B: MessageBody + 'static>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<EitherBody<B>>, Error> {
    let id = given_id(request.headers()).unwrap_or_else(|| format!("{:016x}", rand::random::<u64>()));
    let is_api = request.path().starts_with("/api/");
    let span = tracing::info_span!("request", request_id = id);
    let mut response = next.call(request).instrument(span).await?;
    let headers = response.headers_mut();
    if let Ok(value) = HeaderValue::from_str(&id) {
        headers.insert(REQUEST_ID, value);
    }
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if is_api && !headers.contains_key(header::CACHE_CONTROL) {
        // Tokens and chats (RFC 9111 section 5.2.2.5).
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    let refusal = response.response().error().and_then(|error| error.as_error::<Problem>());
    let Some(body) = refusal.map(|problem| problem.body(Some(&id))) else { return Ok(response.map_into_left_body()) };
    Ok(response.map_body(|_, _| EitherBody::right(BoxBody::new(body))))
}

/// The id that the request brings, if it fits into a log line.
fn given_id(headers: &HeaderMap) -> Option<String> {
    let id = headers.get(REQUEST_ID)?.to_str().ok()?;
    let fits = (1..=REQUEST_ID_MAX).contains(&id.len())
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._:/+=-".contains(&byte));
    fits.then(|| id.to_owned())
}
