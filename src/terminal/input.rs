//! The input: lines, their end, and Ctrl-C.

use std::io::{BufRead, Read};
use std::sync::Arc;

use tokio::sync::{Notify, mpsc};

/// A longer line is cut into pieces; no chat may have as many bytes.
const LINE_BYTES_MAX: u64 = 65_536;

/// The reading side of the terminal.
pub(super) struct Input {
    lines: Option<mpsc::Receiver<String>>,
    interrupts: Arc<Notify>,
}

impl Input {
    /// Listens for Ctrl-C from now on; reads nothing before the first [`Input::line`].
    pub(super) fn new() -> Self {
        let interrupts = Arc::new(Notify::new());
        let heard = Arc::clone(&interrupts);
        tokio::spawn(async move {
            while tokio::signal::ctrl_c().await.is_ok() {
                heard.notify_one();
            }
        });
        Self { lines: None, interrupts }
    }

    /// Notified at Ctrl-C, for code that awaits no line.
    pub(super) fn interrupts(&self) -> Arc<Notify> {
        Arc::clone(&self.interrupts)
    }

    /// The next line without its end; none at the end of the input or at Ctrl-C.
    pub(super) async fn line(&mut self) -> Option<String> {
        let lines = self.lines.get_or_insert_with(read);
        tokio::select! {
            line = lines.recv() => line,
            () = self.interrupts.notified() => None,
        }
    }
}

/// Reads on a thread of its own: the runtime would wait for a blocked read at the end of the program.
fn read() -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel(1);
    std::thread::spawn(move || {
        let mut stdin = std::io::stdin().lock();
        let mut bytes = Vec::new();
        while let Ok(1..) = (&mut stdin).take(LINE_BYTES_MAX).read_until(b'\n', &mut bytes) {
            let line = String::from_utf8_lossy(&bytes).trim_end_matches(['\r', '\n']).to_owned();
            bytes.clear();
            if sender.blocking_send(line).is_err() {
                break;
            }
        }
    });
    receiver
}
