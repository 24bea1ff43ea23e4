//! What these tests share with `tests/it`: real databases, a real Redis, a proxy, the stand-in of FCM, and waiting.

#[path = "../it/support/database.rs"]
pub mod database;
#[path = "../it/support/dice.rs"]
pub mod dice;
#[path = "../it/support/disk.rs"]
pub mod disk;
#[path = "../it/support/fcm/mod.rs"]
pub mod fcm;
#[path = "../it/support/instance_ports.rs"]
pub mod instance_ports;
#[path = "../it/support/ports.rs"]
pub mod ports;
#[path = "../it/support/postgres.rs"]
pub mod postgres;
#[path = "../it/support/postgres_user.rs"]
pub mod postgres_user;
#[path = "../it/support/processes.rs"]
pub mod processes;
#[path = "../it/support/proxy.rs"]
pub mod proxy;
#[path = "../it/support/reaper.rs"]
pub mod reaper;
#[path = "../it/support/redis.rs"]
pub mod redis;
#[path = "../it/support/redis_groups.rs"]
pub mod redis_groups;
#[path = "../it/support/schemas.rs"]
pub mod schemas;
#[path = "../it/support/secrets.rs"]
pub mod secrets;
#[path = "../it/support/tables.rs"]
pub mod tables;
#[path = "../it/support/wait.rs"]
pub mod wait;

pub use database::Db;
pub(crate) use database::on_both;
pub use redis::Redis;
pub use wait::{alone, eventually, heavy, stays, until};
