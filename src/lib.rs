//! A one-to-one chat server; its architecture is this crate's documentation.
//!
//! The groups of modules stand in the order of the map: a module uses its own group and those below it. `terminal` is a
//! client of the public API and stands apart.
#![doc = include_str!("ARCHITECTURE.md")]

pub mod app;
pub mod http;

pub mod cluster;
pub mod sessions;

pub mod service;

pub mod push;
pub mod rooms;

pub mod broker;
pub mod connections;
pub mod delivery;
pub mod websocket;

pub mod protocol;

pub mod problem;

pub mod auth;
pub mod limits;

pub mod store;

pub mod metrics;
pub mod telemetry;

pub mod config;
pub mod domain;

pub mod terminal;
