//! Logs one line for each request (method, path, status, time) and counts its refusal. The query, headers and bodies
//! are never logged, since they have tokens and contents.

use std::time::Instant;

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::{ConnectionType, StatusCode};
use actix_web::middleware::Next;
use actix_web::{Error, web};

use super::State;
use crate::problem::{Code, Problem};

/// Logs at `debug`; server errors at `warn`, but for refusals with `unavailable`: the outage behind them has a line of its
/// own, and anybody could write many of these.
pub async fn log(
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    let started = Instant::now();
    let method = request.method().clone();
    let path = request.path().to_owned();
    let state = request.app_data::<web::Data<State>>().cloned();
    let mut response = next.call(request).await?;
    let refusal = response.response().error().and_then(|error| error.as_error::<Problem>());
    let is_outage = refusal.is_some_and(|problem| problem.code == Code::Unavailable);
    if let Some((state, problem)) = state.as_ref().zip(refusal) {
        state.refused.add(problem.code as usize);
        problem.log_cause();
    }
    let upgraded = response.status() == StatusCode::SWITCHING_PROTOCOLS;
    if !upgraded && state.is_some_and(|state| !state.drain.takes_sockets()) {
        // A proxy that keeps this connection would lose the next request on it.
        response.response_mut().head_mut().set_connection_type(ConnectionType::Close);
    }
    let status = response.status().as_u16();
    let ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    if status >= 500 && !is_outage {
        tracing::warn!(%method, path, status, ms, "request");
    } else {
        tracing::debug!(%method, path, status, ms, "request");
    }
    Ok(response)
}
