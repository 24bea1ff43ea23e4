//! The contracts between parts of the library, each part against a real Redis or database.
//!
//! | folder | what it tests |
//! |---|---|
//! | `broker` | messages between instances and the presence directory, in memory and over Redis |
//! | `documents` | the OpenAPI and AsyncAPI documents against routes and frame types |
//! | `push` | the notifier with a stand-in of FCM |
//! | `store` | what sessions read from the store, on SQLite and PostgreSQL |
//!
//! Only these tests call the library; those in `tests/it` start the real binary. One test, on each of its databases:
//! `cargo test --test contract NAME`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, reason = "a test fails by panicking")]
#![allow(unreachable_pub, reason = "no crate uses a test program; its modules share what is pub")]

mod broker;
mod documents;
mod push;
mod store;
#[allow(dead_code, reason = "tests/it uses the rest")]
mod support;
