//! A disk for one PostgreSQL server that can be full: a tmpfs, or, where none can be mounted, a limit of file sizes.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::postgres::as_postgres;
use super::reaper;

/// How much it holds, in MiB.
const SIZE_MIB: u32 = 96;
/// The limit of file sizes while the disk is full and no tmpfs, in bytes: a segment of the log under `--wal-segsize=1`.
const FILE_BYTES_MAX: u32 = 1 << 20;

const PRLIMIT: &str = "prlimit";

pub struct SmallDisk {
    folder: PathBuf,
    mounted: bool,
}

impl SmallDisk {
    /// Under this folder, which is empty.
    pub fn at(folder: &Path) -> Self {
        let size = format!("size={SIZE_MIB}m");
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(folder).output();
        let mounted = mount.is_ok_and(|done| done.status.success());
        if mounted {
            reaper::unmount_at_exit(folder);
        }
        Self { folder: folder.to_owned(), mounted }
    }

    fn ballast(&self) -> PathBuf {
        self.folder.join("ballast")
    }

    /// Leaves no space to these processes, and to those that they start.
    pub fn fill(&self, pids: &[u32]) {
        if !self.mounted {
            return limit_all(pids, &FILE_BYTES_MAX.to_string());
        }
        let mut ballast = File::create(self.ballast()).expect("own folder");
        // In small pieces, so that the last one leaves nothing.
        while ballast.write_all(&[0; 4_096]).is_ok() {}
    }

    /// Gives the space back.
    pub fn free(&self, pids: &[u32]) {
        if !self.mounted {
            return limit_all(pids, "unlimited");
        }
        std::fs::remove_file(self.ballast()).expect("it was filled");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        if self.mounted {
            Command::new("umount").arg("--lazy").arg(&self.folder).status().ok();
        }
    }
}

/// How long a file of this process may get, in bytes (RLIMIT_FSIZE).
pub fn file_size_limit(pid: u32, bytes: &str) {
    assert!(limit(Command::new(PRLIMIT), pid, bytes), "prlimit runs (Debian: util-linux)");
}

/// The same for PostgreSQL: its first process, and of the others those that have not ended meanwhile.
fn limit_all(pids: &[u32], bytes: &str) {
    for (n, pid) in pids.iter().enumerate() {
        let done = limit(as_postgres(PRLIMIT.as_ref()), *pid, bytes);
        let has_ended = n > 0 && !Path::new(&format!("/proc/{pid}")).exists();
        assert!(done || has_ended, "prlimit runs (Debian: util-linux)");
    }
}

/// Sets the limit; whether that worked.
fn limit(mut prlimit: Command, pid: u32, bytes: &str) -> bool {
    let done = prlimit.args(["--pid", &pid.to_string(), &format!("--fsize={bytes}:unlimited")]).status();
    done.is_ok_and(|status| status.success())
}
