//! Authentication: passwords at sign-in, tokens after it. Nothing here reads the database.

pub mod password;
pub mod token;
