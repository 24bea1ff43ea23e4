//! The edge: the real binary over real HTTP, WebSocket and databases.
//!
//! Start with `support`, then read the tests by theme. Each line of the promise has a test in `promises`;
//! `fault_*` provokes failures of the outside on purpose.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, reason = "a test fails by panicking")]

mod support;

mod broker;
mod broker_faults;
mod chaos;
mod chatroom_socket;
mod cluster;
mod demo_browser;
mod device_socket;
mod documents;
mod documents_frames;
mod documents_served;
mod drain;
mod faults;
mod metrics;
mod presence;
mod presence_directory;
mod promises;
mod push;
mod rest;
mod running;
mod start;
mod store_reads;
mod upgrade;
mod websocket;
