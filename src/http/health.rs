//! The probes: is the process alive, can it serve.

use std::sync::atomic::Ordering;

use actix_web::{HttpResponse, web};
use serde_json::json;

use super::State;

/// `GET /healthz`: the process answers.
pub async fn healthz() -> HttpResponse {
    HttpResponse::Ok().json(json!({"status": "alive"}))
}

/// `GET /readyz`: 200 while chats can be stored and read, 503 with the reason otherwise.
pub async fn readyz(state: web::Data<State>) -> HttpResponse {
    if state.draining.load(Ordering::Relaxed) {
        return HttpResponse::ServiceUnavailable().json(json!({"status": "draining"}));
    }
    match state.store.ping().await {
        Ok(()) => HttpResponse::Ok().json(json!({"status": "ready", "database": "up"})),
        Err(_) => HttpResponse::ServiceUnavailable().json(json!({"status": "unavailable", "database": "down"})),
    }
}
