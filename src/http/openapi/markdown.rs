//! The documents as Markdown, for people and programs that read text: `/docs.md` and `/docs/socket.md`.

use serde_json::Value;

use super::PROBLEM;
use super::schemas::name_of;

/// The REST reference.
pub(super) fn of_rest(document: &Value) -> String {
    let mut text = format!(
        "# {} {}: REST\n\n{}\n\nFor sockets see `/docs/socket.md`; programs read `/api/openapi.json`.\n",
        word(&document["info"]["title"]),
        word(&document["info"]["version"]),
        word(&document["info"]["description"]),
    );
    for tag in list(&document["tags"]) {
        text.push_str(&format!("\n## {}\n\n{}\n", word(&tag["name"]), word(&tag["description"])));
        for (path, methods) in entries(&document["paths"]) {
            for (method, operation) in entries(methods).filter(|(_, operation)| operation["tags"][0] == tag["name"]) {
                text.push_str(&of_operation(path, method, operation));
            }
        }
    }
    text.push_str(
        "\n## Refusals\n\nEvery refusal is `application/problem+json` (RFC 9457). Programs go by `code`.\n\n",
    );
    text.push_str("| code | status | again? | meaning | what to do |\n|---|---|---|---|---|\n");
    for code in list(&document["x-problem-codes"]) {
        let cells = ["code", "status", "retry", "title", "what_to_do"].map(|key| cell(&code[key]));
        text.push_str(&format!("| `{}` | {} |\n", cells[0], cells[1..].join(" | ")));
    }
    text.push_str("\n## Bodies\n");
    text.push_str(&of_schemas(document, |_| true));
    text
}

/// The guide of the sockets and all their frames.
pub(super) fn of_sockets(document: &Value) -> String {
    let mut text = format!(
        "# {} {}\n\n{}\n",
        word(&document["info"]["title"]),
        word(&document["info"]["version"]),
        word(&document["info"]["description"]).trim_end(),
    );
    for (_, about) in entries(&document["channels"]) {
        let (title, address) = (word(&about["title"]), word(&about["address"]));
        text.push_str(&format!("\n## {title}: `{address}`\n\n{}\n", word(&about["description"])));
        for (key, reference) in entries(&about["messages"]) {
            let pointer = word(&reference["$ref"]).trim_start_matches('#');
            let message = document.pointer(pointer).unwrap_or(&Value::Null);
            let sender = if key.starts_with("client.") { "from the client" } else { "from the server" };
            text.push_str(&format!("\n### {} ({sender})\n\n{}\n", word(&message["name"]), word(&message["summary"])));
            text.push_str(&format!("\n```json\n{}\n```\n\n", message["examples"][0]["payload"]));
            let schema =
                name_of(&message["payload"]).map_or(&Value::Null, |name| &document["components"]["schemas"][name]);
            text.push_str(&fields(schema));
        }
    }
    text.push_str("\n## Close codes\n\n| code | meaning | what a client does |\n|---|---|---|\n");
    for code in list(&document["x-close-codes"]) {
        let cells = ["code", "reason", "what_to_do"].map(|key| cell(&code[key]));
        text.push_str(&format!("| {} |\n", cells.join(" | ")));
    }
    text.push_str("\n## Bodies\n");
    let frames: Vec<&str> =
        entries(&document["components"]["messages"]).filter_map(|(_, message)| name_of(&message["payload"])).collect();
    text.push_str(&of_schemas(document, |name| !frames.contains(&name)));
    text
}

fn of_operation(path: &str, method: &str, operation: &Value) -> String {
    let mut text = format!("\n### {} {path}\n\n{}.", method.to_ascii_uppercase(), word(&operation["summary"]));
    if let Some(description) = operation["description"].as_str() {
        text.push_str(&format!(" {description}"));
    }
    text.push('\n');
    let parameters = list(&operation["parameters"]);
    if !parameters.is_empty() {
        text.push_str("\n| parameter | in | type | meaning |\n|---|---|---|---|\n");
    }
    for parameter in parameters {
        let required = if parameter["required"] == true { " (required)" } else { "" };
        let (name, place, kind) = (word(&parameter["name"]), word(&parameter["in"]), kind(&parameter["schema"]));
        text.push_str(&format!("| `{name}`{required} | {place} | {kind} | {} |\n", cell(&parameter["description"])));
    }
    let body = &operation["requestBody"]["content"]["application/json"];
    if body.is_object() {
        text.push_str(&format!("\nBody: {}, like\n\n```json\n{}\n```\n", kind(&body["schema"]), body["example"]));
    }
    text.push('\n');
    for (status, answer) in entries(&operation["responses"]) {
        text.push_str(&format!("- {status}: {}\n", of_answer(answer)));
    }
    text
}

/// A refusal by its codes, another answer by its description and body.
fn of_answer(answer: &Value) -> String {
    let codes = &answer["content"][PROBLEM]["examples"];
    if codes.is_object() {
        return entries(codes).map(|(code, _)| format!("`{code}`")).collect::<Vec<_>>().join(", ");
    }
    let schema = &answer["content"]["application/json"]["schema"];
    let body = if schema.is_object() { format!(" Body: {}.", kind(schema)) } else { String::new() };
    format!("{}{body}", word(&answer["description"]))
}

fn of_schemas(document: &Value, shown: impl Fn(&str) -> bool) -> String {
    let mut text = String::new();
    for (name, schema) in entries(&document["components"]["schemas"]).filter(|(name, _)| shown(name)) {
        text.push_str(&format!("\n### {name}\n\n{}\n\n", word(&schema["description"])));
        text.push_str(&fields(schema));
    }
    text
}

fn fields(schema: &Value) -> String {
    if !schema["properties"].is_object() {
        return format!("{}.\n", kind(schema));
    }
    let mut text = "| key | type | meaning |\n|---|---|---|\n".to_owned();
    for (key, value) in entries(&schema["properties"]) {
        let optional = if list(&schema["required"]).iter().any(|name| name == key) { "" } else { " (optional)" };
        // Of a body that may be null, the description stands beside the reference.
        let about = value.get("description").unwrap_or(&value["oneOf"][0]["description"]);
        text.push_str(&format!("| `{key}`{optional} | {} | {} |\n", kind(value), cell(about)));
    }
    text
}

/// The type of a value in a few words.
fn kind(schema: &Value) -> String {
    if let Some(name) = name_of(schema) {
        return name.to_owned();
    }
    if let Some(only) = schema.get("const") {
        return format!("`{only}`");
    }
    if let Some(choices) = schema["oneOf"].as_array() {
        return choices.iter().map(kind).collect::<Vec<_>>().join(" or ");
    }
    if let Some(values) = schema["enum"].as_array() {
        return values.iter().map(|value| format!("`{value}`")).collect::<Vec<_>>().join(", ");
    }
    if schema["type"] == "array" {
        return format!("list of {}", kind(&schema["items"]));
    }
    if schema["additionalProperties"].is_object() {
        return format!("object of {}", kind(&schema["additionalProperties"]));
    }
    match &schema["type"] {
        Value::Array(kinds) => kinds.iter().map(word).collect::<Vec<_>>().join(" or "),
        kind => word(kind).to_owned(),
    }
}

/// A text inside a table.
fn cell(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| if value.is_null() { String::new() } else { value.to_string() }, str::to_owned)
        .replace('\n', " ")
        .replace('|', "\\|")
}

fn word(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn entries(value: &Value) -> impl Iterator<Item = (&str, &Value)> {
    value.as_object().into_iter().flatten().map(|(key, value)| (key.as_str(), value))
}
