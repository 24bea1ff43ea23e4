//! The real server as a process, or several that are one service, on an empty database.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::postgres::Postgres;
use super::processes::Roots;
use super::redis::Redis;

const START_MAX: Duration = Duration::from_secs(30);

/// The key that signs the tokens.
pub const SECRET: &str = "only this benchmark signs tokens with it";

/// A running server of one or several instances; it ends, and its data is removed, when the value is dropped.
pub struct Server {
    instances: Vec<Instance>,
    postgres: Option<Postgres>,
    redis: Option<Redis>,
    _directory: TempDir,
}

struct Instance {
    process: Child,
    address: SocketAddr,
}

impl Server {
    /// Starts one instance and waits until it listens.
    pub fn start(on_postgres: bool) -> Self {
        Self::launch(1, on_postgres.then(Postgres::start), None)
    }

    /// Starts so many instances on PostgreSQL and Redis.
    pub fn cluster(instances: usize) -> Self {
        Self::launch(instances, Some(Postgres::start()), Some(Redis::start()))
    }

    fn launch(count: usize, postgres: Option<Postgres>, redis: Option<Redis>) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let database = match &postgres {
            Some(postgres) => postgres.url(),
            None => format!("sqlite://{}?mode=rwc", directory.path().join("load.db").display()),
        };
        let instance = |number| {
            let log = directory.path().join(format!("log{number}"));
            let mut command = command(directory.path(), &database);
            command.envs(redis.as_ref().map(|redis| ("REDIS_URL", redis.url())));
            let log_file = File::create(&log).expect("a log");
            let mut process = command.stdout(Stdio::null()).stderr(log_file).spawn().expect("the server starts");
            let address = wait_for_address(&mut process, &log);
            Instance { process, address }
        };
        let instances = (0..count).map(instance).collect();
        Self { instances, postgres, redis, _directory: directory }
    }

    /// The first instance's.
    pub fn address(&self) -> SocketAddr {
        self.addresses()[0]
    }

    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.instances.iter().map(|instance| instance.address).collect()
    }

    /// The first instance's process.
    pub fn pid(&self) -> u32 {
        self.instances[0].process.id()
    }

    /// The processes whose CPU time a chat costs.
    pub fn roots(&self) -> Roots {
        Roots {
            instances: self.instances.iter().map(|instance| instance.process.id()).collect(),
            postgres: self.postgres.as_ref().map(Postgres::pid),
            redis: self.redis.as_ref().and_then(Redis::pid),
        }
    }

    /// Of a cluster.
    pub fn redis(&self) -> &Redis {
        self.redis.as_ref().expect("a cluster has Redis")
    }

    /// Of a cluster.
    pub fn database_url(&self) -> String {
        self.postgres.as_ref().expect("a cluster has PostgreSQL").url()
    }
}

impl Drop for Instance {
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
        ("HYPER_CHAT__AUTH__JWT_SECRET", SECRET),
        ("HYPER_CHAT__AUTH__ARGON2_MEMORY_KIB", "8"),
        ("HYPER_CHAT__AUTH__ARGON2_ITERATIONS", "1"),
        ("HYPER_CHAT__LIMITS__SEND_PER_S", "0"),
        ("HYPER_CHAT__LIMITS__SIGN_IN_PER_MIN", "0"),
        ("HYPER_CHAT__LIMITS__SIGN_UP_PER_MIN", "0"),
        ("HYPER_CHAT__LIMITS__ROOMS_PER_HOUR", "0"),
        ("HYPER_CHAT__LIMITS__SOCKETS_PER_CHATTER", "0"),
        ("HYPER_CHAT__LOG__FILTER", "warn,hyper_chat::app=info"),
    ]);
    command
}

/// The instance takes a free port and logs it.
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
