//! CORS (the Fetch standard): the answers that let pages of the listed origins call the REST interface.

use std::sync::Arc;

use actix_cors::{Cors, CorsError};
use actix_web::body::{EitherBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::{Method, header};
use actix_web::middleware::Next;
use actix_web::{Error, ResponseError, web};

use super::origin::Origins;
use crate::problem::{Code, Problem};

/// CORS for the listed origins; other origins get no `Access-Control-Allow-*`. Tokens travel in a header, so
/// credentials (cookies) are never allowed. An allowed page may send any header, since tracing libraries add their own.
pub fn cors(origins: &Arc<Origins>) -> Cors {
    let origins = origins.clone();
    Cors::default()
        .allowed_origin_fn(move |origin, _| origin.to_str().is_ok_and(|origin| origins.lists(origin)))
        .allowed_methods(["GET", "HEAD", "POST", "PUT", "DELETE"])
        .allow_any_header()
        .expose_headers(["link", "retry-after", "x-request-id", "preference-applied"])
        .max_age(600)
}

/// Answers a refused preflight with a problem, and logs the origins that are not listed.
pub async fn refuse<B: MessageBody>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<EitherBody<B>>, Error> {
    let origins = request.app_data::<web::Data<Origins>>().cloned();
    let origin = request.headers().get(header::ORIGIN).and_then(|origin| origin.to_str().ok()).map(str::to_owned);
    let is_own = origins
        .as_ref()
        .zip(origin.as_deref())
        .is_some_and(|(origins, origin)| origins.is_own(origin, request.headers()) || origins.lists(origin));
    let is_preflight = request.method() == Method::OPTIONS;
    let response = next.call(request).await?;
    let (Some(origins), Some(origin), false) = (origins, origin, is_own) else {
        return Ok(response.map_into_left_body());
    };
    let refused = response.response().error().and_then(|error| error.as_error::<CorsError>()).cloned();
    let problem = match refused {
        Some(CorsError::OriginNotAllowed) => origins.refusal(&origin),
        Some(other) => Problem::new(Code::Malformed, format!("This is no CORS preflight that can pass: {other}.")),
        None => {
            if !is_preflight {
                origins.log(&origin);
            }
            return Ok(response.map_into_left_body());
        }
    };
    let (request, _) = response.into_parts();
    let answer = problem.error_response();
    Ok(ServiceResponse::new(request, answer).map_into_right_body())
}
