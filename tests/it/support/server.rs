//! The real binary as a child process, configured by environment variables only.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::database::{Db, Dump, sqlite_url};
use super::ports::free_port;
use super::postgres::{fresh_database, signal};
use super::reaper;
use super::rest::Api;
use super::secrets::{JWT_SECRET, Secrets};

const READY_WAIT: Duration = Duration::from_secs(20);
/// Somebody else may take the port between the choice and the bind.
const PORTS_TRIED_MAX: usize = 5;

/// What a server is to be started with.
pub struct ServerBuilder {
    db: Db,
    database_url: Option<String>,
    env: BTreeMap<String, String>,
}

impl ServerBuilder {
    /// Sets a variable; `LIMITS__SEND_PER_S` stands for `HYPER_CHAT__LIMITS__SEND_PER_S`.
    pub fn set(mut self, key: &str, value: impl ToString) -> Self {
        self.env.insert(format!("HYPER_CHAT__{key}"), value.to_string());
        self
    }

    /// Sets a variable by its full name.
    pub fn env(mut self, name: &str, value: impl ToString) -> Self {
        self.env.insert(name.to_owned(), value.to_string());
        self
    }

    /// Takes a variable away that the tests set by default.
    pub fn unset(mut self, key: &str) -> Self {
        self.env.remove(&format!("HYPER_CHAT__{key}"));
        self
    }

    /// Uses this database instead of a fresh one.
    pub fn database_url(mut self, url: impl Into<String>) -> Self {
        self.database_url = Some(url.into());
        self
    }

    /// Starts it and waits until it is ready.
    pub async fn start(self) -> TestServer {
        let mut server = self.prepared().await;
        for _ in 0..PORTS_TRIED_MAX {
            server.launch();
            match server.wait_ready().await {
                Ok(()) => return server,
                Err(log) if log.contains("in use") => {
                    server.port = free_port();
                    server.env.insert("HYPER_CHAT__SERVER__PORT".to_owned(), server.port.to_string());
                }
                Err(log) => panic!("the server did not start:\n{log}"),
            }
        }
        panic!("no port could be bound in {PORTS_TRIED_MAX} tries");
    }

    /// Starts it without waiting, for a server that has reasons not to become ready.
    pub async fn launch(self) -> TestServer {
        let mut server = self.prepared().await;
        server.launch();
        server
    }

    /// Runs a command of the binary to its end within 20 s: its status, standard output, and log.
    pub async fn run(self, args: &[&str]) -> (ExitStatus, String, String) {
        let server = self.prepared().await;
        let mut child = server.command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("starts");
        let pid = child.id();
        let end = tokio::task::spawn_blocking(move || {
            let limit = Instant::now() + READY_WAIT;
            let stdout = drain(child.stdout.take());
            let stderr = drain(child.stderr.take());
            while Instant::now() < limit {
                if let Some(status) = child.try_wait().expect("own child") {
                    return Some((status, stdout.join().expect("read"), stderr.join().expect("read")));
                }
                std::thread::sleep(Duration::from_millis(10));
            }
            child.kill().ok();
            child.wait().ok();
            None
        });
        end.await.expect("no panic").unwrap_or_else(|| panic!("{args:?} (pid {pid}) did not end within {READY_WAIT:?}"))
    }

    async fn prepared(self) -> TestServer {
        let folder = tempfile::Builder::new().prefix("hyper-chat-it-").tempdir().expect("a temp folder");
        reaper::remove_in_the_end(folder.path());
        let database_url = match (self.database_url, self.db) {
            (Some(url), _) => url,
            (None, Db::Sqlite) => sqlite_url(&folder.path().join("hyper_chat.db")),
            (None, Db::Postgres) => fresh_database().await,
        };
        let port = free_port();
        let mut env = self.env;
        env.insert("DATABASE_URL".to_owned(), database_url.clone());
        env.insert("HYPER_CHAT__SERVER__PORT".to_owned(), port.to_string());
        TestServer { db: self.db, database_url, port, folder, env, child: None, secrets: Secrets::default() }
    }
}

fn drain(pipe: Option<impl std::io::Read + Send + 'static>) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut text = Vec::new();
        if let Some(mut pipe) = pipe {
            pipe.read_to_end(&mut text).ok();
        }
        String::from_utf8_lossy(&text).into_owned()
    })
}

/// A running server; dropped, it is killed and its log is searched for what must not stand there.
pub struct TestServer {
    pub db: Db,
    pub database_url: String,
    pub port: u16,
    pub folder: TempDir,
    env: BTreeMap<String, String>,
    child: Option<Child>,
    secrets: Secrets,
}

impl TestServer {
    /// The settings that most tests want: cheap passwords, no rate limits, a talkative log.
    pub fn with(db: Db) -> ServerBuilder {
        let builder = ServerBuilder { db, database_url: None, env: BTreeMap::new() };
        builder
            .set("AUTH__JWT_SECRET", JWT_SECRET)
            .set("AUTH__ARGON2_MEMORY_KIB", 8)
            .set("AUTH__ARGON2_ITERATIONS", 1)
            .set("LIMITS__SEND_PER_S", 0)
            .set("LIMITS__SIGN_IN_PER_MIN", 0)
            .set("LIMITS__SIGN_UP_PER_MIN", 0)
            .set("LOG__FILTER", "debug")
            // Rooms and sockets on several threads, however small the machine.
            .set("SERVER__WORKERS", 2)
    }

    /// A server with these settings on a fresh database, ready.
    pub async fn spawn(db: Db) -> Self {
        Self::with(db).start().await
    }

    pub fn api(&self) -> Api {
        Api::new(self.port, self.secrets.clone())
    }

    pub async fn dump(&self) -> Dump {
        Dump::open(&self.database_url).await
    }

    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("the server runs").id()
    }

    pub fn log_file(&self) -> PathBuf {
        self.folder.path().join("server.log")
    }

    pub fn log(&self) -> String {
        let bytes = std::fs::read(self.log_file()).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hyper-chat"));
        command.args(args).env_clear().envs(&self.env).current_dir(self.folder.path()).stdin(Stdio::null());
        command
    }

    fn launch(&mut self) {
        let log = File::options().create(true).append(true).open(self.log_file()).expect("a log file");
        let mut command = self.command(&["serve"]);
        let child = command.stdout(log.try_clone().expect("a second handle")).stderr(log).spawn();
        let child = child.expect("the server's binary starts");
        reaper::adopt(child.id());
        self.child = Some(child);
    }

    /// Waits for 200 from `/readyz`; the log when the server ended instead.
    pub async fn wait_ready(&mut self) -> Result<(), String> {
        let api = self.api();
        let limit = Instant::now() + READY_WAIT;
        while Instant::now() < limit {
            if self.has_ended().is_some() {
                return Err(self.log());
            }
            let answer = api.try_request(reqwest::Method::GET, "/readyz", &[], None).await;
            if answer.is_ok_and(|a| a.status == 200) {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Err(format!("not ready within {READY_WAIT:?}\n{}", self.log()))
    }

    fn has_ended(&mut self) -> Option<ExitStatus> {
        let status = self.child.as_mut()?.try_wait().expect("own child")?;
        reaper::forget(self.pid());
        self.child = None;
        Some(status)
    }

    /// Waits for the end of the process.
    pub async fn wait_end(&mut self, within: Duration) -> ExitStatus {
        let limit = Instant::now() + within;
        while Instant::now() < limit {
            if let Some(status) = self.has_ended() {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the server still runs after {within:?}");
    }

    /// kill -9, and the process is gone when this returns.
    pub fn kill9(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().ok();
            child.wait().expect("own child");
            reaper::forget(child.id());
        }
    }

    /// SIGTERM: please leave.
    pub fn term(&self) {
        signal("TERM", &[self.pid()]);
    }

    /// SIGSTOP: frozen.
    pub fn stop(&self) {
        signal("STOP", &[self.pid()]);
    }

    /// SIGCONT: goes on.
    pub fn cont(&self) {
        signal("CONT", &[self.pid()]);
    }

    /// Starts it again on the same data, port and settings; kills it first where it still runs.
    pub async fn restart(&mut self) {
        self.kill9();
        self.launch();
        if let Err(log) = self.wait_ready().await {
            panic!("the server did not come back:\n{log}");
        }
    }

    /// Starts it again with one setting changed.
    pub async fn restart_with(&mut self, key: &str, value: impl ToString) {
        self.env.insert(format!("HYPER_CHAT__{key}"), value.to_string());
        self.restart().await;
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.kill9();
        let log = self.log();
        if std::thread::panicking() {
            let lines: Vec<_> = log.lines().rev().take(60).collect();
            eprintln!("--- the end of the server's log ({:?}) ---", self.db);
            lines.iter().rev().for_each(|line| eprintln!("{line}"));
            return;
        }
        let found = self.secrets.found_in(&log);
        assert!(found.is_empty(), "the server's log holds {found:?}");
    }
}
