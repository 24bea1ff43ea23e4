//! `hyper-chat check`: what is wrong with the database, and with `--fix` what can be mended is.

use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend, DbErr, Statement};

use super::error::{OpenError, StoreError};
use super::health::Trouble;
use super::{schema, sequences};

/// What `check` does with what it finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mend {
    /// Says it.
    No,
    /// Mends it where that is possible.
    Yes,
}

/// What was found, one line for each check or finding.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// For the operator.
    pub lines: Vec<String>,
    /// Whether something is still wrong.
    pub is_faulty: bool,
}

impl Report {
    fn fine(&mut self, line: impl Into<String>) {
        self.lines.push(line.into());
    }

    fn faulty(&mut self, line: impl Into<String>) {
        self.lines.push(line.into());
        self.is_faulty = true;
    }
}

/// Checks an open database.
pub(super) async fn check(db: &DatabaseConnection, mend: Mend) -> Result<Report, OpenError> {
    let mut report = Report::default();
    if db.get_database_backend() == DbBackend::Sqlite {
        check_file(db, &mut report).await?;
        if report.is_faulty {
            return Ok(report);
        }
    }
    let missing = schema::missing(db).await?;
    if missing.is_empty() {
        report.fine("schema: up to date");
    } else {
        report.faulty(format!("schema: lacks {}; run `hyper-chat migrate`", missing.join(", ")));
    }
    if db.get_database_backend() == DbBackend::Postgres {
        check_sequences(db, mend, &mut report).await.map_err(OpenError::Connect)?;
    }
    Ok(report)
}

/// Reads the whole file.
async fn check_file(db: &DatabaseConnection, report: &mut Report) -> Result<(), OpenError> {
    let statement = Statement::from_string(DbBackend::Sqlite, "PRAGMA quick_check");
    let rows = match db.query_all_raw(statement).await {
        Ok(rows) => rows,
        Err(error) => {
            let text = error.to_string();
            return match StoreError::from(error) {
                error if error.trouble() == Some(Trouble::Corrupt) => {
                    report.faulty(format!("file: damaged ({text}); put back a backup"));
                    Ok(())
                }
                StoreError::Unavailable(None) => Ok(()),
                StoreError::Unavailable(Some(error))
                | StoreError::Failed(error)
                | StoreError::SequenceBehind(error)
                | StoreError::Impossible(error) => Err(OpenError::Connect(error)),
            };
        }
    };
    let found: Vec<String> = rows.iter().filter_map(|row| row.try_get_by_index(0).ok()).collect();
    if found == ["ok"] {
        report.fine("file: quick_check found no damage");
    } else {
        found.iter().for_each(|line| report.faulty(format!("file: damaged: {line}")));
        report.faulty("file: put back a backup");
    }
    Ok(())
}

async fn check_sequences(db: &DatabaseConnection, mend: Mend, report: &mut Report) -> Result<(), DbErr> {
    let behind = sequences::behind(db).await?;
    if behind.is_empty() {
        report.fine("sequences: none is behind its table");
    }
    for one in behind {
        if mend == Mend::Yes {
            sequences::mend(db, &one).await?;
            report.fine(format!("sequences: {one}: mended"));
        } else {
            report.faulty(format!("sequences: {one}; run `hyper-chat check --fix`"));
        }
    }
    Ok(())
}
