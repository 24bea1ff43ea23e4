//! The documents against the types that the library parses: operations, client frames and close codes.

use std::collections::BTreeSet;

use hyper_chat::http::routes::ROUTES;
use hyper_chat::protocol::chatroom;
use hyper_chat::protocol::device::client::{ClientFrame, Type};
use hyper_chat::websocket::framing::Close;
use serde_json::{Value, json};

use crate::support::schemas::{ASYNCAPI, messages, operations, resolve};

#[test]
fn the_routes_and_the_document_name_the_same_operations() {
    let routes: BTreeSet<(String, &str)> = ROUTES
        .iter()
        .flat_map(|(paths, methods)| methods.iter().map(|method| ((*method).to_owned(), paths[0])))
        .collect();
    let documented: BTreeSet<_> = operations().map(|(method, path, _)| (method, path)).collect();
    assert_eq!(routes, documented);
}

#[test]
fn every_example_of_a_client_frame_parses_and_needs_its_required_keys() {
    for (key, message) in messages().filter(|(key, _)| key.contains(".client.")) {
        let example = &message["examples"][0]["payload"];
        let reads = |frame: &Value| {
            let text = frame.to_string();
            match key.strip_prefix("device.client.") {
                Some(_) => ClientFrame::parse(text.as_bytes()).is_ok(),
                None => serde_json::from_str::<chatroom::ClientFrame>(&text).is_ok(),
            }
        };
        assert!(reads(example), "{key}: {example}");
        let payload = resolve(&ASYNCAPI, &message["payload"]);
        let properties = payload["properties"].as_object().unwrap();
        for name in properties.keys() {
            let needed = payload["required"].as_array().unwrap().contains(&json!(name));
            let mut without = example.clone();
            without.as_object_mut().unwrap().remove(name);
            assert_eq!(reads(&without), !needed, "{key} without {name}");
            let mut wrong = example.clone();
            wrong[name] = json!([{}]);
            assert!(!reads(&wrong), "{key}: {name} is not looked at");
        }
    }
}

#[test]
fn the_document_names_every_client_frame_and_every_close_code() {
    let types: Vec<&str> = messages().filter_map(|(key, _)| key.strip_prefix("device.client.")).collect();
    assert_eq!(types, Type::ALL.iter().map(|kind| kind.as_str()).collect::<Vec<_>>());
    let codes: Vec<u64> =
        ASYNCAPI["x-close-codes"].as_array().unwrap().iter().filter_map(|c| c["code"].as_u64()).collect();
    assert!(Close::ALL.iter().all(|close| codes.contains(&u64::from(close.code))), "{codes:?}");
}
