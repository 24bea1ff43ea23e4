//! A PostgreSQL cluster of its own: durable, on a free port of 127.0.0.1, removed when the value is dropped.

use std::fs::{self, File};
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

const START_MAX: Duration = Duration::from_secs(30);
const STOP_MAX: Duration = Duration::from_secs(10);

/// A running cluster.
pub struct Postgres {
    process: Child,
    port: u16,
    _directory: TempDir,
}

impl Postgres {
    /// Makes a cluster and waits until it answers.
    pub fn start() -> Self {
        let binaries = binaries().expect("initdb and postgres: install postgresql");
        let directory = tempfile::tempdir().expect("a directory");
        let data = directory.path().join("data");
        fs::create_dir(&data).expect("a directory");
        give_to_postgres(directory.path());
        give_to_postgres(&data);
        let made = as_postgres(&binaries.join("initdb"))
            .args(["--username=load", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync", "-D"])
            .arg(&data)
            .stdout(Stdio::null())
            .status();
        assert!(made.is_ok_and(|status| status.success()), "initdb failed");
        let port = free_port();
        let log = File::create(directory.path().join("log")).expect("a log");
        let settings = [
            "fsync=on",
            "shared_buffers=512MB",
            "max_wal_size=8GB",
            "checkpoint_timeout=15min",
            "listen_addresses=127.0.0.1",
            "unix_socket_directories=",
            "log_min_messages=warning",
        ];
        let process = as_postgres(&binaries.join("postgres"))
            .arg("-D")
            .arg(&data)
            .args(["-p", &port.to_string()])
            .args(settings.iter().flat_map(|setting| ["-c", setting]))
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("postgres starts");
        let mut cluster = Self { process, port, _directory: directory };
        cluster.wait_until_ready(&data.join("postmaster.pid"));
        cluster
    }

    /// For `DATABASE_URL`.
    pub fn url(&self) -> String {
        format!("postgres://load@127.0.0.1:{}/postgres", self.port)
    }

    /// The process that all others of the cluster descend from.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// The eighth line of the file says how far the start is.
    fn wait_until_ready(&mut self, pid_file: &Path) {
        let end = Instant::now() + START_MAX;
        let ready =
            || fs::read_to_string(pid_file).is_ok_and(|text| text.lines().nth(7).map(str::trim) == Some("ready"));
        while !ready() {
            let ended = self.process.try_wait().expect("its state");
            assert!(ended.is_none() && Instant::now() < end, "postgres did not start: {ended:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // SIGQUIT ends the whole cluster at once; SIGKILL would leave its children to find out.
        let _ = Command::new("kill").args(["-QUIT", &self.process.id().to_string()]).status();
        let end = Instant::now() + STOP_MAX;
        while Instant::now() < end && matches!(self.process.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Where `initdb` and `postgres` are: on the path, or where Debian keeps the newest.
fn binaries() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let mut debian: Vec<PathBuf> =
        fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten().map(|e| e.path().join("bin")).collect();
    debian.sort();
    places.extend(debian.into_iter().rev());
    places.into_iter().find(|place| place.join("initdb").exists() && place.join("postgres").exists())
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}

/// PostgreSQL refuses to run as root. `setpriv` becomes the program, so that the process id is its own.
fn as_postgres(program: &Path) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups", "--"]).arg(program).current_dir("/");
    command
}

fn give_to_postgres(directory: &Path) {
    if is_root() {
        let accounts = fs::read_to_string("/etc/passwd").expect("the accounts");
        let line = accounts.lines().find(|line| line.starts_with("postgres:")).expect("the account postgres");
        let ids: Vec<u32> = line.split(':').skip(2).take(2).filter_map(|id| id.parse().ok()).collect();
        chown(directory, Some(ids[0]), Some(ids[1])).expect("the owner changes");
    }
}

/// A free port of 127.0.0.1.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    listener.local_addr().expect("its address").port()
}
