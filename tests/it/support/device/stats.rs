//! What happened to a device.

/// What happened to the device, so that a test can check that it was busy.
#[derive(Debug, Default)]
pub struct Stats {
    pub sockets: usize,
    pub live: usize,
    pub passed_over: usize,
    pub pages: usize,
    pub resets: usize,
    pub resent: usize,
    pub recounts: usize,
    /// Refusals that say "later".
    pub later: usize,
    /// Sockets that were closed because the sign-in had ended.
    pub ended: usize,
    pub epochs: usize,
}
