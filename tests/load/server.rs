//! The real server as a process, on an empty database.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::postgres::Postgres;

const START_MAX: Duration = Duration::from_secs(30);

/// A running server; it ends, and its data goes, with the value.
pub struct Server {
    process: Child,
    postgres: Option<Postgres>,
    address: SocketAddr,
    _directory: TempDir,
}

impl Server {
    /// Starts it and waits until it listens.
    pub fn start(on_postgres: bool) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let postgres = on_postgres.then(Postgres::start);
        let url = match &postgres {
            Some(postgres) => postgres.url(),
            None => format!("sqlite://{}?mode=rwc", directory.path().join("load.db").display()),
        };
        let log = directory.path().join("log");
        let mut process = command(directory.path(), &url)
            .stdout(Stdio::null())
            .stderr(File::create(&log).expect("a log"))
            .spawn()
            .expect("the server starts");
        let address = wait_for_address(&mut process, &log);
        Self { process, postgres, address, _directory: directory }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The server's process.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// The processes whose CPU time a chat costs, with all that descend from them.
    pub fn roots(&self) -> Vec<u32> {
        std::iter::once(self.pid()).chain(self.postgres.as_ref().map(Postgres::pid)).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Its limits are out of the way; password hashes are cheap, since only the set-up needs them.
fn command(directory: &Path, database_url: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hyper-chat"));
    command.arg("serve").current_dir(directory).env_clear().env("DATABASE_URL", database_url).envs([
        ("HYPER_CHAT__SERVER__HOST", "127.0.0.1"),
        ("HYPER_CHAT__SERVER__PORT", "0"),
        ("HYPER_CHAT__AUTH__JWT_SECRET", "only this benchmark signs tokens with it"),
        ("HYPER_CHAT__AUTH__ARGON2_MEMORY_KIB", "8"),
        ("HYPER_CHAT__AUTH__ARGON2_ITERATIONS", "1"),
        ("HYPER_CHAT__LIMITS__SEND_PER_S", "0"),
        ("HYPER_CHAT__LIMITS__SIGN_IN_PER_MIN", "0"),
        ("HYPER_CHAT__LIMITS__SIGN_UP_PER_MIN", "0"),
        ("HYPER_CHAT__LIMITS__SOCKETS_PER_CHATTER", "0"),
        ("HYPER_CHAT__LOG__FILTER", "warn,hyper_chat::app=info"),
    ]);
    command
}

/// It takes a free port and says which.
fn wait_for_address(process: &mut Child, log: &Path) -> SocketAddr {
    let end = Instant::now() + START_MAX;
    loop {
        let text = fs::read_to_string(log).unwrap_or_default();
        let lines = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
        let address = lines.filter_map(|line| line.trim_end().rsplit_once("listens on http://")).next_back();
        if let Some(address) = address.and_then(|(_, address)| address.parse().ok()) {
            return address;
        }
        let ended = process.try_wait().expect("its state");
        if ended.is_some() || Instant::now() > end {
            let _ = process.kill();
            panic!("the server did not start ({ended:?}):\n{text}");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}
