//! The AsyncAPI document of the two sockets, generated from the frames in `protocol`, their examples, the close codes
//! and the guide.

use serde_json::{Map, Value, json};
use utoipa::OpenApi;

use super::schemas;
use super::schemas::SCHEMAS;
use crate::problem::Problem;
use crate::protocol::chatroom::{ChatFrame, ClientFrame, ErrorFrame, EventFrame};
use crate::protocol::device::client::Body;
use crate::protocol::device::server::ServerFrame;
use crate::websocket::framing::Close;

/// What a client has to know beyond the single frames.
const GUIDE: &str = include_str!("../../protocol/guide.md");
/// One example of each frame, by the key of its message.
const EXAMPLES: &str = include_str!("../../protocol/frames.json");

#[derive(OpenApi)]
#[openapi(components(schemas(Problem, Body, ServerFrame, ClientFrame, ChatFrame, EventFrame, ErrorFrame)))]
struct Frames;

/// The whole document.
#[must_use]
pub(super) fn document() -> Value {
    let mut components = serde_json::to_value(Frames::openapi()).unwrap_or_default()["components"].take();
    schemas::join_flattened(&mut components);
    let schemas = &components["schemas"];
    let device = [of_client(&schemas["Body"]), of_server(&schemas["ServerFrame"], "type")].concat();
    let room = of_room(schemas);
    components["messages"] = messages([("device", &device), ("chatroom", &room)]);
    for (channel, frames) in [("device", &device), ("chatroom", &room)] {
        for (key, schema) in frames {
            components["schemas"][schema_name(channel, key)] = schema.clone();
        }
    }
    components["securitySchemes"] = json!({
        "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
        "query": {"type": "httpApiKey", "in": "query", "name": "jwt"},
    });
    let mut document = json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "Hyper Chat, sockets",
            "version": env!("CARGO_PKG_VERSION"),
            "description": GUIDE,
            "license": {"name": "MIT OR Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "servers": {"server": {
            "host": "{host}", "protocol": "ws",
            "description": "`wss` behind a proxy that speaks TLS.",
            "variables": {"host": {"default": "localhost:8080"}},
            "security": [
                {"$ref": "#/components/securitySchemes/bearer"},
                {"$ref": "#/components/securitySchemes/query"},
            ],
        }},
        "channels": channels(&device, &room),
        "operations": operations(&device, &room),
        "components": components,
        "x-close-codes": close_codes(),
    });
    schemas::tidy(&mut document);
    document
}

/// A frame: its key (`client.` or `server.` and its type) and its schema.
type Frame = (String, Value);

/// The name of a frame's schema. Generators name the types of clients after it.
fn schema_name(channel: &str, key: &str) -> String {
    let socket = if channel == "device" { "Device" } else { "Room" };
    let kind = match (channel, key) {
        // The client sends a frame of the same type.
        ("device", "server.receipt") => "ReceiptEvent".to_owned(),
        ("device", "server.typing") => "TypingEvent".to_owned(),
        ("chatroom", "server.message") => "Chat".to_owned(),
        _ => camel_case(key.rsplit('.').next().unwrap_or_default()),
    };
    format!("{socket}{kind}")
}

fn camel_case(snake_case: &str) -> String {
    let capitalised = |word: &str| word[..1].to_ascii_uppercase() + &word[1..];
    snake_case.split('_').filter(|word| !word.is_empty()).map(capitalised).collect()
}

/// The frames of a client. The derived schema has an object for each variant, with its content below the type.
fn of_client(body: &Value) -> Vec<Frame> {
    let frame = |variant: &Value| {
        let (name, content) = match variant["enum"][0].as_str() {
            Some(bare) => (bare, &Value::Null),
            None => variant["properties"].as_object()?.iter().next().map(|(name, content)| (name.as_str(), content))?,
        };
        let mut properties = Map::new();
        properties.insert("type".to_owned(), json!({"type": "string", "enum": [name]}));
        properties.insert("ref".to_owned(), json!({"$ref": format!("{SCHEMAS}Ref")}));
        properties.extend(content["properties"].as_object().cloned().unwrap_or_default());
        let mut required = vec![json!("type")];
        required.extend(content["required"].as_array().cloned().unwrap_or_default());
        let description = &variant["description"];
        let schema =
            json!({"type": "object", "description": description, "required": required, "properties": properties});
        Some((format!("client.{name}"), schema))
    };
    body["oneOf"].as_array().into_iter().flatten().filter_map(frame).collect()
}

/// The frames of the server, each named by the value of `tag`.
fn of_server(schema: &Value, tag: &str) -> Vec<Frame> {
    let named = |variant: &Value| {
        let name = variant["properties"][tag]["enum"][0].as_str().unwrap_or_default();
        (format!("server.{name}"), variant.clone())
    };
    schema["oneOf"].as_array().into_iter().flatten().map(named).collect()
}

/// The frames of the socket of one room, in both directions.
fn of_room(schemas: &Value) -> Vec<Frame> {
    let one = |key: &str, name: &str| (key.to_owned(), schemas[name].clone());
    let events = of_server(&schemas["RoomEvent"], "event");
    let plain = vec![one("client.message", "RoomMessage"), one("server.message", "RoomChat")];
    [plain, events, vec![one("server.error", "RoomError")]].concat()
}

fn messages(sockets: [(&str, &Vec<Frame>); 2]) -> Value {
    let examples: Value = serde_json::from_str(EXAMPLES).unwrap_or_default();
    let message = |(channel, (short, payload)): (&str, &Frame)| {
        let key = format!("{channel}.{short}");
        let name = key.rsplit('.').next().unwrap_or_default();
        let message = json!({
            "name": name, "summary": payload["description"],
            "payload": {"$ref": format!("{SCHEMAS}{}", schema_name(channel, short))},
            "examples": [{"payload": examples[&key]}],
        });
        (key, message)
    };
    let all = sockets.into_iter().flat_map(|(channel, frames)| frames.iter().map(move |frame| (channel, frame)));
    Value::Object(all.map(message).collect())
}

fn channels(device: &[Frame], room: &[Frame]) -> Value {
    let messages = |channel: &str, frames: &[Frame]| -> Value {
        let reference = |key: &str| json!({"$ref": format!("#/components/messages/{channel}.{key}")});
        Value::Object(frames.iter().map(|(key, _)| (key.clone(), reference(key))).collect())
    };
    let text = |about: &str| json!({"type": "string", "description": about});
    json!({
        "deviceSocket": {
            "address": "/ws",
            "title": "The device socket",
            "description": "One socket for all rooms of a chatter, one for each device. Subprotocol `hyper-chat.v1`.",
            "messages": messages("device", device),
            "bindings": {"ws": {"method": "GET", "query": {"type": "object", "properties": {
                "jwt": text("The token, where no header can be set.")
            }}}},
        },
        "roomSocket": {
            "address": "/ws/chatrooms/{id}/",
            "title": "The socket of one room",
            "description": "The simple way: text in, chats out. The last slash is optional.",
            "parameters": {"id": {"description": "The room's id."}},
            "messages": messages("chatroom", room),
            "bindings": {"ws": {"method": "GET", "query": {"type": "object", "properties": {
                "jwt": text("The token, where no header can be set."),
                "events": text("`1`: edits and deletions too."),
            }}}},
        },
    })
}

fn operations(device: &[Frame], room: &[Frame]) -> Value {
    let mut operations = Map::new();
    for (channel, frames) in [("device", device), ("chatroom", room)] {
        // A generated type has the name of the channel, so it must differ from those of the schemas.
        let id = if channel == "device" { "deviceSocket" } else { "roomSocket" };
        let at = json!({"$ref": format!("#/channels/{id}")});
        let message = |key: &str| json!({"$ref": format!("#/channels/{id}/messages/{key}")});
        for (key, _) in frames.iter().filter(|(key, _)| key.starts_with("client.")) {
            let replies: Vec<Value> =
                replies(channel, key).iter().map(|name| message(&format!("server.{name}"))).collect();
            let reply = json!({"channel": at, "messages": replies});
            let operation = json!({"action": "receive", "channel": at, "messages": [message(key)], "reply": reply});
            operations.insert(format!("{id}.{key}"), operation);
        }
        let events = frames.iter().filter(|(key, _)| key.starts_with("server."));
        let events: Vec<Value> = events.map(|(key, _)| message(key)).collect();
        operations.insert(format!("{id}.server"), json!({"action": "send", "channel": at, "messages": events}));
    }
    Value::Object(operations)
}

/// The frames that may answer a frame of the client.
fn replies(channel: &str, key: &str) -> &'static [&'static str] {
    match (channel, key) {
        ("device", "client.auth") => &["ready", "authenticated", "error"],
        ("device", "client.send" | "client.edit" | "client.delete") => &["ack", "error"],
        ("device", "client.resume") => &["changes", "reset", "chatroom_deleted", "resumed", "error"],
        ("device", "client.ping") => &["pong", "error"],
        ("chatroom", "client.message") => &["message", "error"],
        _ => &["error"],
    }
}

fn close_codes() -> Value {
    let own = Close::ALL.iter().map(|close| (close.code, close.reason.split(':').next().unwrap_or_default()));
    let all = [(1000, "the client closed it")].into_iter().chain(own);
    all.map(|(code, reason)| json!({"code": code, "reason": reason, "what_to_do": what_to_do(code)})).collect()
}

fn what_to_do(code: u16) -> &'static str {
    match code {
        1000 => "Nothing: the client closed the socket.",
        1001 => "Come back after a random delay of a few seconds; another instance answers.",
        1002 | 1007 => "Fix the client, then come back.",
        1003 => "Send text, not binary messages; then come back.",
        1008 => "Come back, and send each message within 15 s.",
        1009 => "Come back, and do not send that message again.",
        4400 => "Fix the client; do not reconnect.",
        4401 => "Sign in, and come back with the new token.",
        4404 => "Do not reconnect, and forget the room.",
        4409 => "Do not reconnect: newer sockets of the same chatter took the place.",
        4429 => {
            "Come back after a minute. From then on wait after each `rate_limited`, and send fewer pings and fragments."
        }
        4503 => "Come back, each time after a longer delay.",
        4508 => "Come back, resume, and read faster.",
        _ => "Come back and resume.",
    }
}
