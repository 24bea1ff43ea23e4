//! The probes: is the process alive, can it serve.

use actix_web::{HttpResponse, web};
use serde_json::json;

use super::State;
use crate::broker::State as Broker;

/// Is the process alive
#[utoipa::path(
    get, path = "/healthz", operation_id = "healthz", tag = "Operation", security(()),
    responses((status = 200, description = "It is.", body = Object, example = json!({"status": "alive"})))
)]
pub async fn healthz() -> HttpResponse {
    HttpResponse::Ok().json(json!({"status": "alive"}))
}

/// Can chats be stored and read
#[utoipa::path(
    get, path = "/readyz", operation_id = "readyz", tag = "Operation", security(()),
    responses(
        (
            status = 200, description = "They can; `degraded` while Redis is away, with `reasons`: chats of other instances come a second late.",
            body = Object, example = json!({"status": "ready", "database": "up"})
        ),
        (
            status = 503, description = "They cannot: the database is away, or the instance is shutting down.",
            body = Object, example = json!({"status": "unavailable", "database": "down"})
        )
    )
)]
pub async fn readyz(state: web::Data<State>) -> HttpResponse {
    if !state.drain.takes_sockets() {
        return HttpResponse::ServiceUnavailable().json(json!({"status": "draining"}));
    }
    match state.store.ping().await {
        Ok(()) => HttpResponse::Ok().json(match state.broker.state() {
            Broker::Single => json!({"status": "ready", "database": "up"}),
            Broker::Up => json!({"status": "ready", "database": "up", "redis": "up"}),
            // Everything works, but what happens on other instances comes a second late.
            Broker::Away { since } => {
                let away_s = since.elapsed().as_secs();
                let reason = format!("Redis has been away for {away_s} s: what happens on other instances comes late.");
                json!({"status": "degraded", "database": "up", "redis": "away", "reasons": [reason]})
            }
        }),
        Err(_) => not_yet().await,
    }
}

/// The same while there is no database to ask.
pub async fn not_yet() -> HttpResponse {
    HttpResponse::ServiceUnavailable().json(json!({"status": "unavailable", "database": "down"}))
}
