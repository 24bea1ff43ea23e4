//! The probes: whether the process is alive, and whether it can serve.

use actix_web::{HttpResponse, web};
use serde_json::{Value, json};

use super::State;
use crate::broker::{State as Broker, Why};
use crate::store::Trouble;

/// Check that the process is alive
#[cfg_attr(
    test,
    utoipa::path(
        get, path = "/healthz", operation_id = "healthz", tag = "Operation", security(()),
        responses(
            (status = 200, description = "The process is alive.", body = Object, example = json!({"status": "alive"}))
        )
    )
)]
pub(super) async fn healthz() -> HttpResponse {
    HttpResponse::Ok().json(json!({"status": "alive"}))
}

/// Check that chats can be stored and read
#[cfg_attr(
    test,
    utoipa::path(
        get, path = "/readyz", operation_id = "readyz", tag = "Operation", security(()),
        responses(
            (
                status = 200,
                description = "Chats can be stored and read. `degraded`, with `reasons`, while Redis is away: chats from \
                    other instances arrive a second late; while pushes cannot be sent: `push_off` or `push_failing`; \
                    or while the keys of an identity provider cannot be fetched.",
                body = Object, example = json!({"status": "ready", "database": "up"})
            ),
            (
                status = 503,
                description = "No chat can be stored, or the instance is shutting down. `reasons` begin with \
                    `disk_full`, `database_read_only` or `database_corrupt` where the database says so.",
                body = Object, example = json!({"status": "unavailable", "database": "down"})
            )
        )
    )
)]
pub(super) async fn readyz(state: web::Data<State>) -> HttpResponse {
    if !state.drain.takes_sockets() {
        return HttpResponse::ServiceUnavailable().json(json!({"status": "draining"}));
    }
    match state.store.readiness().await {
        Ok(()) => HttpResponse::Ok().json(serving(&state)),
        Err(Trouble::Away) => not_yet().await,
        Err(trouble) => {
            let reason = format!("{}: {}", trouble.as_str(), explained(trouble));
            HttpResponse::ServiceUnavailable()
                .json(json!({"status": "unavailable", "database": "down", "reasons": [reason]}))
        }
    }
}

/// Chats can be stored; `degraded`, with reasons, where people would miss something else.
fn serving(state: &State) -> Value {
    let (redis, late) = match state.broker.state() {
        Broker::Single => (None, None),
        Broker::Up if !state.broker.directory_is_up() => {
            let reason = "Redis takes no writes of this instance: others do not see who is connected to it.";
            (Some("up"), Some(reason.to_owned()))
        }
        Broker::Up => (Some("up"), None),
        // Only events from other instances are late, by a second.
        Broker::Away { since, why } => {
            let away_s = since.elapsed().as_secs();
            let reason = match why {
                Why::Unreachable => format!("Redis has been away for {away_s} s"),
                Why::Refused => "Redis refuses the name or the password in redis.url".to_owned(),
                Why::Replica => format!("The server of redis.url has been a replica for {away_s} s"),
            };
            (Some("away"), Some(format!("{reason}: events from other instances arrive late.")))
        }
    };
    let pushes = state.notifier.metrics().trouble.reason().map(|reason| format!("{reason}."));
    let keys = state.bearers.issuers().troubles();
    let reasons: Vec<String> = late.into_iter().chain(pushes).chain(keys).collect();
    let mut answer = json!({"status": "ready", "database": "up"});
    if let Some(redis) = redis {
        answer["redis"] = redis.into();
    }
    if !reasons.is_empty() {
        answer["status"] = "degraded".into();
        answer["reasons"] = reasons.into();
    }
    answer
}

/// What an operator does about it.
fn explained(trouble: Trouble) -> &'static str {
    match trouble {
        Trouble::Away => "the database does not answer.",
        Trouble::ReadOnly => "the database takes no writes; the server looks for one that does.",
        Trouble::DiskFull => "the database has no space; chats are taken again as soon as it has.",
        Trouble::Corrupt => "the database is damaged; stop the server, run `hyper-chat check`, put back a backup.",
    }
}

/// The same answer while there is no database yet.
pub(super) async fn not_yet() -> HttpResponse {
    HttpResponse::ServiceUnavailable().json(json!({"status": "unavailable", "database": "down"}))
}
