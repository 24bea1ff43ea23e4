//! The log lines of one test, for assertions about them.

use std::io::Write;
use std::sync::{Arc, LazyLock};

use parking_lot::Mutex;
use tracing_subscriber::fmt::MakeWriter;

/// Where a process has had one subscriber only, `tracing` asks the current thread alone whether a new log statement has a
/// reader, and remembers a no for all threads. A second subscriber that stays makes it ask all of them.
static SECOND: LazyLock<tracing::Dispatch> = LazyLock::new(|| tracing::Dispatch::new(tracing_subscriber::registry()));

/// The log of this thread.
#[derive(Clone, Default)]
pub struct Log(Arc<Mutex<Vec<u8>>>);

pub struct Logging {
    pub log: Log,
    pub _while_it_lives: tracing::subscriber::DefaultGuard,
}

impl Log {
    pub fn start() -> Logging {
        LazyLock::force(&SECOND);
        let log = Self::default();
        let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(log.clone()).finish();
        Logging { log, _while_it_lives: tracing::subscriber::set_default(subscriber) }
    }
}

impl Logging {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.log.0.lock()).into_owned()
    }

    pub fn lines(&self, level: &str) -> Vec<String> {
        self.text().lines().filter(|line| line.contains(level)).map(str::to_owned).collect()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}
