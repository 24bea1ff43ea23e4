//! The limits of the process: open files and file sizes; and warnings about disks that do not last and files that others
//! can read.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use tokio::signal::unix::{SignalKind, signal};

use crate::config::{Config, DatabaseKind};

/// The limit of open files that a server sets if it may; each socket is one.
const OPEN_FILES: u64 = 1_048_576;
/// The permissions of a file's group and of everybody else.
const OTHERS: u32 = 0o077;
/// SIGXFSZ on Linux and the BSDs.
const FILE_SIZE_EXCEEDED: i32 = 25;

/// Raises the soft limit of open files as far as the hard limit allows.
pub(super) fn raise_open_files() {
    let Ok((soft, hard)) = rlimit::Resource::NOFILE.get() else { return };
    let wanted = OPEN_FILES.min(hard);
    if soft < wanted
        && let Err(error) = rlimit::Resource::NOFILE.set(wanted, hard)
    {
        tracing::warn!(%error, soft, "the limit of open files stays as it is; each socket needs one");
    }
}

/// Makes a file that may not grow any more (RLIMIT_FSIZE) an error to answer, like a full disk, instead of the end of
/// the process.
pub(super) fn survive_file_size_limit() {
    // A handler replaces the signal's default action for as long as the process lives.
    if let Err(error) = signal(SignalKind::from_raw(FILE_SIZE_EXCEEDED)) {
        tracing::debug!(%error, "a limit of file sizes would end the process");
    }
}

/// Warns where the database is a file on a disk that the platform throws away with the process.
pub(super) fn warn_of_lost_disk(config: &Config) {
    let on_file = matches!(config.database.kind(), DatabaseKind::Sqlite(_));
    if on_file && std::env::var_os("DYNO").is_some() {
        tracing::warn!(
            "the database is a file on a disk that this platform throws away at every restart: set DATABASE_URL to PostgreSQL"
        );
    }
}

/// Warns where all clients count as one, since a proxy is in front and not trusted.
pub(super) fn warn_of_one_address(config: &Config) {
    if config.server.socket().is_some() && config.server.proxy_hops == 0 {
        tracing::warn!("clients of a Unix socket have no address and share their rates: set server.proxy_hops");
    }
}

/// Warns of files with secrets or chats that others on this machine can read.
pub(super) fn warn_of_readable_files(config: &Config) {
    let is_open = |file: &PathBuf| std::fs::metadata(file).is_ok_and(|found| found.permissions().mode() & OTHERS != 0);
    let open: Vec<String> =
        config.private_files().iter().filter(|file| is_open(file)).map(|file| file.display().to_string()).collect();
    if !open.is_empty() {
        let files = open.join(", ");
        tracing::warn!(files, "others can read or change files with secrets or chats: run `chmod 600` on them");
    }
}
