//! Texts that must never be in a log: recorded while the tests use them, searched for in the end.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

/// Part of every chat that is sent in bulk, so that one search finds any of them.
pub const MARKER: &str = "c0nfidential";

/// The default password of test accounts.
pub const PASSWORD: &str = "correct-horse-4711";

/// The key that test servers sign tokens with.
pub const JWT_SECRET: &str = "a-test-secret-of-more-than-thirty-two-bytes";

/// More texts of one kind would only make the search slow.
const REMEMBERED_MAX: usize = 200;

#[derive(Clone, Default)]
pub struct Secrets(Arc<Mutex<BTreeSet<String>>>);

impl Secrets {
    /// Remembers a text that is too long to be in a log by chance.
    pub fn remember(&self, text: &str) {
        let mut set = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if text.len() >= 12 && set.len() < REMEMBERED_MAX && !text.contains(MARKER) {
            set.insert(text.chars().take(200).collect());
        }
    }

    /// The remembered texts that the log holds, and signs of a panic.
    pub fn found_in(&self, log: &str) -> Vec<String> {
        // `eyJ` begins every token: base64 of `{"`.
        let fixed = ["panicked at", "RUST_BACKTRACE", "eyJ", MARKER, PASSWORD, JWT_SECRET];
        let set = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let all = fixed.into_iter().chain(set.iter().map(String::as_str));
        all.filter(|text| log.contains(*text)).map(str::to_owned).collect()
    }
}
