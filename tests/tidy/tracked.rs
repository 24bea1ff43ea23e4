//! What git tracks: no file that a running server writes, such as its key, is one of the repository.

use std::process::Command;

use super::source::{none, root};

/// What stands at the top of the repository; files whose names begin with a dot may join.
const TOP: &[&str] = &["Cargo.lock", "Cargo.toml", "Procfile", "README.md", "entity", "migration", "src", "tests"];

/// Ends of the names of files that servers and their tests write.
const WRITTEN: &[&str] = &[".db", ".db-wal", ".db-shm", ".lock", ".log", ".pid", ".secret", ".sock"];

/// Cargo's lock file fixes the versions, so the repository has it.
const KEPT: &str = "Cargo.lock";

/// The tracked paths; none in a copy of the files without their history.
fn tracked() -> Vec<String> {
    if !root().join(".git").exists() {
        return Vec::new();
    }
    let git = Command::new("git").arg("-C").arg(root()).args(["ls-files", "-z"]).output().expect("git runs");
    assert!(git.status.success(), "git ls-files: {}", String::from_utf8_lossy(&git.stderr));
    let names = String::from_utf8(git.stdout).expect("UTF-8");
    names.split_terminator('\0').map(str::to_owned).collect()
}

fn is_written(path: &str) -> bool {
    !path.ends_with(KEPT) && WRITTEN.iter().any(|end| path.ends_with(end))
}

#[test]
fn git_tracks_nothing_that_a_server_writes_and_nothing_else_at_the_top() {
    let foreign = |path: &String| {
        let top = path.split('/').next().unwrap_or(path);
        is_written(path) || !(top.starts_with('.') || TOP.contains(&top))
    };
    none("a tracked file belongs to the repository", &tracked().into_iter().filter(foreign).collect::<Vec<_>>());
}

#[test]
fn a_key_beside_a_database_is_seen() {
    assert!(is_written("hyper_chat.db.secret") && is_written("tests/it/x.db-wal"));
    assert!(!is_written("Cargo.lock") && !is_written("src/config/secret_file.rs"));
}
