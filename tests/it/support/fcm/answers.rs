//! The stand-in's endpoints: the token endpoint, `messages:send`, and the answers that tests script.

use std::collections::HashMap;
use std::io;
use std::time::Instant;

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use bytes::Bytes;
use serde_json::{Value, json};

use super::checks::{check_assertion, check_request};
use super::{Answer, Call, OauthAnswer, PROJECT, Quota, Shared, WAIT_MAX, lock};

pub async fn token(
    inner: web::Data<Shared>,
    uri: web::Data<String>,
    form: web::Form<HashMap<String, String>>,
) -> HttpResponse {
    let mut inner = lock(&inner);
    inner.oauth_calls += 1;
    if let Err(violation) = check_assertion(&form, &uri) {
        inner.oauth_violations.push(violation);
        return HttpResponse::BadRequest().json(json!({"error": "invalid_grant"}));
    }
    match inner.oauth_script.pop_front().unwrap_or(OauthAnswer::Grant { expires_in: 3_599 }) {
        OauthAnswer::Down => HttpResponse::ServiceUnavailable().body("down"),
        OauthAnswer::Denied => HttpResponse::Unauthorized().json(json!({"error": "invalid_client"})),
        OauthAnswer::Grant { expires_in } => {
            let access_token = format!("stand-in-access-{}", inner.oauth_calls);
            inner.access_tokens.insert(access_token.clone());
            let granted = json!({"access_token": access_token, "expires_in": expires_in, "token_type": "Bearer"});
            HttpResponse::Ok().json(granted)
        }
    }
}

pub async fn send(
    inner: web::Data<Shared>,
    project: web::Path<String>,
    request: HttpRequest,
    body: Bytes,
) -> HttpResponse {
    let answer = {
        let mut inner = lock(&inner);
        let bearer = request.headers().get("authorization").and_then(|v| v.to_str().ok());
        let known = bearer.and_then(|b| b.strip_prefix("Bearer ")).is_some_and(|t| inner.access_tokens.contains(t));
        if !known {
            inner.unauthorized += 1;
            return error(401, "UNAUTHENTICATED", None, None);
        }
        let message: Value = serde_json::from_slice(&body).unwrap_or_default();
        let violation = check_request(&project, &message, body.len()).err();
        let token = message["message"]["token"].as_str().unwrap_or_default().to_owned();
        let scripted = inner.script.pop_front().or_else(|| inner.by_token.get(&token).cloned());
        let answer = match violation {
            Some(_) => Answer::InvalidField("message"),
            None => scripted.unwrap_or(Answer::Accept),
        };
        inner.calls.push(Call { at: Instant::now(), token, message, violation });
        answer
    };
    respond(answer).await
}

async fn respond(answer: Answer) -> HttpResponse {
    match answer {
        Answer::Accept => HttpResponse::Ok().json(json!({"name": format!("projects/{PROJECT}/messages/0:1")})),
        Answer::Unavailable { retry_after } => error(503, "UNAVAILABLE", Some("UNAVAILABLE"), retry_after),
        Answer::InternalError => error(500, "INTERNAL", Some("INTERNAL"), None),
        Answer::BadGatewayHtml => HttpResponse::BadGateway().content_type("text/html").body("<html>502</html>"),
        Answer::Quota { of, retry_after } => {
            let violation = match of {
                Quota::Project => Some(("project:7", "Messages per minute")),
                Quota::Device => Some(("device:token", "Messages to one device per minute")),
                Quota::Unnamed => None,
            };
            let failure = violation.map(|(subject, description)| {
                json!({"@type": "type.googleapis.com/google.rpc.QuotaFailure",
                    "violations": [{"subject": subject, "description": description}]})
            });
            error_with(429, "RESOURCE_EXHAUSTED", Some("QUOTA_EXCEEDED"), retry_after, failure)
        }
        Answer::Unregistered => error(404, "NOT_FOUND", Some("UNREGISTERED"), None),
        Answer::SenderIdMismatch => error(403, "PERMISSION_DENIED", Some("SENDER_ID_MISMATCH"), None),
        Answer::Denied => error(403, "PERMISSION_DENIED", None, None),
        Answer::ThirdPartyAuth => error(401, "UNAUTHENTICATED", Some("THIRD_PARTY_AUTH_ERROR"), None),
        Answer::Unauthorized => error(401, "UNAUTHENTICATED", None, None),
        Answer::Redirect(to) => HttpResponse::TemporaryRedirect().insert_header(("location", to)).finish(),
        Answer::InvalidField(field) => {
            let bad = json!({"@type": "type.googleapis.com/google.rpc.BadRequest",
                "fieldViolations": [{"field": field, "description": "Invalid value"}]});
            let fcm = json!({"@type": "type.googleapis.com/google.firebase.fcm.v1.FcmError", "errorCode": "INVALID_ARGUMENT"});
            let body = json!({"error": {"code": 400, "message": "Invalid value", "status": "INVALID_ARGUMENT",
                "details": [bad, fcm]}});
            HttpResponse::BadRequest().json(body)
        }
        Answer::Hang => {
            tokio::time::sleep(WAIT_MAX * 6).await;
            HttpResponse::Ok().finish()
        }
        Answer::ResetMidBody => {
            let parts = [Ok(Bytes::from_static(b"{\"name\": \"proj")), Err(io::Error::other("cut"))];
            HttpResponse::Ok().content_type("application/json").streaming(futures_util::stream::iter(parts))
        }
    }
}

fn error(code: u16, status: &str, error_code: Option<&str>, retry_after: Option<String>) -> HttpResponse {
    error_with(code, status, error_code, retry_after, None)
}

fn error_with(
    code: u16,
    status: &str,
    error_code: Option<&str>,
    retry_after: Option<String>,
    detail: Option<Value>,
) -> HttpResponse {
    let details: Vec<Value> = error_code
        .map(|c| json!({"@type": "type.googleapis.com/google.firebase.fcm.v1.FcmError", "errorCode": c}))
        .into_iter()
        .chain(detail)
        .collect();
    let mut response = HttpResponse::build(StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR));
    if let Some(wait) = retry_after {
        response.insert_header(("retry-after", wait));
    }
    response.json(json!({"error": {"code": code, "message": "text", "status": status, "details": details}}))
}
