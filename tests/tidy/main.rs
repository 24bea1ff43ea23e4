//! The rules of the code as tests: who may use whom, names, lengths, paths in texts.
//!
//! To change a rule, change its table in the same commit as the code that needs it.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]
#![allow(unreachable_pub, reason = "no crate uses a test program; its modules share what is pub")]

mod circles;
mod layout;
mod packages;
mod size;
mod source;
mod tracked;
mod words;
