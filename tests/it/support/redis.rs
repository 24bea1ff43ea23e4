//! Real Redis: a server of its own for each test, to be broken at will.

use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use redis::aio::MultiplexedConnection;
use tempfile::TempDir;

use super::ports::free_port;
use super::processes::signal;
use super::reaper;
use super::wait::s;

/// What the program runs as.
#[derive(Clone, Copy)]
enum Kind {
    Server,
    Sentinel,
}

/// The file that a sentinel reads and writes.
const SENTINEL_CONF: &str = "sentinel.conf";

/// One Redis server without anything on the disk; ended when dropped or when the binary ends.
pub struct Redis {
    pub port: u16,
    kind: Kind,
    options: Vec<String>,
    folder: TempDir,
    server: Mutex<Option<Child>>,
}

impl Redis {
    /// Starts one; returns when it answers.
    pub fn start() -> Self {
        let redis = Self::absent(&[]);
        redis.up();
        redis
    }

    /// A server with further options, such as `["--requirepass", "…"]`, that is not started yet.
    pub fn absent(options: &[&str]) -> Self {
        let options = options.iter().map(ToString::to_string).collect();
        let folder = tempfile::Builder::new().prefix("hyper-chat-redis-").tempdir().expect("a temp folder");
        reaper::remove_at_exit(folder.path());
        Self { port: free_port(), kind: Kind::Server, options, folder, server: Mutex::new(None) }
    }

    /// A server that speaks TLS only, with a self-signed certificate; it is not started yet.
    pub fn with_tls() -> Self {
        let mut redis = Self::absent(&["--port", "0", "--tls-auth-clients", "no"]);
        let port = redis.port.to_string();
        redis.options.extend(["--tls-port".to_owned(), port]);
        for (option, text) in [
            ("--tls-cert-file", include_str!("redis_test_cert.pem")),
            ("--tls-key-file", include_str!("redis_test_key.pem")),
        ] {
            let path = redis.folder.path().join(&option[2..]);
            std::fs::write(&path, text).expect("own folder");
            redis.options.extend([option.to_owned(), path.display().to_string()]);
        }
        redis
    }

    /// A sentinel that watches the server at this port under the name `main`; two sentinels have to agree. It is not
    /// started yet.
    pub fn sentinel(port: u16) -> Self {
        let mut redis = Self::absent(&[]);
        redis.kind = Kind::Sentinel;
        let conf = format!(
            "port {}\nbind 127.0.0.1\nlogfile log\nsentinel monitor main 127.0.0.1 {port} 2\n\
             sentinel down-after-milliseconds main 1000\nsentinel failover-timeout main 3000\n",
            redis.port
        );
        std::fs::write(redis.folder.path().join(SENTINEL_CONF), conf).expect("own folder");
        redis
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Starts it, also after `kill9`: empty, on the same port. Returns when it accepts connections.
    pub fn up(&self) {
        let mut slot = self.server.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(slot.is_none(), "it runs already");
        let port = self.port.to_string();
        let server = ["--port", &port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"];
        let mut command = Command::new("redis-server");
        match self.kind {
            Kind::Server => command.args(server).args(["--maxclients", "200", "--logfile", "log"]),
            Kind::Sentinel => command.args([SENTINEL_CONF, "--sentinel"]),
        };
        let child = command
            .current_dir(self.folder.path())
            .args(&self.options)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("redis-server is in PATH (Debian: apt-get install redis-server, or run tests/run)");
        reaper::adopt(child.id());
        *slot = Some(child);
        drop(slot);
        let start = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            if start.elapsed() > Duration::from_secs(20) {
                let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
                panic!("Redis does not listen after 20 s; its log:\n{log}");
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Ends it as a crash does: its data is lost.
    pub fn kill9(&self) {
        if let Some(mut child) = self.server.lock().unwrap_or_else(PoisonError::into_inner).take() {
            child.kill().expect("own child");
            child.wait().expect("own child");
            reaper::forget(child.id());
        }
    }

    /// The port of a cluster's bus.
    pub fn bus_port(&self) -> String {
        let at = self.options.iter().position(|option| option == "--cluster-port").expect("a node of a cluster");
        self.options[at + 1].clone()
    }

    fn signal(&self, name: &str) {
        let slot = self.server.lock().unwrap_or_else(PoisonError::into_inner);
        signal(name, &[slot.as_ref().expect("it runs").id()]);
    }

    /// Hangs it: connections are accepted by the kernel, nothing answers.
    pub fn freeze(&self) {
        self.signal("STOP");
    }

    /// Continues a frozen server.
    pub fn thaw(&self) {
        self.signal("CONT");
    }

    /// A client to read and write with.
    pub async fn client(&self) -> MultiplexedConnection {
        let client = redis::Client::open(self.url()).expect("a URL");
        // Long timeouts, because a busy machine is no failure.
        let config =
            redis::AsyncConnectionConfig::new().set_connection_timeout(Some(s(20))).set_response_timeout(Some(s(20)));
        client.get_multiplexed_async_connection_with_config(&config).await.expect("Redis answers")
    }

    /// Runs a command, such as `["FLUSHALL"]`.
    pub async fn ask<T: redis::FromRedisValue>(&self, command: &[&str]) -> T {
        let mut asked = redis::cmd(command[0]);
        asked.arg(&command[1..]);
        asked.query_async(&mut self.client().await).await.expect("Redis answers")
    }

    /// Cuts the connections of all subscribers.
    pub async fn kill_subscribers(&self) {
        let killed: usize = self.ask(&["CLIENT", "KILL", "TYPE", "pubsub"]).await;
        assert!(killed > 0, "there was no subscriber");
    }

    /// Publishes these bytes; the number of receivers.
    pub async fn publish(&self, channel: &str, message: &[u8]) -> usize {
        let mut client = self.client().await;
        redis::cmd("PUBLISH").arg(channel).arg(message).query_async(&mut client).await.expect("Redis answers")
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill9();
    }
}
