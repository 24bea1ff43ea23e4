//! Who is who: passwords at sign-in, tokens after it. Knows `domain` only; the database is asked elsewhere.

pub mod password;
pub mod token;
