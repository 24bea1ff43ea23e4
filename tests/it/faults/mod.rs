//! Faults that a test provokes on one server: in its database, its disk, its process, its clock, or by too many
//! requests.

mod clock;
pub mod database;
mod failover;
mod ids;
mod limits;
mod process;
mod push_credentials;
mod rates;
mod readiness;
mod storage;
