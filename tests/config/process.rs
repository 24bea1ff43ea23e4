//! The real binary with a configuration that it refuses.

use std::process::{Command, Stdio};

/// Runs the real binary with nothing but this environment.
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
        code == Some(2) && refused.contains("server.port in hyper_chat.toml, line 2: must be from 0"),
        "{code:?} {refused}"
    );
    std::fs::write(folder.path().join("other.toml"), "[server]\nport = -2").expect("written");
    let (code, refused) = start(folder.path(), &[("HYPER_CHAT_CONFIG", "other.toml")]);
    assert!(code == Some(2) && refused.contains("server.port in other.toml, line 2"), "{code:?} {refused}");
}

#[test]
fn e3_a_start_warns_of_a_variable_that_nearly_names_a_key() {
    let folder = tempfile::tempdir().expect("a folder");
    // A folder that is missing ends the start behind the warning.
    let away = ("DATABASE_URL", "sqlite:///nonexistent/chat.db");
    let pairs = [away, ("HYPER_CHAT_SERVER_PORT", "0"), ("HYPER_CHAT__SERVER__PORT", "0"), ("UNRELATED", "1")];
    let (code, log) = start(folder.path(), &pairs);
    let warned = log.lines().filter(|line| line.contains("WARN") && line.contains("did you mean"));
    let warned: Vec<&str> = warned.collect();
    assert!(code == Some(2) && warned.len() == 1, "{code:?} {log}");
    let meant = "HYPER_CHAT_SERVER_PORT is set and not read; did you mean HYPER_CHAT__SERVER__PORT?";
    assert!(warned[0].contains(meant), "{log}");
}
