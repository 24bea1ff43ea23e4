//! Which database a URL names: the one reading of it, for the file, its lock, its secret and the driver alike.

use std::path::{Path, PathBuf};

use secrecy::ExposeSecret;

use super::Database;

/// The database that a URL names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DatabaseKind {
    /// A SQLite file.
    Sqlite(PathBuf),
    /// A SQLite database that ends with the process, such as `sqlite::memory:`.
    SqliteInMemory,
    /// A PostgreSQL server: `postgres://` or `postgresql://`.
    Postgres,
}

impl DatabaseKind {
    /// Reads the URL; none for another scheme.
    #[must_use]
    pub fn of_url(url: &str) -> Option<Self> {
        if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            return Some(Self::Postgres);
        }
        let rest = url.strip_prefix("sqlite:")?;
        let rest = rest.strip_prefix("//").unwrap_or(rest);
        let (file, query) = rest.split_once('?').unwrap_or((rest, ""));
        if file == ":memory:" || query.split('&').any(|pair| pair == "mode=memory") {
            return Some(Self::SqliteInMemory);
        }
        Some(Self::Sqlite(PathBuf::from(percent_decoded(file))))
    }
}

/// The parameters behind the `?` of a SQLite URL that the server can work with.
pub(super) fn check_sqlite_parameters(url: &str) -> Result<(), String> {
    let query = url.split_once('?').map_or("", |(_, query)| query);
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        match pair.split_once('=').unwrap_or((pair, "")) {
            ("mode", "rw" | "rwc" | "memory") | ("cache", "private" | "shared") | ("immutable", "0" | "false") => {}
            ("mode", _) => {
                return Err("must have mode=rw, or mode=rwc to create the file: this server writes".to_owned());
            }
            ("immutable", _) => return Err("must not have immutable: this server writes".to_owned()),
            _ => return Err("may have the parameters mode and cache behind its ?, and no other".to_owned()),
        }
    }
    Ok(())
}

impl Database {
    /// The database that the configured URL names. The rules have refused other schemes.
    #[must_use]
    pub fn kind(&self) -> DatabaseKind {
        DatabaseKind::of_url(self.url.expose_secret()).unwrap_or(DatabaseKind::Postgres)
    }
}

/// The one path of a file that has several names, by symbolic links, as far as its parts exist.
pub(super) fn real_path(file: &Path) -> PathBuf {
    let in_real_folder = || {
        let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        Some(folder.canonicalize().ok()?.join(file.file_name()?))
    };
    file.canonicalize().ok().or_else(in_real_folder).unwrap_or_else(|| file.to_owned())
}

/// A file of this name with more behind it, as SQLite's own files are called.
pub(super) fn beside(file: &Path, suffix: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Decodes `%20` and its like, so that a file name may contain `?` and `#`.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_of_a_sqlite_url_is_found() {
        let file = |url| match DatabaseKind::of_url(url) {
            Some(DatabaseKind::Sqlite(file)) => Some(file),
            _ => None,
        };
        assert_eq!(file("sqlite://hyper_chat.db?mode=rwc"), Some(PathBuf::from("hyper_chat.db")));
        assert_eq!(file("sqlite:///var/lib/chat.db"), Some(PathBuf::from("/var/lib/chat.db")));
        assert_eq!(file("sqlite:a%20b%3F.db"), Some(PathBuf::from("a b?.db")));
        assert_eq!(file("postgres://localhost/chat"), None);
    }

    #[test]
    fn databases_in_memory_and_other_schemes_have_no_file() {
        for url in ["sqlite::memory:", "sqlite://:memory:", "sqlite://x?cache=shared&mode=memory"] {
            assert_eq!(DatabaseKind::of_url(url), Some(DatabaseKind::SqliteInMemory), "{url}");
        }
        assert_eq!(DatabaseKind::of_url("postgresql://h/x"), Some(DatabaseKind::Postgres));
        assert_eq!(DatabaseKind::of_url("mysql://h/x"), None);
    }
}
