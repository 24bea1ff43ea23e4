//! The OpenAPI document of the REST interface, made from the handlers, the bodies in `wire` and the table of refusals.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use utoipa::openapi::content::ContentBuilder;
use utoipa::openapi::response::{Response, ResponseBuilder};
use utoipa::openapi::{Ref, RefOr};
use utoipa::{IntoResponses, OpenApi};

use super::routes::Operations;
use super::schemas;
use crate::problem::{Code, Problem, Retry};

/// An example of each schema, by its name.
const EXAMPLES: &str = include_str!("../protocol/examples.json");

/// The refusals of whatever asks the database.
pub const STORE: u64 = of(&[Code::Internal, Code::Unavailable]);
/// The refusals of whatever needs a token; the database is asked whether the token still counts.
pub const TOKEN: u64 = STORE | of(&[Code::TokenMissing, Code::TokenInvalid, Code::TokenExpired, Code::TokenRevoked]);
/// The refusals of whatever reads a JSON body.
pub const BODY: u64 = of(&[Code::Malformed, Code::Timeout, Code::TooLarge, Code::UnsupportedMediaType, Code::Draining]);

/// A set of codes, one bit each, so that it can be the parameter of [`Refusals`].
#[must_use]
pub const fn of(codes: &[Code]) -> u64 {
    let (mut set, mut at) = (0, 0);
    while at < codes.len() {
        set |= 1 << codes[at] as u64;
        at += 1;
    }
    set
}

/// The refusals of an operation: a response for each status, with its codes as examples. An operation names this once,
/// since a second one would replace the statuses of the first.
pub struct Refusals<const CODES: u64>;

impl<const CODES: u64> IntoResponses for Refusals<CODES> {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        let mut by_status: BTreeMap<String, Vec<Code>> = BTreeMap::new();
        for code in Code::ALL.iter().filter(|code| CODES & of(&[**code]) != 0) {
            by_status.entry(code.status().to_string()).or_default().push(*code);
        }
        by_status.into_iter().map(|(status, codes)| (status, refusal(&codes).into())).collect()
    }
}

fn refusal(codes: &[Code]) -> Response {
    let described: Vec<String> = codes.iter().map(|code| format!("`{}`: {}.", code.as_str(), code.title())).collect();
    let examples = codes.iter().map(|code| {
        let location = format!("#/components/examples/{}", code.as_str());
        (code.as_str(), RefOr::Ref(Ref::new(location)))
    });
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).examples_from_iter(examples);
    ResponseBuilder::new().description(described.join(" ")).content(PROBLEM, content.build()).build()
}

const PROBLEM: &str = "application/problem+json";

/// The whole document.
#[must_use]
pub fn document() -> Value {
    let examples: Value = serde_json::from_str(EXAMPLES).unwrap_or_default();
    let mut made = serde_json::to_value(Operations::openapi()).unwrap_or_default();
    for operation in made["paths"].as_object_mut().into_iter().flat_map(|paths| paths.values_mut()) {
        for operation in operation.as_object_mut().into_iter().flat_map(|methods| methods.values_mut()) {
            complete(operation, &examples);
        }
    }
    let mut components = made["components"].take();
    components["examples"] = Code::ALL.iter().map(|code| (code.as_str().to_owned(), example(*code))).collect();
    components["headers"] = headers();
    components["securitySchemes"] = json!({"bearer": {
        "type": "http", "scheme": "bearer", "bearerFormat": "JWT",
        "description": "The token of `POST /api/auth`, or one that your own backend has signed."
    }});
    let mut document = json!({
        "openapi": made["openapi"],
        "info": {
            "title": "Hyper Chat",
            "version": env!("CARGO_PKG_VERSION"),
            "description": GUIDE,
            "license": {"name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [{"bearer": []}],
        "tags": tags(),
        "paths": made["paths"],
        "components": components,
        "x-problem-codes": Code::ALL.iter().map(|code| entry(*code)).collect::<Vec<_>>(),
    });
    schemas::tidy(&mut document);
    document
}

/// What a client has to know beside the single operations.
const GUIDE: &str = concat!(include_str!("../protocol/rest_guide.md"), "\n", include_str!("../protocol/own_users.md"));

/// Adds to an operation what is the same for all: examples of the bodies, headers.
fn complete(operation: &mut Value, examples: &Value) {
    for parameter in operation.get_mut("parameters").and_then(Value::as_array_mut).into_iter().flatten() {
        // One that is left out is not null.
        if let Some(kind) = parameter.pointer_mut("/schema/type")
            && let Some(Value::String(first)) = kind.get(0).cloned()
        {
            *kind = Value::String(first);
        }
    }
    if let Some(body) = operation.pointer_mut("/requestBody/content/application~1json") {
        give_example(body, examples);
    }
    for (status, response) in operation["responses"].as_object_mut().into_iter().flatten() {
        if let Some(body) = response.pointer_mut("/content/application~1json") {
            give_example(body, examples);
        }
        let name = match status.as_str() {
            "401" => "WWW-Authenticate",
            "429" | "503" if response["content"].get(PROBLEM).is_some() => "Retry-After",
            "200" if response.pointer("/headers/Link").is_some() => "Link",
            _ => continue,
        };
        response["headers"][name] = json!({"$ref": format!("#/components/headers/{name}")});
    }
}

/// The example of the schema that a body names, or a list of it.
fn give_example(body: &mut Value, examples: &Value) {
    let named = |schema: &Value| examples.get(schemas::name_of(schema)?).cloned();
    let schema = &body["schema"];
    let example = named(schema).or_else(|| named(&schema["items"]).map(|one| json!([one])));
    if let (Some(example), None) = (example, body.get("example")) {
        body["example"] = example;
    }
}

fn headers() -> Value {
    let text = |durability: &str, example: &str| json!({"description": durability, "schema": {"type": "string"}, "example": example});
    json!({
        "Link": text(
            "The next page, while there may be one: only of a page, never of everything.",
            "</api/chatrooms/7/chats?limit=50&before=41>; rel=\"next\"",
        ),
        "Retry-After": {"description": "Seconds to wait before the next try.", "schema": {"type": "integer"}, "example": 1},
        "WWW-Authenticate": text("How to sign in.", "Bearer"),
    })
}

fn tags() -> Value {
    let tag = |name: &str, durability: &str| json!({"name": name, "description": durability});
    json!([
        tag("Accounts", "Signing up and in, the directory, one's own account."),
        tag("Rooms", "The rooms one is in, and how far one has got in them."),
        tag("Chats", "Sending, reading, searching, editing, deleting; what changed."),
        tag("Sockets", "The way up to WebSocket."),
        tag("Documents", "What describes all this."),
        tag("Operation", "For whoever runs the server."),
    ])
}

/// A refusal as it may look.
fn example(code: Code) -> Value {
    let mut problem = Problem::new(code, what_to_do(code));
    match code {
        Code::Invalid => problem.field = Some("content"),
        Code::ChatroomExists => problem.chatroom_id = Some(7.into()),
        _ => {}
    }
    json!({"summary": code.title(), "value": problem})
}

/// A line of the table of codes.
fn entry(code: Code) -> Value {
    let retry = match code.retry() {
        Retry::No => "no",
        Retry::Later => "later",
        Retry::SignIn => "sign_in",
    };
    json!({
        "code": code.as_str(), "status": code.status(), "title": code.title(),
        "retry": retry, "what_to_do": what_to_do(code),
    })
}

fn what_to_do(code: Code) -> &'static str {
    match code {
        Code::Malformed => "Mend the request: `detail` says what cannot be read.",
        Code::TokenMissing => "Send the header `Authorization: Bearer TOKEN`.",
        Code::TokenInvalid | Code::TokenExpired | Code::TokenRevoked => "Sign in at `POST /api/auth`, then try again.",
        Code::CredentialsWrong => "Ask the person for username and password again.",
        Code::NotYours => "Do not offer it: only the sender edits and deletes a chat.",
        Code::OriginRefused => "Let the operator add the page's origin to `server.allowed_origins`.",
        Code::DirectoryClosed => "Sign in, or ask for one chatter by id.",
        Code::NotFound => "Forget the id: it was deleted, or it is somebody else's.",
        Code::MethodNotAllowed => "Use a method that the header `Allow` names.",
        Code::Timeout => "Send it again: the body must arrive within ten seconds.",
        Code::ChatroomExists => "Use the room that `chatroom_id` names.",
        Code::UsernameTaken => "Choose another username.",
        Code::ClientIdConflict => "Give each new chat a new `client_id`.",
        Code::TooLarge => "Send less: `detail` says how much is taken.",
        Code::UnsupportedMediaType => "Send plain JSON with `Content-Type: application/json`.",
        Code::Invalid => "Mend the value of `field`: `detail` names the rule.",
        Code::ReceiverDeleted => "Do not write here any more; the history stays readable.",
        Code::UpgradeRequired => "Connect with WebSocket, version 13.",
        Code::RateLimited => "Wait as long as `Retry-After` says.",
        Code::Internal => "Try again later; if it stays so, its operator finds the reason in the log.",
        Code::Busy => "Try again in a moment, a chat with the same `client_id`.",
        Code::Unavailable => "Try again, a chat with the same `client_id`: it may have been stored.",
        Code::Draining => "Connect again: another instance answers.",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_of_codes_has_a_response_for_each_status_that_names_them() {
        let responses = Refusals::<{ TOKEN | BODY }>::responses();
        let statuses: Vec<&str> = responses.keys().map(String::as_str).collect();
        assert_eq!(statuses, ["400", "401", "408", "413", "415", "500", "503"]);
        let unavailable = serde_json::to_value(&responses["503"]).unwrap();
        let examples = unavailable["content"][PROBLEM]["examples"].as_object().unwrap();
        assert_eq!(examples.keys().collect::<Vec<_>>(), ["draining", "unavailable"]);
    }
}
