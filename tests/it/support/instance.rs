//! One process of the real binary.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use super::ports::free_port;
use super::processes::signal;
use super::reaper;
use super::rest::Api;
use super::secrets::Secrets;

pub const READY_WAIT: Duration = Duration::from_secs(20);

/// The server's binary: the one that was built with the tests, or that `HYPER_CHAT_TEST_BINARY` names.
fn binary() -> OsString {
    std::env::var_os("HYPER_CHAT_TEST_BINARY").unwrap_or_else(|| env!("CARGO_BIN_EXE_hyper-chat").into())
}

pub struct Instance {
    pub port: u16,
    /// Its working directory, which also holds its log.
    folder: PathBuf,
    log_name: String,
    env: BTreeMap<String, String>,
    child: Option<Child>,
    secrets: Secrets,
}

impl Instance {
    /// An instance that is not launched yet; `number` distinguishes the logs in one folder.
    pub fn new(number: usize, folder: PathBuf, env: BTreeMap<String, String>, secrets: Secrets) -> Self {
        let log_name = if number == 0 { "server.log".to_owned() } else { format!("server-{number}.log") };
        let mut instance = Self { port: 0, folder, log_name, env, child: None, secrets };
        instance.choose_another_port();
        instance
    }

    pub fn choose_another_port(&mut self) {
        self.port = free_port();
        self.set("SERVER__PORT", self.port);
    }

    /// Sets a variable for the next launch.
    pub fn set(&mut self, key: &str, value: impl ToString) {
        self.env.insert(format!("HYPER_CHAT__{key}"), value.to_string());
    }

    /// A client of this instance alone.
    pub fn api(&self) -> Api {
        Api::new(self.port, self.secrets.clone())
    }

    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("the server runs").id()
    }

    pub fn log_file(&self) -> PathBuf {
        self.folder.join(&self.log_name)
    }

    pub fn log(&self) -> String {
        let bytes = std::fs::read(self.log_file()).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The binary with these arguments and this instance's settings.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(binary());
        command.args(args).env_clear().envs(&self.env).current_dir(&self.folder).stdin(Stdio::null());
        command
    }

    pub fn launch(&mut self) {
        let log = File::options().create(true).append(true).open(self.log_file()).expect("a log file");
        let mut command = self.command(&["serve"]);
        let child = command.stdout(log.try_clone().expect("a second handle")).stderr(log).spawn();
        let child = child.expect("the server's binary starts");
        reaper::adopt(child.id());
        self.child = Some(child);
    }

    /// Waits for 200 from `/readyz`; the log when the process ended instead.
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

    pub fn has_ended(&mut self) -> Option<ExitStatus> {
        let status = self.child.as_mut()?.try_wait().expect("own child")?;
        reaper::forget(self.pid());
        self.child = None;
        Some(status)
    }

    /// Waits until it has ended by itself.
    pub async fn wait_end(&mut self, within: Duration) -> ExitStatus {
        let limit = Instant::now() + within;
        loop {
            if let Some(status) = self.has_ended() {
                return status;
            }
            assert!(Instant::now() < limit, "the server still runs after {within:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// kill -9; the process has ended when this returns.
    pub fn kill9(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().ok();
            child.wait().expect("own child");
            reaper::forget(child.id());
        }
    }

    /// SIGTERM: drain and exit.
    pub fn term(&self) {
        signal("TERM", &[self.pid()]);
    }

    /// SIGSTOP: frozen.
    pub fn stop(&self) {
        signal("STOP", &[self.pid()]);
    }

    /// SIGCONT: continue.
    pub fn cont(&self) {
        signal("CONT", &[self.pid()]);
    }

    /// Starts it again on the same data, port and settings; kills it first if it still runs.
    pub async fn restart(&mut self) {
        self.kill9();
        self.launch();
        if let Err(log) = self.wait_ready().await {
            panic!("the server did not come back:\n{log}");
        }
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.kill9();
    }
}
