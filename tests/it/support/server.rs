//! The real binary as one or several child processes, configured by environment variables only.

use std::process::ExitStatus;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::database::{Db, Dump};
use super::dice::Dice;
use super::instance::{Instance, READY_WAIT};
use super::instance_ports::InstancePorts;
use super::redis_groups::OwnRedis;
use super::rest::Api;
use super::secrets::Secrets;
use super::server_builder::ServerBuilder;
use super::wait::eventually;

/// A running server; when it is dropped, it is killed and its log is searched for secrets.
///
/// In a cluster each request of `api()` and each connection to `ports()` goes to an instance chosen at random, and
/// methods such as `kill9` act on all instances; `instance()` is one of them.
pub struct TestServer {
    pub db: Db,
    pub database_url: String,
    /// The first instance's.
    pub port: u16,
    pub folder: TempDir,
    pub(super) instances: Vec<Instance>,
    pub(super) redis: Option<OwnRedis>,
    pub(super) seed: u64,
    pub(super) dice: Arc<Mutex<Dice>>,
    pub(super) secrets: Secrets,
}

impl TestServer {
    /// A builder with the settings that most tests want.
    pub fn with(db: Db) -> ServerBuilder {
        ServerBuilder::new(db)
    }

    /// A server with these settings on a fresh database, ready.
    pub async fn spawn(db: Db) -> Self {
        Self::with(db).start().await
    }

    pub fn api(&self) -> Api {
        Api::new(self.ports(), self.secrets.clone())
    }

    /// The ports of all instances.
    pub fn ports(&self) -> InstancePorts {
        InstancePorts::new(self.instances.iter().map(|i| i.port), self.dice.clone())
    }

    pub fn instance(&self, number: usize) -> &Instance {
        &self.instances[number]
    }

    pub fn instance_mut(&mut self, number: usize) -> &mut Instance {
        &mut self.instances[number]
    }

    pub async fn dump(&self) -> Dump {
        Dump::open(&self.database_url).await
    }

    pub fn pid(&self) -> u32 {
        self.instances[0].pid()
    }

    /// The logs of all instances, one after the other.
    pub fn log(&self) -> String {
        self.instances.iter().map(Instance::log).collect()
    }

    pub(super) fn launch(&mut self) {
        self.instances.iter_mut().for_each(Instance::launch);
    }

    /// Messages before that arrive late, so a test would measure the wrong time.
    pub async fn wait_until_redis_is_reached(&self) {
        for instance in &self.instances {
            let api = instance.api();
            let up = || async { (api.get("/readyz").await.json["status"] == "ready").then_some(()) };
            eventually("Redis is reached", READY_WAIT, up).await;
        }
    }

    /// Waits for the end of every process; the status of the first.
    pub async fn wait_end(&mut self, within: Duration) -> ExitStatus {
        let limit = Instant::now() + within;
        let mut first = None;
        for instance in &mut self.instances {
            let status = instance.wait_end(limit.saturating_duration_since(Instant::now())).await;
            first.get_or_insert(status);
        }
        first.expect("one instance at least")
    }

    /// kill -9; the process has ended when this returns.
    pub fn kill9(&mut self) {
        self.instances.iter_mut().for_each(Instance::kill9);
    }

    /// SIGTERM: drain and exit.
    pub fn term(&self) {
        self.instances.iter().for_each(Instance::term);
    }

    /// SIGSTOP: frozen.
    pub fn stop(&self) {
        self.instances.iter().for_each(Instance::stop);
    }

    /// SIGCONT: continue.
    pub fn cont(&self) {
        self.instances.iter().for_each(Instance::cont);
    }

    /// Starts it again on the same data, port and settings; kills it first if it still runs.
    pub async fn restart(&mut self) {
        self.kill9();
        for instance in &mut self.instances {
            instance.restart().await;
        }
    }

    /// Starts it again with one setting changed.
    pub async fn restart_with(&mut self, key: &str, value: impl ToString) {
        let value = value.to_string();
        self.instances.iter_mut().for_each(|instance| instance.set(key, &value));
        self.restart().await;
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.kill9();
        for (number, instance) in self.instances.iter().enumerate() {
            let log = instance.log();
            if std::thread::panicking() {
                let lines: Vec<_> = log.lines().rev().take(60).collect();
                let (db, seed) = (self.db, self.seed);
                eprintln!("--- the end of the log of instance {number} ({db:?}, HYPER_CHAT_TEST_SEED={seed}) ---");
                lines.iter().rev().for_each(|line| eprintln!("{line}"));
                continue;
            }
            let found = self.secrets.found_in(&log);
            let panics: Vec<_> = log.lines().skip_while(|line| !line.contains("panicked at")).take(3).collect();
            assert!(found.is_empty(), "I9: the server's log holds {found:?}\n{}", panics.join("\n"));
        }
    }
}
