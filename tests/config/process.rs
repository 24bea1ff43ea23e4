//! The real binary with a configuration that it refuses.

use std::process::{Command, Stdio};

/// Starts the real binary with nothing but this environment.
fn start(folder: &std::path::Path, pairs: &[(&str, &str)]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hyper-chat"));
    command.arg("serve").current_dir(folder).env_clear().envs(pairs.iter().copied()).stdin(Stdio::null());
    let output = command.output().expect("the binary starts");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn the_program_exits_with_2_and_says_why() {
    let folder = tempfile::tempdir().expect("a folder");
    let (code, refused) = start(folder.path(), &[("PORT", "x")]);
    assert!(code == Some(2) && refused.contains("PORT: must be a whole number"), "{code:?} {refused}");
    let (code, refused) = start(folder.path(), &[("PORT", "0")]);
    assert!(code == Some(2) && refused.contains("PUBLIC_DIRECTORY: must be decided"), "{code:?} {refused}");
    let (code, refused) = start(folder.path(), &[("HYPER_CHAT_CONFIG", "missing.toml")]);
    assert!(code == Some(2) && refused.contains("HYPER_CHAT_CONFIG: cannot read missing.toml"), "{code:?} {refused}");
    let (code, refused) = start(folder.path(), &[("HYPER_CHAT__LOG__FILTER", "a=loud")]);
    assert!(code == Some(2) && refused.contains("HYPER_CHAT__LOG__FILTER"), "{code:?} {refused}");
    std::fs::write(folder.path().join("hyper_chat.toml"), "[server]\nport = -1").expect("written");
    let (code, refused) = start(folder.path(), &[]);
    assert!(
        code == Some(2) && refused.contains("server.port in hyper_chat.toml: must be from 0"),
        "{code:?} {refused}"
    );
    std::fs::write(folder.path().join("other.toml"), "[server]\nport = -2").expect("written");
    let (code, refused) = start(folder.path(), &[("HYPER_CHAT_CONFIG", "other.toml")]);
    assert!(code == Some(2) && refused.contains("server.port in other.toml"), "{code:?} {refused}");
}
