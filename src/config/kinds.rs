//! The kinds of values: a setting has the kind of its default.

use serde_json::Value;

use super::document::list_of_tables;

/// The rule that a value of another kind breaks. The elements of lists are checked where they get their type.
pub(super) fn wrong_kind(default: &Value, given: &Value) -> Option<&'static str> {
    match (default, given) {
        (Value::Bool(_), Value::Bool(_))
        | (Value::String(_), Value::String(_))
        | (Value::Array(_), Value::Array(_)) => None,
        (Value::Number(_), Value::Number(n)) if n.is_i64() => None,
        _ => Some(rule_of(default)),
    }
}

fn rule_of(default: &Value) -> &'static str {
    match default {
        Value::Bool(_) => "must be true or false",
        Value::Number(_) => "must be a whole number",
        Value::Array(_) => "must be a list",
        _ => "must be a text",
    }
}

/// The value of a text of the environment.
pub(super) fn parsed(default: &Value, text: &str) -> Result<Value, &'static str> {
    match default {
        Value::Bool(_) => text.trim().to_ascii_lowercase().parse::<bool>().map(Value::from).ok(),
        Value::Number(_) => text.trim().parse::<i64>().map(Value::from).ok(),
        Value::Array(_) => list_of_tables(text).or_else(|| {
            let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
            Some(items.map(Value::from).collect())
        }),
        _ => Some(text.into()),
    }
    .ok_or(rule_of(default))
}
