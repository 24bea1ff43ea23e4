//! Which keys are secrets, and the files that hold them in place of the environment: `…_FILE`.

use std::fs::File;
use std::io::Read;

use serde_json::Value;

/// No secret is longer; bounds what is read when the file is something else.
const FILE_BYTES_MAX: u64 = 65_536;
/// What the name of a variable has behind it that names a file.
pub(super) const FILE_SUFFIX: &str = "_FILE";

/// How a key holds its secret.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// The value is the secret.
    Text,
    /// Each element is one.
    List,
    /// The value may have a password.
    Url,
    /// The value is the path of a file with the secret.
    Path,
}

/// Every key that is a secret.
const SECRETS: [(&str, Form); 5] = [
    ("database.url", Form::Url),
    ("redis.url", Form::Url),
    ("auth.jwt_secret", Form::Text),
    ("auth.jwt_secrets_old", Form::List),
    ("fcm.service_account", Form::Path),
];

fn form(key: &str) -> Option<Form> {
    SECRETS.iter().find(|(secret, _)| *secret == key).map(|(_, form)| *form)
}

/// The keys that a file can give.
pub(super) fn keys() -> impl Iterator<Item = &'static str> {
    SECRETS.iter().map(|(key, _)| *key)
}

pub(super) fn is_secret(key: &str) -> bool {
    form(key).is_some()
}

/// Whether this value has a secret in it: a URL may have no password, and a path is none.
pub(super) fn has_secret(key: &str, value: &Value) -> bool {
    match (form(key), value) {
        (Some(Form::Text), Value::String(text)) => !text.is_empty(),
        (Some(Form::Url), Value::String(text)) => text.contains('@'),
        (Some(Form::List), Value::Array(items)) => !items.is_empty(),
        _ => false,
    }
}

/// The value of a key from the file at this path. The error says what to do, without the content.
pub(super) fn read(key: &str, path: &str) -> Result<Value, String> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes));
    read.map_err(|e| format!("cannot read {path}: {e}"))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(format!("{path} has more than {FILE_BYTES_MAX} bytes, which is no secret"));
    }
    let text = String::from_utf8(bytes).map_err(|_| format!("{path} must be UTF-8 text"))?;
    let text = text.strip_suffix('\n').map_or(&*text, |line| line.strip_suffix('\r').unwrap_or(line));
    if text.trim().is_empty() {
        return Err(format!("{path} is empty"));
    }
    Ok(match form(key) {
        Some(Form::Path) => path.into(),
        Some(Form::List) => {
            let items = text.split([',', '\n']).map(str::trim).filter(|item| !item.is_empty());
            items.map(Value::from).collect()
        }
        _ => text.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn e3_every_field_that_is_redacted_is_in_the_list() {
        let text = include_str!("sections.rs");
        let fields: Vec<&str> = text
            .lines()
            .filter(|line| line.trim_start().starts_with("pub ") && line.contains("SecretString"))
            .filter_map(|line| line.trim().strip_prefix("pub ")?.split(':').next())
            .collect();
        assert!(fields.len() > 3, "{fields:?}");
        for field in fields {
            assert!(keys().any(|key| key.ends_with(&format!(".{field}"))), "SECRETS lacks {field}");
        }
    }
}
