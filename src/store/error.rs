//! Why the database did not answer or could not be opened, and which errors pass by themselves.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use sea_orm::sqlx::error::DatabaseError;
use sea_orm::{DbErr, RuntimeErr, sqlx};

use super::health::Trouble;
use super::servers::ServerFailure;

/// Why the database did not carry out a statement.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database does not answer, is full, read-only or restarting; the same statement may be tried again.
    #[error("the database does not answer")]
    Unavailable(#[source] Option<DbErr>),
    /// The database refused the statement: a fault of this program or of the schema.
    #[error("the database refused")]
    Failed(#[source] DbErr),
    /// A new row got an id that an older row has. Each try draws the next id.
    #[error("a sequence of ids is behind its table: run `hyper-chat check --fix`")]
    SequenceBehind(#[source] DbErr),
    /// The database can store no such value, however often it is sent.
    #[error("the database cannot store such a value")]
    Impossible(#[source] DbErr),
}

impl From<DbErr> for StoreError {
    fn from(error: DbErr) -> Self {
        if is_outage(&error) {
            return Self::Unavailable(Some(error));
        }
        match database_error(&error) {
            Some(answer) if is_taken_id(answer) => Self::SequenceBehind(error),
            Some(answer) if answer.code().is_some_and(|code| is_impossible_code(&code)) => Self::Impossible(error),
            _ => Self::Failed(error),
        }
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        Self::from(DbErr::Query(RuntimeErr::SqlxError(Arc::new(error))))
    }
}

impl StoreError {
    /// What the database's own words say about the next write; none where they say nothing.
    pub(in crate::store) fn trouble(&self) -> Option<Trouble> {
        let (Self::Unavailable(Some(error)) | Self::Failed(error)) = self else { return None };
        trouble_of_code(&database_error(error)?.code()?)
    }

    /// Whether another connection is writing to the SQLite file (BUSY).
    pub(in crate::store) fn is_busy(&self) -> bool {
        let Self::Unavailable(Some(error)) = self else { return false };
        let code = database_error(error).and_then(DatabaseError::code);
        code.is_some_and(|code| code.len() < 5 && code.parse::<u32>().is_ok_and(|n| n & 0xff == 5))
    }
}

/// Why the database could not be opened; the text says what to do.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The URL names neither SQLite nor PostgreSQL.
    #[error("DATABASE_URL must begin with sqlite: or postgres://")]
    Scheme,
    /// A part of the URL cannot be used; holds the rule, which follows the name of the setting.
    #[error("DATABASE_URL {0}")]
    Url(String),
    /// None of the PostgreSQL servers can be used.
    #[error("DATABASE_URL: {}", list(.0))]
    Servers(Vec<ServerFailure>),
    /// The PostgreSQL database was created with this encoding.
    #[error(
        "DATABASE_URL: the database has the encoding {0}, which cannot store every text; create one with \
         CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0"
    )]
    Encoding(String),
    /// Another process holds the lock on the file at this path.
    #[error(
        "another hyper-chat serves this SQLite file ({0} is locked); stop it first, or use PostgreSQL to run several"
    )]
    Locked(PathBuf),
    /// The file at this path could not be opened or created, or the system refused the lock.
    #[error("cannot create or lock {0}: is the folder there and writable?")]
    Lock(PathBuf, #[source] std::io::Error),
    /// The database refused the connection or a query at the start, or cannot be reached.
    #[error("the database cannot be opened; is DATABASE_URL right?")]
    Connect(#[source] DbErr),
    /// A migration failed.
    #[error("the schema cannot be brought up to date; `hyper-chat migrate` shows the same error")]
    Migrate(#[source] DbErr),
    /// Another instance held the lock of migrations for this long, the configured wait.
    #[error(
        "another instance has been bringing the schema up to date for {} s; see what it is doing (in PostgreSQL's \
         pg_stat_activity), or wait longer with HYPER_CHAT__DATABASE__MIGRATION_WAIT_S", .0.as_secs()
    )]
    Migrating(Duration),
    /// The configuration forbids this start to run these missing migrations.
    #[error(
        "the schema lacks {}; run `hyper-chat migrate` first, or set HYPER_CHAT__DATABASE__MIGRATE_ON_START=true",
        .0.join(", ")
    )]
    Behind(Vec<String>),
    /// A later release has changed the schema beyond what this program can work with.
    #[error(
        "the schema is that of a later release: it needs a program that knows {needs}, and this one (hyper-chat {}) \
         knows nothing after {newest}; start a newer hyper-chat, or put back a backup from before the upgrade",
        env!("CARGO_PKG_VERSION")
    )]
    Incompatible {
        /// The migration that a program must know, as the schema itself says.
        needs: String,
        /// The newest migration that this program knows.
        newest: String,
    },
    /// The setting of this name is off in the database.
    #[error(
        "{0} is off, so a crash could lose acknowledged chats; turn it on, or set \
         HYPER_CHAT__DATABASE__UNSAFE_DURABILITY=true to accept that"
    )]
    NotDurable(&'static str),
}

impl From<StoreError> for OpenError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(Some(error))
            | StoreError::Failed(error)
            | StoreError::SequenceBehind(error)
            | StoreError::Impossible(error) => Self::Connect(error),
            StoreError::Unavailable(None) => {
                Self::Connect(DbErr::Conn(RuntimeErr::SqlxError(Arc::new(sqlx::Error::PoolTimedOut))))
            }
        }
    }
}

impl OpenError {
    /// Whether another try may succeed: PostgreSQL is not reachable yet, is starting, or has no connection to spare.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Connect(error) | Self::Migrate(error) => is_outage(error),
            Self::Servers(failures) => failures.iter().any(ServerFailure::is_transient),
            _ => false,
        }
    }

    /// Whether the setting of the database is at fault: the same start never succeeds.
    #[must_use]
    pub fn is_setting(&self) -> bool {
        matches!(self, Self::Scheme | Self::Url(_) | Self::Encoding(_))
            || matches!(self, Self::Servers(_)) && !self.is_transient()
    }
}

fn list(failures: &[ServerFailure]) -> String {
    failures.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// Whether an error passes by itself, so that the same statement may be tried again.
fn is_outage(error: &DbErr) -> bool {
    match (sqlx_error(error), error) {
        (Some(error), _) => is_sqlx_outage(error),
        (None, DbErr::Conn(_) | DbErr::ConnectionAcquire(_)) => true,
        _ => false,
    }
}

/// The driver's error.
fn sqlx_error(error: &DbErr) -> Option<&sqlx::Error> {
    match error {
        DbErr::Conn(RuntimeErr::SqlxError(e))
        | DbErr::Exec(RuntimeErr::SqlxError(e))
        | DbErr::Query(RuntimeErr::SqlxError(e)) => Some(e),
        _ => None,
    }
}

/// The same for the errors of sqlx, which the writer gets from its own connection.
pub(in crate::store) fn is_sqlx_outage(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Database(e) => e.code().is_some_and(|code| is_outage_code(&code)),
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => true,
        _ => false,
    }
}

/// SQLSTATE classes of PostgreSQL (appendix A of its manual): connection, transaction rollback and state, resources,
/// operator intervention, system, locks, and XX000, which is also what a file beyond its size limit gives (EFBIG, where
/// ENOSPC would be class 53). For SQLite the result codes BUSY, LOCKED, NOMEM, READONLY, IOERR, FULL, CANTOPEN and
/// PROTOCOL, which come as decimal numbers with the detail in the higher bits.
fn is_outage_code(code: &str) -> bool {
    if code.len() == 5 {
        return ["08", "25", "40", "53", "55", "57", "58", "XX000"].iter().any(|class| code.starts_with(class));
    }
    code.parse::<u32>().is_ok_and(|n| matches!(n & 0xff, 5 | 6 | 7 | 8 | 10 | 13 | 14 | 15))
}

/// Whether the database itself gave this error, so that its connection is alive.
pub(in crate::store) fn is_answer(error: &DbErr) -> bool {
    matches!(sqlx_error(error), Some(sqlx::Error::Database(_)))
}

/// Whether a connection broke under a statement.
pub(in crate::store) fn is_broken(error: &DbErr) -> bool {
    match error {
        DbErr::Exec(RuntimeErr::SqlxError(e)) | DbErr::Query(RuntimeErr::SqlxError(e)) => {
            matches!(**e, sqlx::Error::Io(_) | sqlx::Error::Protocol(_))
        }
        _ => false,
    }
}

/// The same codes as far as they say more than that the database is away. SQLite's 778 is a write that failed, which is
/// also what a file beyond a limit of its size gives; the other codes are READONLY, CORRUPT, FULL and NOTADB.
fn trouble_of_code(code: &str) -> Option<Trouble> {
    match (code, code.parse::<u32>()) {
        ("25006", _) => Some(Trouble::ReadOnly),
        ("53100", _) => Some(Trouble::DiskFull),
        ("XX001" | "XX002", _) => Some(Trouble::Corrupt),
        (_, Ok(778)) => Some(Trouble::DiskFull),
        (_, Ok(n)) if code.len() < 5 => match n & 0xff {
            8 => Some(Trouble::ReadOnly),
            13 => Some(Trouble::DiskFull),
            11 | 26 => Some(Trouble::Corrupt),
            _ => None,
        },
        _ => None,
    }
}

/// The database's own answer, where it gave one.
fn database_error(error: &DbErr) -> Option<&dyn DatabaseError> {
    sqlx_error(error)?.as_database_error()
}

/// SQLSTATE class 22 (data that has no such form), class 54 (beyond a limit of PostgreSQL), and values that a constraint
/// forbids; SQLite's TOOBIG, MISMATCH, and every constraint but the unique ones.
fn is_impossible_code(code: &str) -> bool {
    if code.len() == 5 {
        return ["22", "54", "23502", "23514"].iter().any(|class| code.starts_with(class));
    }
    const UNIQUE: [u32; 3] = [1_555, 2_067, 2_579];
    code.parse::<u32>().is_ok_and(|n| matches!(n & 0xff, 18..=20) && !UNIQUE.contains(&n))
}

/// Whether a new row's id is that of an older row.
fn is_taken_id(error: &dyn DatabaseError) -> bool {
    error.is_unique_violation() && error.constraint().is_some_and(|name| name.ends_with("_pkey"))
}

/// A unique index that callers expect to be violated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) enum Unique {
    /// One account for each name.
    Username,
    /// One room for each pair.
    Pair,
    /// One chat for each `client_id` of a sender.
    ClientId,
    /// One account for each subject of an issuer.
    ExternalId,
}

impl Unique {
    /// The constraint's name on PostgreSQL, and the columns that SQLite names instead.
    const fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Username => ("chatters_username_key_key", "chatters.username_key"),
            Self::Pair => ("chatrooms_pair_low_pair_high_key", "chatrooms.pair_low, chatrooms.pair_high"),
            Self::ExternalId => ("chatters_external_id_key", "chatters.external_id"),
            Self::ClientId => ("chats_client_key", "chats.client_key"),
        }
    }
}

/// Whether a statement violated this index, and no other.
pub(in crate::store) fn violates(error: &DbErr, index: Unique) -> bool {
    let Some(error) = database_error(error).filter(|error| error.is_unique_violation()) else { return false };
    let (constraint, columns) = index.names();
    match error.constraint() {
        Some(name) => name == constraint,
        None => error.message().ends_with(&format!(": {columns}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outage_codes_differ_from_fault_codes() {
        for outage in ["57P01", "53300", "40P01", "55P03", "25006", "XX000", "5", "13", "517", "8"] {
            assert!(is_outage_code(outage), "{outage}");
        }
        for fault in ["23505", "42P01", "22021", "XX001", "1", "19", "2067"] {
            assert!(!is_outage_code(fault), "{fault}");
        }
    }

    #[test]
    fn e23_what_can_never_succeed_is_told_apart_from_what_may() {
        for never in ["22021", "22003", "54000", "23514", "23502", "18", "20", "19", "275", "1811"] {
            assert!(is_impossible_code(never), "{never}");
        }
        for may in ["23505", "42P01", "0A000", "40001", "53100", "1555", "2067", "1"] {
            assert!(!is_impossible_code(may), "{may}");
        }
    }

    #[test]
    fn a_code_says_what_is_wrong_with_the_database() {
        for (code, trouble) in [
            ("25006", Some(Trouble::ReadOnly)),
            ("53100", Some(Trouble::DiskFull)),
            ("13", Some(Trouble::DiskFull)),
            ("778", Some(Trouble::DiskFull)),
            ("8", Some(Trouble::ReadOnly)),
            ("XX001", Some(Trouble::Corrupt)),
            ("XX002", Some(Trouble::Corrupt)),
            ("267", Some(Trouble::Corrupt)),
            ("26", Some(Trouble::Corrupt)),
            ("57P01", None),
            ("23505", None),
            ("5", None),
        ] {
            assert_eq!(trouble_of_code(code), trouble, "{code}");
        }
    }
}
