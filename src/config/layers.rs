//! The layers of the configuration: reads the defaults, the file and the environment, refuses unknown keys and wrong
//! types, and remembers how the operator wrote each key, so that every later refusal names it that way.

use std::collections::BTreeMap;

use config::{FileFormat, Source, Value, ValueKind};

use super::{ConfigError, DEFAULTS, File, SHORT_NAMES};

const PREFIX: &str = "HYPER_CHAT__";

/// A value that an operator gave.
pub(super) struct Setting {
    pub(super) value: ValueKind,
    /// The key as written: `HYPER_CHAT__SERVER__PORT`, `PORT`, `server.port in hyper_chat.toml`.
    written: String,
}

/// The values that the operator gave, the last layer winning, and the problems found in them.
pub(super) struct Layers {
    defaults: BTreeMap<String, ValueKind>,
    settings: BTreeMap<String, Setting>,
    /// Keys whose winner is the environment.
    overrides: Vec<String>,
    shorts: BTreeMap<&'static str, String>,
    /// The file has a secret in it.
    has_secret_in_file: bool,
    problems: Vec<String>,
}

impl Layers {
    /// Takes the layers in their order. The defaults and the file must be readable; other problems are gathered.
    pub(super) fn read(
        env: impl IntoIterator<Item = (String, String)>,
        file: Option<File<'_>>,
    ) -> Result<Self, ConfigError> {
        let defaults = leaves(File { name: "config.default.toml", text: DEFAULTS })?;
        let mut layers = Self {
            defaults,
            settings: BTreeMap::new(),
            overrides: Vec::new(),
            shorts: BTreeMap::new(),
            has_secret_in_file: false,
            problems: Vec::new(),
        };
        if let Some(file) = file {
            for (key, value) in leaves(file)? {
                layers.take_from_file(key, value, file.name);
            }
        }
        // Sorted, so that problems come in the same order each time.
        let env: BTreeMap<String, String> = env.into_iter().collect();
        for (name, text) in env.iter().filter(|(name, _)| name.starts_with(PREFIX)) {
            layers.take_from_environment(&key_of(name), name, text);
        }
        for (name, key) in SHORT_NAMES {
            let Some(text) = env.get(name).filter(|text| !text.is_empty()) else { continue };
            layers.shorts.insert(name, text.clone());
            if name != "GOOGLE_APPLICATION_CREDENTIALS" {
                layers.take_from_environment(key, name, text);
            }
        }
        Ok(layers)
    }

    fn take_from_file(&mut self, key: String, value: ValueKind, name: &str) {
        let written = format!("{key} in {name}");
        match self.defaults.get(&key) {
            None => self.refuse_unknown(&key, &written),
            Some(default) => match wrong_kind(default, &value) {
                Some(rule) => self.problems.push(format!("{written}: {rule}")),
                None => {
                    self.has_secret_in_file |= is_secret(&key, &value);
                    self.settings.insert(key, Setting { value, written });
                }
            },
        }
    }

    fn take_from_environment(&mut self, key: &str, name: &str, text: &str) {
        let Some(default) = self.defaults.get(key).filter(|_| name == name.to_ascii_uppercase()) else {
            return self.refuse_unknown(key, name);
        };
        match parsed(default, text) {
            Err(rule) => self.problems.push(format!("{name}: {rule}, not {text:?}")),
            Ok(value) => {
                self.overrides.push(key.to_owned());
                self.settings.insert(key.to_owned(), Setting { value, written: name.to_owned() });
            }
        }
    }

    fn refuse_unknown(&mut self, key: &str, written: &str) {
        let section = key.split('.').next().unwrap_or_default();
        let prefix = format!("{section}.");
        let near: Vec<String> = self.defaults.keys().filter(|k| k.starts_with(&prefix)).map(|k| variable(k)).collect();
        let hint = if near.is_empty() {
            let mut sections: Vec<&str> = self.defaults.keys().filter_map(|k| k.split('.').next()).collect();
            sections.dedup();
            format!("the sections are {}", sections.join(", "))
        } else {
            format!("section {section} has {}", near.join(", "))
        };
        self.problems.push(format!("{written}: there is no such key; {hint}"));
    }

    /// The value an operator gave for a key, if any.
    pub(super) fn given(&self, key: &str) -> Option<&ValueKind> {
        self.settings.get(key).map(|s| &s.value)
    }

    /// A short name's value, if it is set and not empty.
    pub(super) fn short(&self, name: &str) -> Option<&str> {
        self.shorts.get(name).map(String::as_str)
    }

    /// Whether the file has a secret in it, in force or not.
    pub(super) fn has_secret_in_file(&self) -> bool {
        self.has_secret_in_file
    }

    /// Notes that a key's value cannot be used, with what to do.
    pub(super) fn problem(&mut self, key: &str, rule: &str) {
        let written = self.settings.get(key).map_or_else(|| variable(key), |s| s.written.clone());
        self.problems.push(format!("{written}: {rule}"));
    }

    /// Returns the problems noted so far as one error.
    pub(super) fn refuse(&mut self) -> Result<(), ConfigError> {
        if self.problems.is_empty() {
            return Ok(());
        }
        Err(ConfigError { problems: std::mem::take(&mut self.problems) })
    }

    /// One typed value out of all layers.
    pub(super) fn merge<T: serde::de::DeserializeOwned>(&self, file: Option<File<'_>>) -> Result<T, ConfigError> {
        let mut builder = config::Config::builder().add_source(source(DEFAULTS));
        if let Some(file) = file {
            builder = builder.add_source(source(file.text));
        }
        for key in &self.overrides {
            let value = self.given(key).cloned().unwrap_or_default();
            builder = builder.set_override(key, value).map_err(|e| ConfigError::one(e.to_string()))?;
        }
        let merged = builder.build().and_then(config::Config::try_deserialize);
        merged.map_err(|e| ConfigError::one(e.to_string()))
    }
}

/// The process's variables that name settings. A variable that is not Unicode is refused.
pub(super) fn environment() -> Result<Vec<(String, String)>, ConfigError> {
    let mut env = Vec::new();
    for (name, value) in std::env::vars_os() {
        let Ok(name) = name.into_string() else { continue };
        if !name.starts_with(PREFIX) && name != super::FILE_VARIABLE && !SHORT_NAMES.iter().any(|(s, _)| *s == name) {
            continue;
        }
        let value = value.into_string().map_err(|_| ConfigError::one(format!("{name}: must be Unicode text")))?;
        env.push((name, value));
    }
    Ok(env)
}

/// How a key is written in the environment.
pub(super) fn variable(key: &str) -> String {
    format!("{PREFIX}{}", key.to_ascii_uppercase().replace('.', "__"))
}

fn key_of(variable: &str) -> String {
    variable.strip_prefix(PREFIX).unwrap_or(variable).to_ascii_lowercase().replace("__", ".")
}

/// Whether a setting is a secret, or a URL with a password.
fn is_secret(key: &str, value: &ValueKind) -> bool {
    let ValueKind::String(text) = value else { return false };
    match key {
        "auth.jwt_secret" => !text.is_empty(),
        "database.url" | "redis.url" => text.contains('@'),
        _ => false,
    }
}

fn source(text: &str) -> config::File<config::FileSourceString, FileFormat> {
    config::File::from_str(text, FileFormat::Toml)
}

fn leaves(file: File<'_>) -> Result<BTreeMap<String, ValueKind>, ConfigError> {
    let tables = source(file.text).collect().map_err(|e| {
        // The parser quotes the broken line, which may hold a secret: only the place and the reason are shown.
        let text = e.to_string();
        let lines: Vec<&str> = text.lines().filter(|line| !line.contains('|')).map(str::trim).collect();
        ConfigError::one(format!("{}: {}", file.name, lines.join(" ").trim()))
    })?;
    let mut leaves = BTreeMap::new();
    let mut open: Vec<(String, Value)> = tables.into_iter().collect();
    while let Some((key, value)) = open.pop() {
        match value.kind {
            ValueKind::Table(table) => open.extend(table.into_iter().map(|(k, v)| (format!("{key}.{k}"), v))),
            kind => {
                leaves.insert(key, kind);
            }
        }
    }
    Ok(leaves)
}

fn wrong_kind(default: &ValueKind, given: &ValueKind) -> Option<&'static str> {
    match (default, given) {
        (ValueKind::Boolean(_), ValueKind::Boolean(_))
        | (ValueKind::I64(_), ValueKind::I64(_))
        | (ValueKind::String(_), ValueKind::String(_)) => None,
        (ValueKind::Array(_), ValueKind::Array(items)) => {
            let all_text = items.iter().all(|item| matches!(item.kind, ValueKind::String(_)));
            if all_text { None } else { Some(rule_of(default)) }
        }
        _ => Some(rule_of(default)),
    }
}

fn rule_of(default: &ValueKind) -> &'static str {
    match default {
        ValueKind::Boolean(_) => "must be true or false",
        ValueKind::I64(_) => "must be a whole number",
        ValueKind::Array(_) => "must be a list of texts",
        _ => "must be a text",
    }
}

fn parsed(default: &ValueKind, text: &str) -> Result<ValueKind, &'static str> {
    match default {
        ValueKind::Boolean(_) => text.trim().to_ascii_lowercase().parse().map(ValueKind::Boolean).ok(),
        ValueKind::I64(_) => text.trim().parse().map(ValueKind::I64).ok(),
        ValueKind::Array(_) => {
            let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
            Some(ValueKind::Array(items.map(|item| Value::new(None, item)).collect()))
        }
        _ => Some(ValueKind::String(text.to_owned())),
    }
    .ok_or(rule_of(default))
}
