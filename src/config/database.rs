//! The database that a URL names, parsed as the driver parses it.

use std::path::PathBuf;

use secrecy::ExposeSecret;

use super::Database;

/// The kind of database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DatabaseKind {
    Sqlite(PathBuf),
    SqliteInMemory,
    Postgres,
}

impl Database {
    /// Which database the URL names.
    #[must_use]
    pub fn kind(&self) -> DatabaseKind {
        let url = self.url.expose_secret();
        let Some(rest) = url.strip_prefix("sqlite:") else { return DatabaseKind::Postgres };
        let rest = rest.strip_prefix("//").unwrap_or(rest);
        let (file, query) = rest.split_once('?').unwrap_or((rest, ""));
        if file == ":memory:" || query.split('&').any(|pair| pair == "mode=memory") {
            return DatabaseKind::SqliteInMemory;
        }
        DatabaseKind::Sqlite(PathBuf::from(percent_decoded(file)))
    }
}

/// Decodes a file name as the database driver does.
fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let digits = after.get(..2).and_then(|two| std::str::from_utf8(two).ok());
        match digits.and_then(|two| u8::from_str_radix(two, 16).ok()).filter(|_| first == b'%') {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
