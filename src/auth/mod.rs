//! Authentication: passwords at sign-in, tokens after it. Nothing here reads the database.

mod hash_queue;
mod hasher;
pub mod issuers;
pub mod password;
pub mod refresh;
pub mod token;
