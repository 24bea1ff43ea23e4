//! Simplifies the schemas that are derived from types.

use serde_json::{Map, Value, json};

/// Where the documents keep their schemas.
pub(super) const SCHEMAS: &str = "#/components/schemas/";

/// The name that a reference to a schema ends in.
pub(super) fn name_of(schema: &Value) -> Option<&str> {
    schema["$ref"].as_str()?.strip_prefix(SCHEMAS)
}

/// Tidies a document: ids become whole numbers, a flattened struct becomes part of the object around it, `type` and
/// `ref` come first, and schemas without a reference are left out.
pub(super) fn tidy(document: &mut Value) {
    join_flattened(&mut document["components"]);
    spell_out(document);
    // A schema that only an unused schema refers to is unused as well.
    loop {
        let text = document.to_string();
        let Some(schemas) = document["components"]["schemas"].as_object_mut() else { return };
        let before = schemas.len();
        schemas.retain(|name, _| text.contains(&format!("\"{SCHEMAS}{name}\"")));
        if schemas.len() == before {
            return;
        }
    }
}

/// Ids come as references to `i64`, and a value that is the only one as an `enum`: spells out both.
fn spell_out(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(spell_out),
        Value::Object(object) => {
            object.values_mut().for_each(spell_out);
            if object.get("$ref").is_some_and(|name| name == &format!("{SCHEMAS}i64")) {
                object.shift_remove("$ref");
                object.shift_insert(0, "type".to_owned(), json!("integer"));
                object.shift_insert(1, "format".to_owned(), json!("int64"));
            }
            if let Some(Value::Array(values)) = object.get("enum")
                && let [only] = values.as_slice()
            {
                let only = only.clone();
                object.insert("const".to_owned(), only);
                object.shift_remove("enum");
            }
            if let Some(kind) = nullable(object) {
                object.shift_remove("oneOf");
                object.shift_insert(0, "type".to_owned(), json!([kind["type"], "null"]));
                object.extend(kind.as_object().into_iter().flatten().filter(|(k, _)| *k != "type").map(owned));
            }
        }
        _ => {}
    }
}

/// The schema of a plain value that may be null, without the null.
fn nullable(object: &Map<String, Value>) -> Option<Value> {
    let [kind, null] = object.get("oneOf")?.as_array()?.as_slice() else { return None };
    (kind["type"].is_string() && kind["type"] != "object" && null["type"] == "null").then(|| kind.clone())
}

/// Makes flattened structs part of the objects around them, in all schemas of these components.
pub(super) fn join_flattened(components: &mut Value) {
    let schemas = components["schemas"].clone();
    join_all(components, &schemas);
}

fn join_all(value: &mut Value, schemas: &Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| join_all(item, schemas)),
        Value::Object(object) => {
            object.values_mut().for_each(|inner| join_all(inner, schemas));
            if let Some(Value::Array(parts)) = object.shift_remove("allOf") {
                join(object, parts, schemas);
            }
            if let Some(properties) = object.get_mut("properties").and_then(Value::as_object_mut) {
                for first in ["ref", "type"] {
                    if let Some(property) = properties.shift_remove(first) {
                        properties.shift_insert(0, first.to_owned(), property);
                    }
                }
            }
        }
        _ => {}
    }
}

/// Makes one object of its own properties and those of the structs flattened into it; an optional struct's are
/// optional.
fn join(object: &mut Map<String, Value>, parts: Vec<Value>, schemas: &Value) {
    let (mut properties, mut required) = (Map::new(), Vec::new());
    let (own, flattened): (Vec<Value>, Vec<Value>) = parts.into_iter().partition(|part| part["type"] == "object");
    for part in own {
        properties.extend(part["properties"].as_object().into_iter().flatten().map(owned));
        required.extend(part["required"].as_array().into_iter().flatten().cloned());
    }
    for part in flattened {
        let optional = part.get("oneOf").is_some();
        let named = if optional { &part["oneOf"][0] } else { &part };
        let schema = name_of(named).map_or(&Value::Null, |name| &schemas[name]);
        properties.extend(schema["properties"].as_object().into_iter().flatten().map(owned));
        if !optional {
            required.extend(schema["required"].as_array().into_iter().flatten().cloned());
        }
    }
    object.shift_insert(0, "type".to_owned(), json!("object"));
    object.insert("required".to_owned(), Value::Array(required));
    object.insert("properties".to_owned(), Value::Object(properties));
}

fn owned((key, value): (&String, &Value)) -> (String, Value) {
    (key.clone(), value.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stand_where_they_are_used_and_flattened_structs_are_part_of_the_object() {
        let mut document = json!({
            "used": [{"$ref": "#/components/schemas/A"}],
            "components": {"schemas": {
                "A": {"allOf": [
                    {"oneOf": [{"$ref": "#/components/schemas/B"}, {"type": "null"}]},
                    {"type": "object", "required": ["id"], "properties": {
                        "id": {"$ref": "#/components/schemas/i64", "description": "Which."},
                        "after": {"oneOf": [{"$ref": "#/components/schemas/i64"}, {"type": "null"}]},
                        "type": {"type": "string"}
                    }}
                ]},
                "B": {"type": "object", "required": ["online"], "properties": {"online": {"type": "boolean"}}},
                "i64": {"type": "integer", "format": "int64"}
            }}
        });
        tidy(&mut document);
        let expected = json!({
            "A": {"type": "object", "required": ["id"], "properties": {
                "type": {"type": "string"},
                "id": {"type": "integer", "format": "int64", "description": "Which."},
                "after": {"type": ["integer", "null"], "format": "int64"},
                "online": {"type": "boolean"}
            }}
        });
        assert_eq!(document["components"]["schemas"], expected);
        let first = document["components"]["schemas"]["A"]["properties"].as_object().and_then(|p| p.keys().next());
        assert_eq!(first.map(String::as_str), Some("type"));
    }
}
