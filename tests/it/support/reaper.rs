//! Cleans up after the test binary, however it ends.
//!
//! Rust runs no destructors of statics, and a killed binary runs none at all. So one `sh` reads lines from a
//! pipe that only this process holds; when the pipe ends it stops the noted processes by id and removes
//! the noted folders.

use std::io::Write;
use std::path::Path;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::{LazyLock, Mutex};

const SCRIPT: &str = r#"
trap '' INT TERM HUP
pids='' ; folders='' ; mounts=''
while read -r what value; do
  case $what in
    pid) pids="$pids $value" ;;
    gone) kept='' ; for p in $pids; do [ "$p" = "$value" ] || kept="$kept $p"; done ; pids=$kept ;;
    folder) folders="$folders $value" ;;
    mount) mounts="$mounts $value" ;;
  esac
done
# CONT first: a stopped process would not hear QUIT, on which PostgreSQL leaves at once with all its children.
for p in $pids; do kill -CONT "$p"; kill -QUIT "$p"; done 2>/dev/null
tries=0
while [ $tries -lt 50 ]; do
  alive=''
  for p in $pids; do kill -0 "$p" 2>/dev/null && alive="$alive $p"; done
  [ -z "$alive" ] && break
  tries=$((tries + 1)) ; sleep 0.1
done
for p in $alive; do kill -KILL "$p"; done 2>/dev/null
for m in $mounts; do umount -l "$m"; done 2>/dev/null
for f in $folders; do rm -rf "$f"; done
"#;

#[expect(clippy::zombie_processes, reason = "it ends after this process, which is what it is for")]
fn start() -> ChildStdin {
    let child = Command::new("sh")
        .args(["-c", SCRIPT])
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("sh starts");
    child.stdin.expect("a pipe was asked for")
}

static PIPE: LazyLock<Mutex<ChildStdin>> = LazyLock::new(|| Mutex::new(start()));

fn note(line: &str) {
    let mut pipe = PIPE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    writeln!(pipe, "{line}").expect("the reaper lives as long as this process");
}

/// The process is killed when the test program ends.
pub fn adopt(pid: u32) {
    note(&format!("pid {pid}"));
}

/// The folder is unmounted when the test program ends.
pub fn unmount_at_exit(folder: &Path) {
    note(&format!("mount {}", folder.display()));
}

/// The process has been waited for; its id may belong to another one soon.
pub fn forget(pid: u32) {
    note(&format!("gone {pid}"));
}

/// The folder is removed when the test program ends.
pub fn remove_at_exit(folder: &Path) {
    let text = folder.to_str().expect("a plain path");
    assert!(!text.contains(char::is_whitespace) && text.starts_with('/'), "{text} is no plain absolute path");
    note(&format!("folder {text}"));
}
