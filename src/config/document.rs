//! TOML as values, with the line of each: of every table, key and element of a list.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use toml::Spanned;
use toml::de::{DeInteger, DeTable, DeValue};

use super::{ConfigError, File};

/// A file that was read.
#[derive(Default)]
pub(super) struct Document {
    pub(super) values: Map<String, Value>,
    /// By path: `server`, `server.port`, `server.allowed_origins[1]`.
    lines: BTreeMap<String, usize>,
}

impl Document {
    pub(super) fn parse(file: File<'_>) -> Result<Self, ConfigError> {
        let table = DeTable::parse(file.text).map_err(|e| {
            // The parser's own display quotes the broken line, which may hold a secret.
            let place = e.span().map_or(String::new(), |span| format!(", line {}", line_of(file.text, span.start)));
            ConfigError::one(format!("{}{place}: this is not TOML: {}", file.name, e.message()))
        })?;
        let mut lines = Lines { text: file.text, found: BTreeMap::new() };
        let values = lines.table("", table.into_inner());
        Ok(Self { values, lines: lines.found })
    }

    /// The line of a path, or of the nearest of its parents that stands in the file.
    pub(super) fn line(&self, path: &str) -> Option<usize> {
        let mut path = path;
        loop {
            if let Some(line) = self.lines.get(path) {
                return Some(*line);
            }
            path = &path[..path.rfind(['.', '['])?];
        }
    }
}

/// The lists and tables of one value in the environment, as `[{issuer = "…"}]`; none if it is not such a list.
pub(super) fn list_of_tables(text: &str) -> Option<Value> {
    if !text.trim_start().starts_with("[{") {
        return None;
    }
    let value = DeValue::parse(text.trim()).ok()?;
    Some(Lines { text, found: BTreeMap::new() }.value("", value))
}

struct Lines<'a> {
    text: &'a str,
    found: BTreeMap<String, usize>,
}

impl Lines<'_> {
    fn table(&mut self, path: &str, table: DeTable<'_>) -> Map<String, Value> {
        let entries = table.into_iter().map(|(key, value)| {
            // A key of the root that has a dot in quotes is no key of a section.
            let name = key.get_ref().replace('.', "\".\"");
            let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            self.found.insert(path.clone(), line_of(self.text, key.span().start));
            (name, self.value(&path, value))
        });
        entries.collect()
    }

    fn value(&mut self, path: &str, value: Spanned<DeValue<'_>>) -> Value {
        match value.into_inner() {
            DeValue::String(text) => Value::String(text.into_owned()),
            DeValue::Integer(number) => whole(&number).into(),
            DeValue::Float(number) => number.as_str().parse::<f64>().ok().into(),
            DeValue::Boolean(is) => is.into(),
            // No setting is a date; every kind refuses null.
            DeValue::Datetime(_) => Value::Null,
            DeValue::Array(items) => Value::Array(
                items
                    .into_iter()
                    .enumerate()
                    .map(|(i, item)| {
                        let path = format!("{path}[{i}]");
                        self.found.insert(path.clone(), line_of(self.text, item.span().start));
                        self.value(&path, item)
                    })
                    .collect(),
            ),
            DeValue::Table(table) => Value::Object(self.table(path, table)),
        }
    }
}

/// A whole number of TOML; one beyond 64 bits becomes the largest or least, which no range has.
fn whole(number: &DeInteger<'_>) -> i64 {
    let text = number.as_str();
    let beyond = if text.starts_with('-') { i64::MIN } else { i64::MAX };
    i64::from_str_radix(text, number.radix()).unwrap_or(beyond)
}

fn line_of(text: &str, at: usize) -> usize {
    text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn e3_each_table_key_and_element_has_its_line() {
        let text = "a.b = 1_000\n\n[list]\nof = [\n  \"x\",\n  0x1F,\n]\n[[deep.tables]]\nk = true\n\n[[deep.tables]]\nk = 1\n";
        let document = Document::parse(File { name: "x.toml", text }).unwrap();
        for (path, line) in [
            ("a.b", 1),
            ("list", 3),
            ("list.of", 4),
            ("list.of[0]", 5),
            ("list.of[1]", 6),
            ("list.of[9]", 4),
            ("deep.tables[0]", 8),
            ("deep.tables[0].k", 9),
            ("deep.tables[1]", 11),
            ("deep.tables[1].k", 12),
            ("deep.tables[1].missing", 11),
        ] {
            assert_eq!(document.line(path), Some(line), "{path}");
        }
        assert_eq!(document.line("nowhere"), None);
        assert_eq!(document.values["a"]["b"], 1_000);
        assert_eq!(document.values["list"]["of"][1], 31);
        let list = list_of_tables("[{issuer = \"x\", n = [1]}]").unwrap();
        assert_eq!(list[0]["issuer"], "x");
        assert_eq!(list_of_tables("[{"), None);
    }
}
