//! Black-box tests: the real binary over real HTTP, WebSockets and databases. They may not call the library.
//!
//! | where | what it tests |
//! |---|---|
//! | `promises` | each promise of the server once |
//! | `rest` | accounts, rooms, chats, search, tokens and refusals over REST |
//! | `device_socket` | the device socket `/ws` |
//! | `chatroom_socket` | the chatroom socket `/ws/chatrooms/{id}/` |
//! | `websocket` | RFC 6455: frames, closing, upgrades, clients that do not read |
//! | `presence`, `metrics`, `documents` | presence over REST, `/metrics`, the served documents |
//! | `sqlite_file` | the SQLite file: who may read it, its lock, its backup |
//! | `start`, `running`, `drain`, `upgrade` | the life of a process, and other releases' schemas |
//! | `deletions` | deletions that take long |
//! | `database_settings` | settings of the database that cannot work, and IPv6 |
//! | `epoch` | a database that is set back to an earlier state, and promoted standbys |
//! | `issuers` | tokens of identity providers, and their accounts |
//! | `faults` | faults of one server: database, disk, process, clock, limits |
//! | `cluster` | several instances, and what happens when one of them or Redis fails |
//! | `chaos` | random faults under traffic |
//! | `attack` | all attacks at random, beside pairs that must not notice |
//! | `demo_browser` | the demo in a real browser |
//! | `support` | servers, databases, clients, proxies and checkers for all of these |
//!
//! One test, on each database that it knows: `cargo test --test it NAME`. One database only: `cargo test --test it
//! rest::chats::sqlite`. A failure prints `HYPER_CHAT_TEST_SEED`, which repeats its random choices. `tests/contract`
//! tests parts of the library.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, reason = "a test fails by panicking")]
#![allow(unreachable_pub, reason = "no crate uses a test program; its modules share what is pub")]

mod support;

mod attack;
mod base_path;
mod chaos;
mod chatroom_socket;
mod cluster;
mod database_settings;
mod deletions;
mod demo_browser;
mod device_socket;
mod documents;
mod drain;
mod epoch;
mod faults;
mod issuers;
mod metrics;
mod presence;
mod promises;
mod rest;
mod running;
mod sqlite_file;
mod start;
mod unix_socket;
mod upgrade;
mod websocket;
