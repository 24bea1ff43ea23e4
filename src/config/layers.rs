//! The layers of the configuration: reads the defaults, the file and the environment, refuses unknown keys and wrong
//! types, and remembers where the operator wrote each key, so that every later refusal has the words of that place.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::document::Document;
use super::kinds::{parsed, wrong_kind};
use super::names::{PREFIX, is_read, key_of, may_be_in_file, near_miss, nearest, variable};
use super::{ConfigError, DEFAULTS, File, GOOGLE, SHORT_NAMES, secrets, typed};

/// Where a value stands.
enum Place {
    File,
    /// `HYPER_CHAT__SERVER__PORT`, `PORT`.
    Variable(String),
    /// The variable, and the file that it names.
    SecretFile(String, String),
}

/// A value that an operator gave.
struct Setting {
    value: Value,
    place: Place,
}

/// The values that the operator gave, the last layer winning, and the problems found in them.
pub(super) struct Layers {
    defaults: BTreeMap<String, Value>,
    settings: BTreeMap<String, Setting>,
    file_name: String,
    file: Document,
    shorts: BTreeMap<&'static str, String>,
    problems: Vec<String>,
    warnings: Vec<String>,
}

impl Layers {
    /// Takes the layers in their order. The defaults and the file must be readable; other problems are gathered.
    pub(super) fn read(
        env: impl IntoIterator<Item = (String, String)>,
        file: Option<File<'_>>,
    ) -> Result<Self, ConfigError> {
        let mut defaults = BTreeMap::new();
        leaves("", Document::parse(File { name: "config.default.toml", text: DEFAULTS })?.values, &mut defaults);
        let mut layers = Self {
            defaults,
            settings: BTreeMap::new(),
            file_name: file.map_or(String::new(), |file| file.name.to_owned()),
            file: file.map(Document::parse).transpose()?.unwrap_or_default(),
            shorts: BTreeMap::new(),
            problems: Vec::new(),
            warnings: Vec::new(),
        };
        layers.take_table("", layers.file.values.clone());
        // Sorted, so that problems come in the same order each time.
        let env: BTreeMap<String, String> = env.into_iter().collect();
        for (name, text) in env.iter().filter(|(name, _)| name.starts_with(PREFIX)) {
            layers.take_long_name(name, text, &env);
        }
        for (name, key) in SHORT_NAMES {
            layers.take_short_name(name, key, &env);
        }
        for (name, text) in &env {
            layers.warn_of_near_miss(name, text);
        }
        Ok(layers)
    }

    fn take_table(&mut self, path: &str, table: Map<String, Value>) {
        for (name, value) in table {
            let key = if path.is_empty() { name } else { format!("{path}.{name}") };
            let is_section = self.defaults.keys().any(|k| k.strip_prefix(&key).is_some_and(|k| k.starts_with('.')));
            match (self.defaults.get(&key), value) {
                (Some(default), value) => match wrong_kind(default, &value) {
                    Some(rule) => self.problem(&key, rule),
                    None => drop(self.settings.insert(key, Setting { value, place: Place::File })),
                },
                (None, Value::Object(table)) if is_section => self.take_table(&key, table),
                (None, _) if is_section => self.problem(&key, &format!("must be a table, as in [{key}]")),
                (None, Value::Object(_)) if path.is_empty() => {
                    let written = self.written(&key);
                    let sections: BTreeSet<&str> = self.defaults.keys().filter_map(|k| k.split('.').next()).collect();
                    let hint = match nearest(&key, sections.iter().copied()) {
                        Some(section) => format!("did you mean [{section}]?"),
                        None => format!("the sections are {}", sections.into_iter().collect::<Vec<_>>().join(", ")),
                    };
                    self.problems.push(format!("{written}: there is no such section; {hint}"));
                }
                (None, _) => {
                    let written = self.written(&key);
                    self.refuse_unknown(&key, &written, ToOwned::to_owned);
                }
            }
        }
    }

    fn take_long_name(&mut self, name: &str, text: &str, env: &BTreeMap<String, String>) {
        let key = key_of(name);
        let secret = name.strip_suffix(secrets::FILE_SUFFIX).filter(|base| secrets::is_secret(&key_of(base)));
        if let Some(base) = secret.filter(|base| **base == base.to_ascii_uppercase()) {
            self.take_from_secret_file(&key_of(base), base, env);
        } else if !self.defaults.contains_key(&key) || name != name.to_ascii_uppercase() {
            self.refuse_unknown(&key, name, variable);
        } else if !text.is_empty() || !has_file(name, env) {
            self.take_from_environment(&key, name, text);
        }
    }

    fn take_short_name(&mut self, name: &'static str, key: &str, env: &BTreeMap<String, String>) {
        if may_be_in_file(name, key) {
            self.take_from_secret_file(key, name, env);
        }
        let Some(text) = env.get(name).filter(|text| !text.is_empty()) else { return };
        self.shorts.insert(name, text.clone());
        if name != GOOGLE {
            self.take_from_environment(key, name, text);
        }
    }

    fn take_from_environment(&mut self, key: &str, name: &str, text: &str) {
        let Some(default) = self.defaults.get(key) else { return };
        match parsed(default, text) {
            Err(rule) => self.problems.push(format!("{name}: {rule}, not {text:?}")),
            Ok(value) => {
                let place = Place::Variable(name.to_owned());
                self.settings.insert(key.to_owned(), Setting { value, place });
            }
        }
    }

    /// Takes a secret from the file that the variable `base` with `_FILE` behind it names.
    fn take_from_secret_file(&mut self, key: &str, base: &str, env: &BTreeMap<String, String>) {
        let name = format!("{base}{}", secrets::FILE_SUFFIX);
        let Some(path) = env.get(&name).filter(|path| !path.is_empty()) else { return };
        if env.get(base).is_some_and(|text| !text.is_empty()) {
            return self.problems.push(format!("{name}: {base} is set too; set one of them"));
        }
        match secrets::read(key, path) {
            Err(problem) => self.problems.push(format!("{name}: {problem}")),
            Ok(value) => {
                let place = Place::SecretFile(name, path.clone());
                self.settings.insert(key.to_owned(), Setting { value, place });
            }
        }
    }

    fn refuse_unknown(&mut self, key: &str, written: &str, in_words: impl Fn(&str) -> String) {
        let section = key.split('.').next().unwrap_or_default();
        let prefix = format!("{section}.");
        let of_section = || self.defaults.keys().filter(|k| k.starts_with(&prefix)).map(|k| in_words(k));
        let keys = || self.defaults.keys().map(String::as_str);
        // Only secrets have `_FILE`.
        let near = nearest(key, keys()).or_else(|| nearest(key.strip_suffix("_file")?, keys()));
        let hint = if let Some(near) = near {
            format!("did you mean {}?", in_words(near))
        } else if of_section().next().is_some() {
            format!("section {section} has {}", of_section().collect::<Vec<_>>().join(", "))
        } else {
            let mut sections: Vec<&str> = self.defaults.keys().filter_map(|k| k.split('.').next()).collect();
            sections.dedup();
            format!("the sections are {}", sections.join(", "))
        };
        self.problems.push(format!("{written}: there is no such key; {hint}"));
    }

    fn warn_of_near_miss(&mut self, name: &str, text: &str) {
        let keys: Vec<&str> = self.defaults.keys().map(String::as_str).collect();
        if let Some(meant) = near_miss(name, text, &keys, |key| self.settings.contains_key(key)) {
            self.warnings.push(format!("{name} is set and not read; did you mean {meant}?"));
        }
    }

    /// The value an operator gave for a key, if any.
    pub(super) fn given(&self, key: &str) -> Option<&Value> {
        self.settings.get(key).map(|s| &s.value)
    }

    /// A short name's value, if it is set and not empty.
    pub(super) fn short(&self, name: &str) -> Option<&str> {
        self.shorts.get(name).map(String::as_str)
    }

    /// Whether the file has a secret in it, in force or not.
    pub(super) fn has_secret_in_file(&self) -> bool {
        let mut values = BTreeMap::new();
        leaves("", self.file.values.clone(), &mut values);
        values.iter().any(|(key, value)| secrets::has_secret(key, value))
    }

    /// What the operator may have meant otherwise.
    pub(super) fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Notes that the value at a path cannot be used, with what to do: `server.port`, `server.allowed_origins[1]`.
    pub(super) fn problem(&mut self, path: &str, rule: &str) {
        self.problems.push(format!("{}: {rule}", self.written(path)));
    }

    /// A path in the words of the place where its key stands.
    fn written(&self, path: &str) -> String {
        let key = path.split('[').next().unwrap_or(path);
        let setting = self.settings.get(key);
        match setting.map(|setting| &setting.place) {
            // A list of texts has no indices in the environment.
            Some(Place::Variable(name)) => match setting.and_then(|setting| setting.value.get(0)) {
                Some(Value::Object(_)) => format!("{name}{}", &path[key.len()..]),
                _ => name.clone(),
            },
            Some(Place::SecretFile(name, file)) => format!("{name} ({file})"),
            Some(Place::File) | None => match self.file.line(path) {
                Some(line) => format!("{path} in {}, line {line}", self.file_name),
                None if self.file.values.is_empty() => variable(key),
                None => format!("{}, or {key} in {}", variable(key), self.file_name),
            },
        }
    }

    /// Returns the problems noted so far as one error, with the warnings, which may name their cause.
    pub(super) fn refuse(&mut self) -> Result<(), ConfigError> {
        if self.problems.is_empty() {
            return Ok(());
        }
        let mut problems = std::mem::take(&mut self.problems);
        problems.append(&mut self.warnings);
        Err(ConfigError { problems })
    }

    /// The defaults, and over them what was given.
    fn layered(&self) -> Result<Value, config::ConfigError> {
        let mut given = Map::new();
        for (key, setting) in &self.settings {
            let Some((section, name)) = key.split_once('.') else { continue };
            let section = given.entry(section).or_insert_with(|| Value::Object(Map::new()));
            section[name] = setting.value.clone();
        }
        let defaults = config::File::from_str(DEFAULTS, config::FileFormat::Toml);
        let layers = config::Config::builder().add_source(defaults).add_source(config::Config::try_from(&given)?);
        layers.build()?.try_deserialize()
    }

    /// One typed value out of all layers.
    pub(super) fn merge<T: serde::de::DeserializeOwned>(&mut self) -> Result<T, ConfigError> {
        // JSON in between: unlike the layers it makes no number of a text, in no element of a list either.
        let merged: Value = self.layered().map_err(|e| ConfigError::one(e.to_string()))?;
        serde_path_to_error::deserialize(merged).map_err(|e| {
            self.problem(&e.path().to_string(), &typed::rule(&e.inner().to_string()));
            self.refuse().err().unwrap_or_else(|| ConfigError::one(String::new()))
        })
    }
}

/// The process's variables that name settings, or nearly do. A variable that is read must be Unicode.
pub(super) fn environment() -> Result<Vec<(String, String)>, ConfigError> {
    let mut env = Vec::new();
    for (name, value) in std::env::vars_os() {
        let Ok(name) = name.into_string() else { continue };
        match value.into_string() {
            Ok(value) => env.push((name, value)),
            Err(_) if is_read(&name) => return Err(ConfigError::one(format!("{name}: must be Unicode text"))),
            Err(_) => {}
        }
    }
    Ok(env)
}

/// Whether a file is named in place of an empty variable.
fn has_file(base: &str, env: &BTreeMap<String, String>) -> bool {
    secrets::is_secret(&key_of(base))
        && env.get(&format!("{base}{}", secrets::FILE_SUFFIX)).is_some_and(|path| !path.is_empty())
}

fn leaves(path: &str, table: Map<String, Value>, found: &mut BTreeMap<String, Value>) {
    for (name, value) in table {
        let key = if path.is_empty() { name } else { format!("{path}.{name}") };
        match value {
            Value::Object(table) => leaves(&key, table, found),
            value => drop(found.insert(key, value)),
        }
    }
}
