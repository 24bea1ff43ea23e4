//! Beginning transactions so that no connection returns to its pool inside one.

use sea_orm::{
    AccessMode, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr, IsolationLevel, RuntimeErr, TransactionTrait,
};

/// Begins a transaction that may write. All transactions of the store begin in this file.
pub(super) async fn begin(db: &DatabaseConnection) -> Result<DatabaseTransaction, DbErr> {
    let db = db.clone();
    on_own_task(async move { db.begin().await }).await
}

/// Begins a transaction that reads what was committed when it began, and nothing later.
pub(super) async fn begin_snapshot(db: &DatabaseConnection) -> Result<DatabaseTransaction, DbErr> {
    match db.get_database_backend() {
        DbBackend::Postgres => {
            let db = db.clone();
            let (level, mode) = (Some(IsolationLevel::RepeatableRead), Some(AccessMode::ReadOnly));
            on_own_task(async move { db.begin_with_config(level, mode).await }).await
        }
        // On SQLite every transaction reads one snapshot.
        _ => begin(db).await,
    }
}

/// Runs BEGIN to its end on a task of its own. When the caller is dropped before the answer (its socket or request
/// ended), sqlx forgets that it sent BEGIN, and the connection would return to its pool inside a transaction.
async fn on_own_task(
    begin: impl Future<Output = Result<DatabaseTransaction, DbErr>> + Send + 'static,
) -> Result<DatabaseTransaction, DbErr> {
    let failed = |error: tokio::task::JoinError| DbErr::Conn(RuntimeErr::Internal(error.to_string()));
    tokio::spawn(begin).await.map_err(failed)?
}
