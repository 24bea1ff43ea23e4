//! What serde says of a value that does not fit its type, in the words of the configuration and without the value, which
//! may be a secret.

use super::names::nearest;

/// The rule behind an error of serde.
pub(super) fn rule(error: &str) -> String {
    let names: Vec<&str> = error.split('`').skip(1).step_by(2).collect();
    let expected = error.rsplit_once("expected ").map_or("", |(_, expected)| expected);
    if error.starts_with("missing field") {
        return format!("must have {}", names.first().unwrap_or(&"another key"));
    }
    if error.starts_with("unknown field") {
        let (unknown, known) = (names.first().copied().unwrap_or_default(), names.get(1..).unwrap_or_default());
        return match nearest(unknown, known.iter().copied()) {
            Some(near) => format!("there is no such key; did you mean {near}?"),
            None => format!("there is no such key; there are {}", known.join(", ")),
        };
    }
    if error.starts_with("unknown variant") {
        // A name with a backtick in it would shift the names, so they are counted from behind.
        let names: Vec<&str> = expected.split('`').skip(1).step_by(2).collect();
        return format!("must be {}", names.join(" or "));
    }
    if error.starts_with("invalid type") || error.starts_with("invalid value") {
        return format!("must be {}", kind(expected));
    }
    // A rule of the type itself.
    error.to_owned()
}

fn kind(expected: &str) -> &str {
    match expected {
        "a string" | "path string" => "a text",
        "a boolean" => "true or false",
        "a sequence" => "a list",
        number if number.starts_with(['u', 'i']) && number[1..].starts_with(|c: char| c.is_ascii_digit()) => {
            "a whole number"
        }
        "usize" | "isize" => "a whole number",
        table if table.starts_with("struct") || table == "a map" => "a table",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::{Value, json};

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only the errors are looked at")]
    struct Element {
        name: String,
        sizes: Vec<u16>,
        on: Option<bool>,
        kind: Option<Kind>,
    }

    #[derive(Debug, Deserialize)]
    enum Kind {
        Big,
        Small,
    }

    fn refused(value: Value) -> (String, String) {
        let error = serde_path_to_error::deserialize::<_, Vec<Element>>(value).expect_err("it is wrong");
        (error.path().to_string(), rule(&error.inner().to_string()))
    }

    #[test]
    fn e3_an_error_inside_a_list_of_tables_has_a_path_and_plain_words() {
        for (value, path, rule) in [
            (json!([{"name": "x", "sizes": []}, {"name": "y"}]), "[1]", "must have sizes"),
            (json!([{"name": 5, "sizes": []}]), "[0].name", "must be a text"),
            (json!([{"name": "x", "sizes": [1, "hunter2"]}]), "[0].sizes[1]", "must be a whole number"),
            (json!([{"name": "x", "sizes": [70_000]}]), "[0].sizes[0]", "must be a whole number"),
            (json!([{"name": "x", "sizes": 1}]), "[0].sizes", "must be a list"),
            (json!([{"name": "x", "on": "yes"}]), "[0].on", "must be true or false"),
            (json!([{"name": "x", "kind": "hunter2"}]), "[0].kind", "must be Big or Small"),
            (json!([{"name": "x", "szies": []}]), "[0].szies", "there is no such key; did you mean sizes?"),
            (json!([{"colour": 1}]), "[0].colour", "there is no such key; there are name, sizes, on, kind"),
            (json!(["hunter2"]), "[0]", "must be a table"),
        ] {
            assert_eq!(refused(value), (path.to_owned(), rule.to_owned()));
        }
    }
}
