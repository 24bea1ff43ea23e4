//! A Redis of its own that can be killed and started again, on a free port of 127.0.0.1, removed when the value is
//! dropped.

use std::cell::RefCell;
use std::net::{Ipv4Addr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::postgres::free_port;

const START_MAX: Duration = Duration::from_secs(10);

/// A Redis that runs or is away.
pub struct Redis {
    process: RefCell<Option<Child>>,
    port: u16,
}

impl Redis {
    /// Starts it; it need not answer yet.
    pub fn start() -> Self {
        let redis = Self { process: RefCell::default(), port: free_port() };
        redis.spawn();
        redis
    }

    /// For `REDIS_URL`.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// While it runs.
    pub fn pid(&self) -> Option<u32> {
        self.process.borrow().as_ref().map(Child::id)
    }

    /// Ends it as a crash would.
    pub fn kill(&self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// Starts it again and waits until it accepts connections.
    pub async fn come_back(&self) {
        self.spawn();
        let end = Instant::now() + START_MAX;
        while TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_err() {
            assert!(Instant::now() < end, "redis-server did not start");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    fn spawn(&self) {
        let process = Command::new("redis-server")
            .args(["--bind", "127.0.0.1", "--port", &self.port.to_string(), "--save", "", "--appendonly", "no"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("redis-server starts: install redis-server");
        self.process.replace(Some(process));
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
    }
}
