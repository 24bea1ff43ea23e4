//! The edge: the real binary over real HTTP, WebSocket and databases.
//!
//! Start with `support`, then read the tests by theme. Each line of the promise has a test in `promises`;
//! `fault_*` provokes failures of the outside on purpose.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, reason = "a test fails by panicking")]

mod support;

mod broker;
mod broker_faults;
mod chaos_cluster;
mod chaos_device;
mod cluster;
mod cluster_deaths;
mod cluster_faults;
mod cluster_naive;
mod cluster_presence;
mod cluster_races;
mod cluster_receipts;
mod cluster_rolling;
mod demo_browser;
mod documents;
mod documents_frames;
mod documents_served;
mod drain;
mod fault_clock;
mod fault_database;
mod fault_kill;
mod fault_limits;
mod fault_states;
mod metrics;
mod presence;
mod presence_directory;
mod promises;
mod push;
mod rest_accounts;
mod rest_chats;
mod rest_errors;
mod rest_rooms;
mod rest_search;
mod running;
mod start;
mod store_reads;
mod upgrade;
mod ws_device_auth;
mod ws_device_chats;
mod ws_device_fault;
mod ws_device_frames;
mod ws_device_limits;
mod ws_device_presence;
mod ws_device_receipts;
mod ws_device_resume;
mod ws_device_rooms;
mod ws_protocol;
mod ws_seed;
mod ws_slow;
