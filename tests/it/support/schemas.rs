//! The documents as a contract: every answer and frame that a test receives must match their schemas.

use std::sync::LazyLock;

use reqwest::Method;
use serde_json::Value;

pub static OPENAPI: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_str(include_str!("../../../src/http/openapi.json")).expect("a document"));
pub static ASYNCAPI: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_str(include_str!("../../../src/protocol/asyncapi.json")).expect("a document"));

/// Each operation of the document: method, path, description.
pub fn operations() -> impl Iterator<Item = (String, &'static str, &'static Value)> {
    let paths = OPENAPI["paths"].as_object().expect("paths");
    paths.iter().flat_map(|(path, item)| {
        let methods = item.as_object().expect("methods");
        methods.iter().map(move |(method, operation)| (method.to_ascii_uppercase(), path.as_str(), operation))
    })
}

/// The messages of the document: `device.client.send` and the like, and the message.
pub fn messages() -> impl Iterator<Item = (&'static str, &'static Value)> {
    let messages = ASYNCAPI["components"]["messages"].as_object().expect("messages");
    messages.iter().map(|(key, message)| (key.as_str(), message))
}

/// The path of the document that matches a request's path, with its entry.
pub fn path_item(path: &str) -> Option<(&'static str, &'static Value)> {
    let path = path.split(['?', '#']).next().unwrap_or_default().trim_end_matches('/');
    let paths = OPENAPI["paths"].as_object().expect("paths");
    let literal = paths.iter().find(|(template, _)| template.trim_end_matches('/') == path);
    let found = literal.or_else(|| paths.iter().find(|(template, _)| fits(template.trim_end_matches('/'), path)));
    found.map(|(template, item)| (template.as_str(), item))
}

fn fits(template: &str, path: &str) -> bool {
    let (template, path) = (template.split('/'), path.split('/'));
    template.clone().count() == path.clone().count()
        && template.zip(path).all(|(t, p)| t == p || (t.starts_with('{') && !p.is_empty()))
}

/// Checks one answer: its status, the code of a refusal, the body.
#[track_caller]
pub fn check_answer(method: &Method, path: &str, status: u16, body: &Value) {
    let shown = format!("{method} {path}: {status} {body}");
    let Some((_, item)) = path_item(path) else {
        // The files of the demo are not part of the API.
        let demo = path == "/" || path.starts_with("/demo/");
        assert!(status == 404 || demo, "not in the document: {shown}");
        return;
    };
    let Some(operation) = item.get(method.as_str().to_ascii_lowercase()) else {
        // RFC 9110 says what HEAD and OPTIONS answer.
        let of_http = [Method::HEAD, Method::OPTIONS].contains(method);
        assert!(status == 405 || of_http, "not in the document: {shown}");
        return;
    };
    let answer = &operation["responses"][status.to_string()];
    let (kind, content) = match answer["content"].as_object().and_then(|content| content.iter().next()) {
        Some((kind, content)) => (kind.as_str(), content),
        None if answer.is_object() && body.is_null() => return,
        // A request that violates HTTP is refused before there is an operation.
        None if body.is_null() && matches!(status, 400 | 408 | 414 | 431) => return,
        None => panic!("this status is not in the document: {shown}"),
    };
    if kind == "application/problem+json" {
        let codes = content["examples"].as_object().expect("the codes");
        let code = body["code"].as_str().unwrap_or_default();
        assert!(codes.contains_key(code), "this code is not in the document: {shown}");
    }
    if kind.ends_with("json") {
        let wrong = faults(&OPENAPI, &content["schema"], body);
        assert!(wrong.is_empty(), "{wrong:#?} in {method} {path}: {status}");
    }
}

/// Checks one frame of the server, on the channel `device` or `chatroom`.
#[track_caller]
pub fn check_frame(channel: &str, frame: &Value) {
    let has = |key: &str| frame.get(key).is_some();
    let name = match frame["type"].as_str().or(frame["event"].as_str()) {
        Some(name) => name,
        None if has("error") => "error",
        None => "message",
    };
    let message = &ASYNCAPI["components"]["messages"][format!("{channel}.server.{name}")];
    assert!(message.is_object(), "not in the document: {frame}");
    let wrong = faults(&ASYNCAPI, &message["payload"], frame);
    assert!(wrong.is_empty(), "{wrong:#?} in the frame {name}");
}

/// Where a value does not match a schema of the document. A key that the schema does not name is a fault too.
pub fn faults(document: &Value, schema: &Value, value: &Value) -> Vec<String> {
    let mut found = Vec::new();
    look(document, schema, value, "", &mut found);
    found
}

/// The schema that a reference leads to, or the schema itself.
pub fn resolve<'a>(document: &'a Value, schema: &'a Value) -> &'a Value {
    match schema["$ref"].as_str() {
        Some(reference) => {
            document.pointer(reference.trim_start_matches('#')).expect("a reference that leads somewhere")
        }
        None => schema,
    }
}

fn look(document: &Value, schema: &Value, value: &Value, at: &str, found: &mut Vec<String>) {
    if schema["$ref"].is_string() {
        return look(document, resolve(document, schema), value, at, found);
    }
    if let Some(choices) = schema["oneOf"].as_array() {
        let tried: Vec<_> = choices.iter().map(|choice| faults(document, choice, value)).collect();
        if !tried.iter().any(Vec::is_empty) {
            found.push(format!("{at}: fits none of {tried:?}"));
        }
        return;
    }
    let kinds: Vec<&str> = match &schema["type"] {
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
        kind => kind.as_str().into_iter().collect(),
    };
    if !kinds.iter().any(|kind| is(kind, value)) {
        found.push(format!("{at}: not {kinds:?}"));
    }
    if schema["enum"].as_array().is_some_and(|values| !values.contains(value)) {
        found.push(format!("{at}: not {}", schema["enum"]));
    }
    if schema.get("const").is_some_and(|only| only != value) {
        found.push(format!("{at}: not {}", schema["const"]));
    }
    for (n, item) in value.as_array().into_iter().flatten().enumerate() {
        look(document, &schema["items"], item, &format!("{at}/{n}"), found);
    }
    if schema["properties"].is_object() || schema["additionalProperties"].is_object() {
        look_into(document, schema, value, at, found);
    }
}

fn look_into(document: &Value, schema: &Value, value: &Value, at: &str, found: &mut Vec<String>) {
    for key in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        if value.get(key).is_none() {
            found.push(format!("{at}/{key}: missing"));
        }
    }
    for (key, inner) in value.as_object().into_iter().flatten() {
        let known = schema["properties"].get(key).or_else(|| schema.get("additionalProperties"));
        match known {
            Some(schema) => look(document, schema, inner, &format!("{at}/{key}"), found),
            None => found.push(format!("{at}/{key}: not in the schema")),
        }
    }
}

fn is(kind: &str, value: &Value) -> bool {
    match kind {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => false,
    }
}
