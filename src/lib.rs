//! A one-to-one chat server; its architecture is this crate's documentation.
#![doc = include_str!("ARCHITECTURE.md")]

pub mod domain;
pub mod error;
pub mod wire;

pub mod auth;
pub mod limits;
pub mod metrics;
pub mod push;
pub mod relay;
pub mod store;

pub mod actors;
pub mod http;

pub mod app;
pub mod config;
pub mod telemetry;
pub mod terminal;
