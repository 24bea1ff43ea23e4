//! The signing secret of a single instance: made once and kept beside the SQLite file, readable by its owner only.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use secrecy::{ExposeSecret, SecretString};

use super::database::{beside, real_path};
use super::rules::is_long_enough;

/// What the file's name has behind the database's.
const SUFFIX: &str = ".secret";
/// No secret is longer; bounds what is read when the file is something else.
const FILE_BYTES_MAX: u64 = 4096;

/// 48 random bytes as text.
pub(super) fn random() -> SecretString {
    let bytes: [u8; 48] = rand::random();
    SecretString::from(STANDARD_NO_PAD.encode(bytes))
}

/// The file of the secret: `<database>.secret` beside the file itself, or, where a release before made it, beside the link
/// by which the database is named.
pub(super) fn path(database: &Path) -> PathBuf {
    let (real, named) = (beside(&real_path(database), SUFFIX), beside(database, SUFFIX));
    if named.exists() && !real.exists() { named } else { real }
}

/// Reads the secret, or makes it. Two processes that start at once agree on one secret. An error names the file and what
/// to do.
pub(super) fn read_or_create(database: &Path) -> Result<SecretString, String> {
    let file = path(database);
    let secret = match read(&file) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => create(&file).and_then(|()| read(&file)),
        result => result,
    };
    let secret = secret.map_err(|e| {
        format!(
            "{}: cannot keep the signing secret in {}: {e}; make its folder writable, or set the secret here",
            super::names::variable("auth.jwt_secret"),
            file.display()
        )
    })?;
    if !is_long_enough(&secret) {
        return Err(format!(
            "{}: holds no usable signing secret; remove it, and everybody signs in again",
            file.display()
        ));
    }
    Ok(secret)
}

fn read(file: &Path) -> io::Result<SecretString> {
    let mut text = String::new();
    File::open(file)?.take(FILE_BYTES_MAX).read_to_string(&mut text)?;
    Ok(SecretString::from(text.trim_end()))
}

/// Writes the whole secret under another name and then links it, so that no process reads half a secret, and none
/// replaces one that exists.
fn create(file: &Path) -> io::Result<()> {
    let draft = beside(file, &format!(".{:016x}", rand::random::<u64>()));
    let written = write_new(&draft, random().expose_secret()).and_then(|()| match std::fs::hard_link(&draft, file) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        linked => linked,
    });
    let removed = std::fs::remove_file(&draft);
    written.and(removed)
}

fn write_new(file: &Path, text: &str) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(file)?;
    writeln!(file, "{text}")?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_secret_is_made_once_and_only_its_owner_may_read_it() {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("chat.db");
        let first = read_or_create(&database).unwrap();
        let second = read_or_create(&database).unwrap();
        assert_eq!(first.expose_secret(), second.expose_secret());
        assert!(is_long_enough(&first));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "no draft is left");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = std::fs::metadata(folder.path().join("chat.db.secret")).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
    }

    #[test]
    fn processes_that_start_at_once_agree_on_one_secret() {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("chat.db");
        let secrets: Vec<String> = std::thread::scope(|scope| {
            let starts: Vec<_> = (0..8).map(|_| scope.spawn(|| read_or_create(&database).unwrap())).collect();
            starts.into_iter().map(|start| start.join().unwrap().expose_secret().to_owned()).collect()
        });
        assert!(secrets.iter().all(|secret| *secret == secrets[0]));
    }

    #[test]
    fn a_damaged_secret_is_refused_and_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("chat.db");
        std::fs::write(folder.path().join("chat.db.secret"), "short\n").unwrap();
        assert!(read_or_create(&database).unwrap_err().contains("chat.db.secret"));
    }

    #[test]
    fn a_folder_that_is_not_there_is_named() {
        let error = read_or_create(Path::new("/nonexistent/chat.db")).unwrap_err();
        assert!(error.contains("/nonexistent/chat.db.secret"), "{error}");
    }
}
