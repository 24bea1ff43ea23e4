//! Compares the files that the server serves with what the code generates. `UPDATE_DOCUMENTS=1` writes them.

use std::path::Path;

use serde_json::Value;

use super::{asyncapi, document, markdown};

/// Where the files are, from the root of the repository.
const OPENAPI: &str = "src/http/openapi.json";
const ASYNCAPI: &str = "src/protocol/asyncapi.json";
const REST_REFERENCE: &str = "src/http/rest.md";
const SOCKET_REFERENCE: &str = "src/protocol/socket.md";

fn json(document: &Value) -> String {
    serde_json::to_string_pretty(document).unwrap() + "\n"
}

#[track_caller]
fn check(file: &str, generated: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    if std::env::var_os("UPDATE_DOCUMENTS").is_some() {
        std::fs::write(&path, generated).unwrap();
    }
    let checked_in = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        checked_in == generated,
        "{file} is not what the code generates; renew it with `UPDATE_DOCUMENTS=1 cargo test --lib checked_in`"
    );
}

#[test]
fn the_openapi_document_is_what_the_code_generates() {
    check(OPENAPI, &json(&document()));
}

#[test]
fn the_asyncapi_document_is_what_the_code_generates() {
    check(ASYNCAPI, &json(&asyncapi::document()));
}

#[test]
fn the_rest_reference_is_what_the_code_generates() {
    check(REST_REFERENCE, &markdown::of_rest(&document()));
}

#[test]
fn the_socket_reference_is_what_the_code_generates() {
    check(SOCKET_REFERENCE, &markdown::of_sockets(&asyncapi::document()));
}

/// The places of the inline objects below this value. A generator would give each a type with an invented name.
fn inline_objects(value: &Value, at: &str, found: &mut Vec<String>) {
    if value["type"] == "object" && value["properties"].is_object() {
        found.push(at.to_owned());
    }
    match value {
        Value::Array(items) => items.iter().for_each(|item| inline_objects(item, at, found)),
        Value::Object(object) => {
            let inner = object.iter().filter(|(key, _)| !matches!(key.as_str(), "example" | "examples" | "bindings"));
            inner.for_each(|(key, inner)| inline_objects(inner, &format!("{at}/{key}"), found));
        }
        _ => {}
    }
}

#[test]
fn e8_every_object_of_the_documents_is_a_schema_with_a_name() {
    for document in [document(), asyncapi::document()] {
        let mut found = Vec::new();
        inline_objects(&document, "", &mut found);
        let anonymous: Vec<_> = found
            .iter()
            .filter(|at| at.strip_prefix("/components/schemas/").is_none_or(|name| name.contains('/')))
            .collect();
        assert!(anonymous.is_empty(), "without a name: {anonymous:?}");
    }
}

#[test]
fn e8_a_tombstone_differs_from_a_chat_by_a_constant() {
    let schemas = &document()["components"]["schemas"];
    assert_eq!(schemas["DeletedChat"]["properties"]["deleted"]["const"], true);
    assert!(schemas["DeletedChat"]["required"].as_array().unwrap().contains(&Value::from("deleted")));
    assert!(schemas["Chat"]["properties"].get("deleted").is_none());
}
