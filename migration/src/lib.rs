//! Hyper Chat's schema: an ordered list of migrations, each of which runs on SQLite and on PostgreSQL.
//!
//! Tables come to be by migrations only, in tests too. Instances of the release before may still run while a migration
//! runs, so a change first expands (new tables, nullable columns, defaults) and only a later release contracts. A
//! migration that instances of an earlier release cannot work with writes its own name into `schema_needs`.
//!
//! A migration is a folder `mYYYYMMDD_NNNNNN_what_it_does` with `postgres.sql` and `sqlite.sql`, and a line in
//! `MIGRATIONS`. Its name is recorded in the database, so the folder of a released migration is never renamed.

use std::collections::HashSet;
use std::time::{SystemTime, UNIX_EPOCH};

use sea_orm::{
    ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr, Statement, TransactionTrait,
};

/// One change of the schema.
struct Migration {
    /// What the database records once the migration has run.
    name: &'static str,
    postgres: &'static str,
    sqlite: &'static str,
    on_postgres: Mode,
}

/// How the statements of a migration run on PostgreSQL; on SQLite they always run in one transaction.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// All in one transaction, together with the record of the migration's name.
    Transaction,
    /// One by one, for statements that PostgreSQL refuses in a transaction, such as `CREATE INDEX CONCURRENTLY`. An
    /// interrupted migration runs again from its beginning, so its statements must bear that.
    OneByOne,
}

macro_rules! migration {
    ($name:literal, $mode:ident) => {
        Migration {
            name: $name,
            postgres: include_str!(concat!($name, "/postgres.sql")),
            sqlite: include_str!(concat!($name, "/sqlite.sql")),
            on_postgres: Mode::$mode,
        }
    };
}

/// Every migration, in the order in which they run.
const MIGRATIONS: &[Migration] = &[
    migration!("m20261122_000001_foundation", Transaction),
    migration!("m20261122_000002_presence", Transaction),
    migration!("m20261122_000003_changed", Transaction),
    migration!("m20261122_000004_needs", Transaction),
    migration!("m20261122_000005_altered", OneByOne),
    migration!("m20261128_000006_deletions", Transaction),
    migration!("m20261128_000007_sessions", Transaction),
    migration!("m20261128_000008_epoch", Transaction),
    migration!("m20261128_000011_issuers", Transaction),
    migration!("m20261128_000012_write_probe", Transaction),
    migration!("m20261128_000013_listed", Transaction),
];

/// The table that records which migrations have run. Its name and columns are those of sea-orm's migrator, which the
/// first releases used.
const RECORDS: &str = "CREATE TABLE IF NOT EXISTS seaql_migrations (
  version varchar NOT NULL PRIMARY KEY,
  applied_at bigint NOT NULL
)";

/// Runs the migrations that the database has not had yet; `hyper-chat migrate` and the start of `serve` call this.
/// Migrations of a later release are no error: an instance may start while others are newer.
pub async fn up(db: &DatabaseConnection) -> Result<(), DbErr> {
    db.execute_unprepared(RECORDS).await?;
    let recorded = recorded(db).await?;
    for migration in MIGRATIONS.iter().filter(|one| !recorded.contains(one.name)) {
        migration.run(db).await?;
    }
    Ok(())
}

impl Migration {
    async fn run(&self, db: &DatabaseConnection) -> Result<(), DbErr> {
        let is_postgres = db.get_database_backend() == DbBackend::Postgres;
        if is_postgres && self.on_postgres == Mode::OneByOne {
            for statement in self.postgres.split_inclusive(';').filter(|text| text.contains(';')) {
                db.execute_unprepared(statement).await?;
            }
            return self.record(db).await;
        }
        let transaction: DatabaseTransaction = db.begin().await?;
        transaction.execute_unprepared(if is_postgres { self.postgres } else { self.sqlite }).await?;
        self.record(&transaction).await?;
        transaction.commit().await
    }

    async fn record<C: ConnectionTrait>(&self, db: &C) -> Result<(), DbErr> {
        let applied_at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let insert =
            format!("INSERT INTO seaql_migrations (version, applied_at) VALUES ('{}', {applied_at})", self.name);
        db.execute_unprepared(&insert).await.map(|_| ())
    }
}

/// What this program finds in a database, compared with the migrations that it knows.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Migrations that have yet to run, in order.
    pub missing: Vec<String>,
    /// Migrations of a later release.
    pub unknown: Vec<String>,
    /// A migration that a program must know to work on this schema, and that this program does not know.
    pub needs: Option<String>,
}

impl Found {
    /// Reads the records; changes nothing.
    pub async fn read<C: ConnectionTrait>(db: &C) -> Result<Self, DbErr> {
        let recorded = if has_table(db, "seaql_migrations").await? { recorded(db).await? } else { HashSet::new() };
        let known = names();
        let mut unknown: Vec<String> = recorded.iter().filter(|one| !known.contains(one)).cloned().collect();
        unknown.sort();
        let needs = if has_table(db, "schema_needs").await? { needs(db).await? } else { None };
        Ok(Self {
            missing: known.iter().filter(|one| !recorded.contains(*one)).cloned().collect(),
            unknown,
            needs: needs.filter(|one| !known.contains(one)),
        })
    }
}

/// The migrations that this program knows, in order.
#[must_use]
pub fn names() -> Vec<String> {
    MIGRATIONS.iter().map(|one| one.name.to_owned()).collect()
}

async fn recorded<C: ConnectionTrait>(db: &C) -> Result<HashSet<String>, DbErr> {
    let rows = texts(db, "SELECT version FROM seaql_migrations").await?;
    Ok(rows.into_iter().collect())
}

async fn needs<C: ConnectionTrait>(db: &C) -> Result<Option<String>, DbErr> {
    Ok(texts(db, "SELECT migration FROM schema_needs").await?.pop())
}

async fn has_table<C: ConnectionTrait>(db: &C, name: &str) -> Result<bool, DbErr> {
    let query = match db.get_database_backend() {
        DbBackend::Postgres => format!("SELECT '' WHERE to_regclass('{name}') IS NOT NULL"),
        _ => format!("SELECT '' FROM sqlite_master WHERE name = '{name}'"),
    };
    Ok(!texts(db, &query).await?.is_empty())
}

/// The first column of each row.
async fn texts<C: ConnectionTrait>(db: &C, query: &str) -> Result<Vec<String>, DbErr> {
    let rows = db.query_all_raw(Statement::from_string(db.get_database_backend(), query)).await?;
    rows.iter().map(|row| row.try_get_by_index(0)).collect()
}
