//! What the tests use: a real server process, real databases, clients, faulty connections, and checkers.
//!
//! | to … | use |
//! |---|---|
//! | start a server, or a cluster | `server`, `cluster`, `breakable` (every connection can be cut) |
//! | call REST as a chatter | `rest` (`Api`), `account` (`Person`), `forwarded` (at any address) |
//! | use a socket | `device_socket`, `chatroom_socket`, `raw_socket` (any bytes) |
//! | send under faults | `burst` (senders that retry), `device` (a model client) |
//! | check the end state | `checker`, `device_checker`, `schemas` (the served documents), `database` (rows) |
//! | break things | `postgres`, `standby`, `redis`, `proxy`, `disk`, `instance` |
//! | wait | `wait`: `eventually`, `until`, `stays`; turns: `heavy`, `alone` |
//! | run a test on each database | `on_both!`, `on_all!` |

pub mod account;
pub mod balancer;
pub mod breakable;
pub mod browser;
pub mod burst;
pub mod chatroom_socket;
pub mod checker;
pub mod cluster;
pub mod database;
pub mod device;
pub mod device_checker;
pub mod device_socket;
pub mod device_view;
pub mod device_watch;
pub mod dice;
pub mod disk;
#[allow(dead_code, reason = "tests/contract uses the rest")]
pub mod fcm;
pub mod forwarded;
pub mod frames;
pub mod http;
pub mod instance;
pub mod instance_ports;
pub mod issuer;
pub mod metrics;
pub mod ports;
pub mod postgres;
pub mod postgres_user;
pub mod processes;
pub mod proxy;
pub mod raw_socket;
pub mod reaper;
#[allow(dead_code, reason = "tests/contract uses the rest")]
pub mod redis;
pub mod redis_groups;
pub mod rest;
pub mod scene;
pub mod schemas;
pub mod secrets;
pub mod server;
pub mod server_builder;
pub mod sockets_open;
mod standby;
pub mod tables;
pub mod token;
pub mod wait;

pub use account::Person;
pub use chatroom_socket::ChatroomSocket;
pub use checker::Checker;
pub use database::Db;
pub(crate) use database::on_both;
pub use device::Device;
pub use device_socket::DeviceSocket;
pub use raw_socket::RawSocket;
pub use redis::Redis;
pub use rest::{Answer, Api};
pub use server::TestServer;
pub use wait::{alone, eventually, heavy, stays, until};

/// The same for each listed function, and `cluster::<name>`: two instances, each request and socket at either of them.
///
/// Behind `but_single:` stands what asks for something of one process.
macro_rules! on_all {
    ($($name:ident),* $(,)? $(; but_single: $($single:ident),* $(,)?)?) => {
        crate::support::on_both![$($name,)* $($($single,)*)?];
        mod cluster {
            $(#[tokio::test] async fn $name() { super::$name(crate::support::Db::Cluster).await; })*
        }
    };
}
pub(crate) use on_all;

/// Whether the long counts were asked for (`tests/run --long`).
pub fn long() -> bool {
    std::env::var("HYPER_CHAT_TEST_LONG").is_ok_and(|v| v == "1")
}
