//! The user that PostgreSQL runs as, and its programs.

use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The folder with `initdb` and `postgres`: in PATH, or where Debian puts them; the newest.
pub fn bin_folder() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let in_path = std::env::split_paths(&path).collect::<Vec<_>>();
    let mut debian: Vec<_> = std::fs::read_dir("/usr/lib/postgresql")
        .map(|versions| versions.flatten().map(|v| v.path().join("bin")).collect())
        .unwrap_or_default();
    debian.sort();
    in_path
        .into_iter()
        .chain(debian.into_iter().rev())
        .find(|folder| ["initdb", "postgres", "pg_isready"].iter().all(|b| folder.join(b).is_file()))
        .expect(
            "PostgreSQL's server programs (initdb, postgres, pg_isready) are neither in PATH nor in \
             /usr/lib/postgresql/*/bin: install them (Debian: apt-get install postgresql) or run tests/run",
        )
}

/// The user for PostgreSQL if this process is root, which PostgreSQL refuses.
fn other_user() -> Option<(u32, u32)> {
    (id(&["-u"]) == 0).then(|| (id(&["-u", "postgres"]), id(&["-g", "postgres"])))
}

fn id(args: &[&str]) -> u32 {
    let out = Command::new("id").args(args).output().expect("id runs");
    let text = String::from_utf8_lossy(&out.stdout);
    text.trim().parse().unwrap_or_else(|_| panic!("id {args:?}: no such user; install PostgreSQL or run as non-root"))
}

/// This program as the user that PostgreSQL runs as.
pub fn as_postgres(program: &Path) -> Command {
    if other_user().is_none() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups", "--"]).arg(program);
    command
}

/// Makes a folder the user's.
pub fn give_away(folder: &Path) {
    if let Some((uid, gid)) = other_user() {
        std::fs::set_permissions(folder, Permissions::from_mode(0o755)).expect("own folder");
        chown(folder, Some(uid), Some(gid)).expect("root may give folders away");
    }
}
