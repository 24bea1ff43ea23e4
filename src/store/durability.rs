//! The check at the start that an acknowledged chat survives a crash of the database's machine.

use sea_orm::{ConnectionTrait, DatabaseConnection, DbErr, Statement, TryGetable};

use super::error::OpenError;

/// Refuses a SQLite file whose commits are not durable.
pub(super) async fn check_sqlite(db: &DatabaseConnection) -> Result<(), OpenError> {
    let journal: String = single_value(db, "PRAGMA journal_mode").await?;
    let synchronous: i64 = single_value(db, "PRAGMA synchronous").await?;
    if journal != "wal" {
        return Err(OpenError::NotDurable("SQLite's write-ahead log"));
    }
    if synchronous < 2 {
        return Err(OpenError::NotDurable("SQLite's synchronous=FULL"));
    }
    Ok(())
}

/// Refuses a PostgreSQL server whose commits are not durable.
pub(super) async fn check_postgres(db: &DatabaseConnection) -> Result<(), OpenError> {
    for (query, name) in [
        ("SHOW fsync", "PostgreSQL's fsync"),
        ("SHOW full_page_writes", "PostgreSQL's full_page_writes"),
        ("SHOW synchronous_commit", "PostgreSQL's synchronous_commit"),
    ] {
        // synchronous_commit may also be `local`, which is durable on the server itself.
        if single_value::<String>(db, query).await? == "off" {
            return Err(OpenError::NotDurable(name));
        }
    }
    Ok(())
}

/// The one value that a query returns.
pub(super) async fn single_value<T: TryGetable>(db: &DatabaseConnection, query: &str) -> Result<T, OpenError> {
    let statement = Statement::from_string(db.get_database_backend(), query);
    let row = db.query_one_raw(statement).await.map_err(OpenError::Connect)?;
    let missing = || OpenError::Connect(DbErr::RecordNotFound(query.to_owned()));
    row.ok_or_else(missing)?.try_get_by_index(0).map_err(OpenError::Connect)
}
